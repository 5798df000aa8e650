package machine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/ledger"
	"github.com/autoctl/autoctl/tests/machine"
)

// pair is a primary and a hot standby of plain PostgreSQL, replicating the way
// the manual says and managed by nobody: the harness is proved on what is known
// to work, and known to lose.
type pair struct {
	t            *testing.T
	lab          *machine.Lab
	n1, n2       *machine.Host
	port1, port2 int
	bin          string
	uri          string
	server1      *machine.Daemon
}

func newPair(t *testing.T, synchronous bool) *pair {
	t.Helper()
	p := &pair{t: t, bin: machine.PostgresBin(t)}
	p.lab = machine.New(t)
	p.n1, p.n2 = p.lab.Host("n1"), p.lab.Host("n2")
	p.port1, p.port2 = port(t, p.n1), port(t, p.n2)
	p.uri = fmt.Sprintf("postgresql://postgres@%s:%d,%s:%d/postgres?sslmode=disable&target_session_attrs=read-write",
		p.n1.Addr, p.port1, p.n2.Addr, p.port2)

	p.n1.MustRun(t, filepath.Join(p.bin, "initdb"), "-D", p.n1.PGDATA(), "-U", "postgres", "-A", "trust", "-N")
	hba := "local all all trust\nhost all all all trust\nhost replication all all trust\n"
	writeFile(t, filepath.Join(p.n1.PGDATA(), "pg_hba.conf"), hba)
	if synchronous {
		appendFile(t, filepath.Join(p.n1.PGDATA(), "postgresql.conf"), "synchronous_standby_names = 'n2'\n")
	}
	p.server1 = p.start(p.n1, p.port1)
	p.await(p.n1, p.port1)
	p.n2.MustRun(t, filepath.Join(p.bin, "pg_basebackup"), "-D", p.n2.PGDATA(), "-R", "-X", "stream", "-c", "fast", "-N",
		"-d", fmt.Sprintf("host=%s port=%d user=postgres application_name=n2", p.n1.Addr, p.port1))
	p.start(p.n2, p.port2)
	p.await(p.n2, p.port2)
	return p
}

