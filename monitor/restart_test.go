package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// helperEnv makes the test binary run a monitor, to be killed.
const helperEnv = "AUTOCTL_TEST_MONITOR"

func TestMain(m *testing.M) {
	if text := os.Getenv(helperEnv); text != "" {
		fmt.Fprintln(os.Stderr, helper(text))
		return
	}
	m.Run()
	if template.dir != "" {
		if err := os.RemoveAll(template.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// helperConfig is what of a Config crosses to another process.
type helperConfig struct {
	DataDir, StateDir, SocketDir, BinDir string
	Version                              pgserver.Version
	Port                                 int
	Parameters                           map[string]string
	Busy                                 bool // it decides as busyDecide does
}

func helper(text string) error {
	var h helperConfig
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	c := Config{
		DataDir: h.DataDir, StateDir: h.StateDir, SocketDir: h.SocketDir, Port: h.Port, Listen: "127.0.0.1", Auth: AuthTrust,
		Binaries: pgserver.Binaries{Dir: h.BinDir, Version: h.Version}, Parameters: h.Parameters,
		Log: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel),
	}
	if h.Busy {
		c.Decide = busyDecide
	}
	s, err := New(c)
	if err != nil {
		return err
	}
	return s.Run(context.Background())
}

// spawn runs the monitor in a process of its own; busy is [helperConfig.Busy].
func (b *bench) spawn(busy bool) *exec.Cmd {
	b.t.Helper()
	text, err := json.Marshal(helperConfig{
		DataDir: b.c.DataDir, StateDir: b.c.StateDir, SocketDir: b.c.SocketDir, BinDir: b.c.Binaries.Dir, Version: b.c.Binaries.Version,
		Port: b.c.Port, Parameters: b.c.Parameters, Busy: busy,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+string(text))
	log, err := os.OpenFile(filepath.Join(b.c.SocketDir, "helper.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd
}

// kills is how often the monitor is killed: enough to see the seams, AUTOCTL_TEST_KILLS=200 for the long version.
func kills(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("AUTOCTL_TEST_KILLS"))
	if err != nil {
		return 15
	}
	t.Logf("killing the monitor %d times", n)
	return n
}

// TestKilled: P3, S9. Killed with SIGKILL at any moment under the heaviest load, alone or with its PostgreSQL, the monitor goes on:
// same incarnation, no stamp used twice, no goal told that it does not remember.
func TestKilled(t *testing.T) {
	b := newBench(t)
	b.troubled = true
	b.create()
	cmd := b.spawn(true)
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	w := newWitness(t)
	for i := range 3 {
		newKeeper(b, i+1, func(k *keeper) { k.beat, k.hear = 20*time.Millisecond, w.hear })
	}
	client := b.dial()
	random := rand.New(rand.NewPCG(1, 2))
	n := kills(t)
	for i := range n {
		before, began := w.top(), time.Now()
		b.eventually("goals are told again", func() bool { return w.top().Seq > before.Seq+2 })
		t.Logf("told after %v", time.Since(began).Round(time.Millisecond))
		sleep(t.Context(), time.Duration(random.IntN(60))*time.Millisecond)
		if i%3 == 2 {
			b.killServer()
		}
		if i%2 == 0 || i%3 != 2 {
			cmd.Process.Kill()
			cmd.Wait()
			cmd = b.spawn(true)
		}
	}
	before := w.top()
	b.eventually("goals are told again", func() bool { return w.top().Seq > before.Seq+2 })
	told := w.top()
	s, err := client.State(t.Context(), "default", 0)
	if err != nil {
		t.Fatal(err)
	}
	g := s.Formations[0].Groups[0]
	if g.Incarnation != 1 || g.Unproven {
		t.Errorf("incarnation is %d (unproven %v) after kills alone", g.Incarnation, g.Unproven)
	}
	if g.Sequence < told.Seq {
		t.Errorf("a keeper was told sequence %d, the monitor is at %d", told.Seq, g.Sequence)
	}
	t.Logf("%d kills, %d goals heard, sequence %d", n, w.total(), told.Seq)
}

func (b *bench) killServer() {
	b.t.Helper()
	p, err := pgserver.Adopt(b.c.DataDir)
	if errors.Is(err, pgserver.ErrNotRunning) {
		return
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer p.Close()
	_ = p.Signal(syscall.SIGKILL) // gone already is as good
}

// TestConnectionsLost: whichever sessions end in the middle of whatever, decisions go on, and what is told holds.
func TestConnectionsLost(t *testing.T) {
	b := newBench(t)
	b.troubled = true
	b.c.Decide = busyDecide
	b.create()
	b.start()
	w := newWitness(t)
	for i := range 2 {
		newKeeper(b, i+1, func(k *keeper) { k.beat, k.hear = 20*time.Millisecond, w.hear })
	}
	conn := b.super()
	for range 25 {
		before := w.top()
		b.eventually("goals are told", func() bool { return w.top().Seq > before.Seq })
		_, err := conn.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
			where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5`)
		if err != nil {
			t.Fatal(err)
		}
	}
	told := w.top() // first: goals go on being told while the monitor is asked
	g := group(t, b.dial())
	if g.Sequence < told.Seq || g.Incarnation != 1 {
		t.Errorf("the monitor is at %d.%d, keepers were told %s", g.Incarnation, g.Sequence, told)
	}
}

// TestRestored: S9. A restart keeps the incarnation; a database from an older copy, or without its incarnation file, begins a new one
// in which nothing is proved and no node id is used again.
func TestRestored(t *testing.T) {
	b := newBench(t)
	b.c.Decide = busyDecide
	b.create()
	b.start()
	newKeeper(b, 1, func(*keeper) {})
	state := func() (incarnation uint64, unproven bool) {
		s, err := b.dial().State(t.Context(), "default", 0)
		if err != nil {
			t.Fatal(err)
		}
		return s.Formations[0].Groups[0].Incarnation, s.Formations[0].Groups[0].Unproven
	}
	want := func(step string, incarnation uint64, unproven bool) {
		t.Helper()
		if i, u := state(); i != incarnation || u != unproven {
			t.Errorf("%s: incarnation %d, unproven %v; want %d, %v", step, i, u, incarnation, unproven)
		}
	}
	want("at first", 1, false)
	b.stop(nil)
	older := filepath.Join(filepath.Dir(b.c.DataDir), "older")
	copyTree(t, b.c.DataDir, older)

	b.start()
	want("restarted", 1, false)
	moreDecisions(t, b)
	b.stop(nil)
	b.troubled = true // it warns of what follows

	swapIn(t, older, b.c.DataDir)
	b.start()
	want("restored", 2, true)
	r, err := b.dial().Register(t.Context(), registration(2))
	if err != nil || r.Node < 1000 {
		t.Errorf("got node %+v, %v: an id may be used twice", r, err)
	}
	moreDecisions(t, b)
	b.stop(nil)

	b.start()
	want("restarted after that", 2, true)
	b.stop(nil)
	again := filepath.Join(filepath.Dir(b.c.DataDir), "again")
	copyTree(t, b.c.DataDir, again)
	if err := os.Remove(filepath.Join(b.c.StateDir, ledgerName)); err != nil {
		t.Fatal(err)
	}
	b.start()
	first, unproven := state()
	if first < 4 || !unproven {
		t.Errorf("without the incarnation file: incarnation %d, unproven %v; want one that nobody can have begun before", first, unproven)
	}
	b.stop(nil)
	if err := os.Remove(filepath.Join(b.c.StateDir, ledgerName)); err != nil {
		t.Fatal(err)
	}
	swapIn(t, again, b.c.DataDir)
	b.start()
	if second, _ := state(); second == first {
		t.Errorf("incarnation %d was begun twice over the same memory", second)
	}
}

func moreDecisions(t *testing.T, b *bench) {
	t.Helper()
	client := b.dial()
	s, err := client.State(t.Context(), "default", 0)
	if err != nil {
		t.Fatal(err)
	}
	seq := s.Formations[0].Groups[0].Sequence
	b.eventually("decisions are made", func() bool {
		s, err := client.State(t.Context(), "default", 0)
		return err == nil && s.Formations[0].Groups[0].Sequence > seq+3
	})
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func swapIn(t testing.TB, from, to string) {
	t.Helper()
	if err := errors.Join(pgserver.FreeSharedMemory(to), os.RemoveAll(to)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestServerKilled: the monitor starts its PostgreSQL again when that dies, and a second process keeps off.
func TestServerKilled(t *testing.T) {
	b := newBench(t)
	b.troubled = true
	b.c.Decide = func(g fsm.Group, _ fsm.Instant) fsm.Decision { return fsm.Decision{Group: g} }
	b.create()
	b.start()
	client := b.dial()
	s, err := New(b.c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v from a second process, want %v", err, ErrLocked)
	}
	old, err := pgserver.ReadPIDFile(b.c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b.killServer()
	b.eventually("the server is back", func() bool {
		f, err := pgserver.ReadPIDFile(b.c.DataDir)
		if err != nil || f.PID == old.PID {
			return false
		}
		_, err = client.State(t.Context(), "", -1)
		return err == nil
	})
	t.Logf("answered again %v after the kill", time.Since(began).Round(time.Millisecond))
}
