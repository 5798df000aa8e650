package local_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
)

// TestAdopt takes a running server that replication cannot use as it is: its data and its user's settings stay, and it is restarted once.
func TestAdopt(t *testing.T) {
	g := newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	foreign(t, a, conf.Params{"wal_level": "minimal", "max_wal_senders": "0", "work_mem": "7MB"})
	_ = a.mem.Update(func(m *fsm.Memory) { m.Generation = 1 })
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	g.learn(a)
	if got := a.must("select current_setting('wal_level') || ' ' || current_setting('work_mem') || ' ' || (select count(*) from old)"); got != "replica 7MB 3" {
		t.Errorf("after the adoption: %s", got)
	}
	if n := count(a.steps, fsm.StepStart); n != 1 {
		t.Errorf("%d starts: %v", n, a.steps)
	}
	g.reach(a, g.serve(a, 0))
	t.Log("a standby that has the data already is not copied")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	g.reach(a, g.serve(a, 1, b))
	b.crash()
	_ = b.mem.Update(func(m *fsm.Memory) { *m = fsm.Memory{Node: m.Node, Token: m.Token, Generation: 1} })
	again := g.follow(b, a, fsm.StateSecondary)
	g.reach(b, again)
	if slices.Contains(b.steps, fsm.StepCopy) {
		t.Errorf("it was copied: %v", b.steps)
	}
}

// foreign makes a running server on a member's directory that nobody of ours has made.
func foreign(t *testing.T, m *member, params conf.Params) {
	t.Helper()
	if err := pgserver.InitDB(t.Context(), m.cfg.Binaries, pgserver.InitConfig{DataDir: m.cfg.DataDir, Superuser: m.cfg.Superuser, AuthLocal: "trust", AuthHost: "trust", NoSync: true}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(m.cfg.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	params["port"], params["listen_addresses"], params["unix_socket_directories"] = strconv.Itoa(m.cfg.Port), "127.0.0.1", m.cfg.SocketDir
	for name, value := range params {
		if _, err := f.WriteString(name + " = " + conf.Quote(value) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := pgserver.Start(t.Context(), m.cfg.Binaries, pgserver.StartConfig{DataDir: m.cfg.DataDir, LogFile: filepath.Join(m.cfg.SocketDir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.must("create table old as select generate_series(1, 3)")
}

func count(steps []fsm.StepKind, kind fsm.StepKind) int {
	n := 0
	for _, s := range steps {
		if s == kind {
			n++
		}
	}
	return n
}

// TestS10_Rebuild throws a standby's data away only when the copy is there (P6); the generation tells that they are others (S10).
func TestS10_Rebuild(t *testing.T) {
	g, a, b := pair(t)
	generation := b.mem.Get().Generation
	goal := g.follow(b, a, fsm.StateSecondary)
	goal.MinGeneration = generation + 1
	g.reach(b, goal)
	if !slices.Contains(b.steps, fsm.StepCopy) || b.mem.Get().Generation != generation+1 {
		t.Errorf("steps %v, generation %d", b.steps, b.mem.Get().Generation)
	}
	a.must("insert into t values (2)")
	b.eventually("select count(*) from t", "2")
}

// TestRaisedSettings has a standby follow a setting of its primary that it must match, which only a restart can change.
func TestRaisedSettings(t *testing.T) {
	g, a, b := pair(t)
	a.must("alter system set max_locks_per_transaction = 128")
	a.crash()
	g.all(a, b)
	g.until(b, "raised", func(steps []fsm.Step) bool {
		v, _ := b.sql("show max_locks_per_transaction")
		return len(steps) == 0 && v == "128"
	})
	a.must("insert into t values (2)")
	b.eventually("select count(*) from t", "2")
	if b.mem.Get().Generation != 1 {
		t.Errorf("the standby was made anew: %s", b.mem.Get().Why)
	}
}

// TestS18_Hung tells a suspended postmaster from a slow one: only after a while, and not for ever (S18).
func TestS18_Hung(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	g.reach(a, g.serve(a, 0))
	text, err := os.ReadFile(filepath.Join(a.cfg.DataDir, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	began := time.Now()
	status := func() fsm.ServerStatus { return a.node.Status(g.ctx, a.mem.Get().Goal).Server.Status }
	await(t, "hung", func() bool { return status() == fsm.ServerHung })
	if after := time.Since(began); after < 5*time.Second {
		t.Errorf("hung after %v", after)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	await(t, "running", func() bool { return status() == fsm.ServerRunning })
	st := a.node.Status(g.ctx, a.mem.Get().Goal)
	if !st.Open || st.CommitAgeMS < 0 {
		t.Errorf("status %+v", st)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if ok() {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Fatalf("not in time: %s", what)
}