func (p *pair) start(h *machine.Host, port int) *machine.Daemon {
	p.t.Helper()
	d, err := h.Start("postgres", nil, filepath.Join(p.bin, "postgres"), "-D", h.PGDATA(), "-p", fmt.Sprint(port),
		"-c", "listen_addresses="+h.Addr, "-c", "unix_socket_directories="+filepath.Join(h.Dir, "run"),
		"-c", "fsync=off", "-c", "wal_receiver_timeout=2s", "-c", "wal_sender_timeout=2s", "-c", "wal_retrieve_retry_interval=200ms")
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// connect tries until the server admits clients.
func (p *pair) connect(h *machine.Host, port int) *pgx.Conn {
	p.t.Helper()
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable connect_timeout=1", h.Addr, port))
	if err != nil {
		p.t.Fatal(err)
	}
	cfg.DialFunc = p.lab.Dial
	ctx := deadline(p.t, 20*time.Second)
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			p.t.Cleanup(func() { _ = conn.Close(context.Background()) })
			return conn
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("connect to %s: %v", h.Name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *pair) await(h *machine.Host, port int) {
	p.t.Helper()
	_ = p.connect(h, port).Close(p.t.Context())
}

func (p *pair) writer() *ledger.Writer {
	p.t.Helper()
	w, err := ledger.Start(deadline(p.t, 20*time.Second), ledger.Config{
		URI: p.uri, Dial: p.lab.Dial, File: filepath.Join(p.lab.Dir(), "journal"),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(w.Stop)
	p.awaitWrite(w)
	return w
}

func (p *pair) awaitWrite(w *ledger.Writer) {
	p.t.Helper()
	if _, err := w.AwaitWrite(deadline(p.t, 20*time.Second)); err != nil {
		p.t.Fatal(err)
	}
}

// stalls asserts that within a second no write is acknowledged any more, the
// clients' statement timeout notwithstanding.
func (p *pair) stalls(w *ledger.Writer) {
	p.t.Helper()
	if at, err := w.AwaitWrite(deadline(p.t, time.Second)); err == nil {
		p.t.Fatalf("a write was acknowledged after %v", at)
	}
}

func (p *pair) verify(w *ledger.Writer) ledger.Verdict {
	p.t.Helper()
	v, err := w.Verify(deadline(p.t, 20*time.Second), "")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("%d acknowledged, %d unknown, %d present, %d missing", v.Acknowledged, v.Unknown, v.Present, len(v.Missing))
	return v
}

// TestPlain_CutHealFreeze: with synchronous replication every fault stops
// acknowledgements, every end of it brings them back, and nothing is lost.
func TestPlain_CutHealFreeze(t *testing.T) {
	machine.NeedLinks(t)
	p := newPair(t, true)
	p.lab.NeedLinks()
	w := p.writer()
	faults := []struct {
		name       string
		begin, end func()
	}{
		{"primary cut off", p.n1.Cut, p.n1.Heal},
		{"link between the nodes cut", func() { p.lab.CutLink(p.n1, p.n2) }, func() { p.lab.HealLink(p.n1, p.n2) }},
		{"standby deaf", func() { p.lab.CutOneWay(p.n1, p.n2) }, p.lab.Heal},
		{"standby frozen", p.n2.Freeze, p.n2.Thaw},
		{"primary frozen", p.n1.Freeze, p.n1.Thaw},
	}
	for _, f := range faults {
		before := w.Elapsed()
		f.begin()
		p.stalls(w)
		f.end()
		p.awaitWrite(w)
		t.Logf("%s: %v without an acknowledged write", f.name, w.LongestGap(before).Length.Round(time.Millisecond))
	}
	if err := p.verify(w).Err(); err != nil {
		t.Error(err)
	}
}

// TestPlain_KillAndRestart: a killed server that comes back has all it
// acknowledged.
func TestPlain_KillAndRestart(t *testing.T) {
	p := newPair(t, false)
	w := p.writer()
	p.n1.KillPostmaster()
	if err := p.server1.Wait(deadline(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	p.n1.Kill()
	if left := p.n1.Processes(); len(left) > 0 {
		t.Fatalf("still running: %+v", left)
	}
	p.stalls(w)
	p.start(p.n1, p.port1)
	p.awaitWrite(w)
	if err := p.verify(w).Err(); err != nil {
		t.Error(err)
	}
}

// TestPlain_CancelledWait: a commit that stopped waiting for its standby comes
// with a warning, and is no acknowledgement.
func TestPlain_CancelledWait(t *testing.T) {
	p := newPair(t, true)
	admin := p.connect(p.n1, p.port1)
	w := p.writer()
	p.n2.Kill()
	p.stalls(w)
	before := w.Acknowledged()
	ctx := deadline(t, 10*time.Second)
	for cancelled := 0; cancelled < 4; {
		var n int
		if err := admin.QueryRow(ctx, "select count(*) filter (where pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		cancelled += n
	}
	if after := w.Acknowledged(); after != before {
		t.Errorf("%d commits that were not replicated count as acknowledged", after-before)
	}
	v := p.verify(w)
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	if v.Present == v.Acknowledged {
		t.Error("no row is there without an acknowledgement: no wait was cancelled")
	}
}

// TestPlain_NegativeControl: with asynchronous replication and a forced
// promotion commits are lost, and the checker has to say so.
func TestPlain_NegativeControl(t *testing.T) {
	p := newPair(t, false)
	w := p.writer()
	p.n2.Kill()
	for range 20 {
		p.awaitWrite(w)
	}
	p.n1.Kill()
	p.start(p.n2, p.port2)
	p.await(p.n2, p.port2)
	p.n2.MustRun(t, filepath.Join(p.bin, "pg_ctl"), "-D", p.n2.PGDATA(), "promote")
	p.awaitWrite(w)
	v := p.verify(w)
	if len(v.Missing) == 0 || v.Err() == nil {
		t.Errorf("acknowledged rows were lost and the checker says %+v", v)
	}
}

func port(t *testing.T, h *machine.Host) int {
	t.Helper()
	n, err := h.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func appendFile(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}
