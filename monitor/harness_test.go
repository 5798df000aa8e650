package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// bench is a monitor of a test, with the means to stop and start it.
type bench struct {
	t testing.TB
	c Config

	cancel context.CancelCauseFunc
	done   chan error

	// troubled allows errors in the monitor's log: the test makes trouble.
	troubled bool
}

// Run implements zerolog.Hook: a monitor that nobody disturbs has nothing to complain about.
func (b *bench) Run(_ *zerolog.Event, level zerolog.Level, message string) {
	if !b.troubled {
		b.t.Errorf("the monitor logs at level %s: %s", level, message)
	}
}

func newBench(t testing.TB) *bench {
	t.Helper()
	dir := pgtest.TempDir(t)
	b := &bench{t: t, c: Config{
		DataDir: filepath.Join(dir, "monitor"), StateDir: filepath.Join(dir, "state"), Binaries: pgtest.Binaries(t),
		Port: pgtest.FreePort(t), Listen: "127.0.0.1", SocketDir: dir, Auth: AuthTrust, Software: "test", NoSync: true,
		Parameters: map[string]string{"fsync": "off", "shared_buffers": "16MB", "max_connections": "80"},
	}}
	b.c.Log = zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel).Hook(b)
	t.Cleanup(b.cleanup)
	return b
}

func (b *bench) cleanup() {
	if b.cancel != nil {
		b.stop(ErrLeaveRunning)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Timeout)
	defer cancel()
	p, err := pgserver.Adopt(b.c.DataDir)
	if err == nil {
		err = errors.Join(p.Kill(ctx), p.Close())
	}
	if err != nil && !errors.Is(err, pgserver.ErrNotRunning) {
		b.t.Error(err)
	}
	if b.t.Failed() {
		if text, err := os.ReadFile(filepath.Join(b.c.StateDir, "postgresql.log")); err == nil {
			b.t.Logf("the server's log ends:\n%s", text[max(0, len(text)-4000):])
		}
	}
}

// create makes the bench's monitor by copying one that was created for all tests: what differs is written when it starts.
func (b *bench) create() {
	b.t.Helper()
	template.Lock()
	defer template.Unlock()
	if template.dir == "" {
		if err := Create(b.t.Context(), b.c); err != nil {
			b.t.Fatal(err)
		}
		dir, err := os.MkdirTemp("/tmp", "ac-monitor-")
		if err != nil {
			b.t.Fatal(err)
		}
		template.dir = dir
		copyTree(b.t, b.c.DataDir, filepath.Join(dir, "data"))
		copyTree(b.t, b.c.StateDir, filepath.Join(dir, "state"))
		return
	}
	copyTree(b.t, filepath.Join(template.dir, "data"), b.c.DataDir)
	copyTree(b.t, filepath.Join(template.dir, "state"), b.c.StateDir)
}

// template is where the monitor to copy is; TestMain removes it.
var template struct {
	sync.Mutex
	dir string
}

// start runs the monitor in this process.
func (b *bench) start() {
	b.t.Helper()
	s, err := New(b.c)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	go func() { b.done <- s.Run(ctx) }()
}

func (b *bench) stop(cause error) {
	b.t.Helper()
	b.cancel(cause)
	b.cancel = nil
	select {
	case err := <-b.done:
		if err != nil {
			b.t.Error(err)
		}
	case <-time.After(pgtest.Timeout):
		b.t.Fatal("the monitor does not stop")
	}
}

func (b *bench) uri() string {
	return fmt.Sprintf("postgres://autoctl_node@127.0.0.1:%d/autoctl?sslmode=disable", b.c.Port)
}

// dial waits until the monitor answers.
func (b *bench) dial() *monitorapi.Client {
	b.t.Helper()
	client, err := monitorapi.New(b.uri(), monitorapi.Options{Software: "test"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	b.eventually("the monitor answers", func() bool {
		_, err := client.Hello(b.t.Context())
		return err == nil
	})
	return client
}

// eventually waits for what no notification tells.
func (b *bench) eventually(what string, check func() bool) {
	b.t.Helper()
	eventually(b.t, what, check)
}

func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(pgtest.Timeout)
	for !check() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out: %s", what)
		}
	}
}

// super opens a session as superuser.
func (b *bench) super() *pgx.Conn {
	b.t.Helper()
	conn, err := b.c.withDefaults().connect(b.t.Context(), Database, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { hangUp(context.Background(), conn) })
	return conn
}

func registration(i int) monitorapi.Registration {
	return monitorapi.Registration{
		Formation: "default", Kind: "pgsql", Group: -1, Name: fmt.Sprintf("node %d", i), Host: "127.0.0.1", Port: 10000 + i,
		Priority: 50, Quorum: true, Token: fmt.Sprintf("%08x", i), Database: "postgres",
	}
}
