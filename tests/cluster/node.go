package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/tests/machine"
)

// Node is a host with one autoctl daemon and its PostgreSQL. The verbs of
// [machine.Host] break it.
type Node struct {
	*machine.Host
	// Port is PostgreSQL's.
	Port int

	c      *Cluster
	daemon *machine.Daemon
}

// commandTimeout bounds every command that is not told to wait longer.
const commandTimeout = 90 * time.Second

func (n *Node) start(args ...string) {
	n.c.t.Helper()
	d, err := n.Start("autoctl", n.c.setup.env(n), append([]string{n.c.binary}, args...)...)
	if err != nil {
		n.c.t.Fatal(err)
	}
	n.daemon = d
}

func (n *Node) run(ctx context.Context, args ...string) (machine.Result, error) {
	return n.Run(ctx, n.c.setup.env(n), append([]string{n.c.binary}, args...)...)
}

// Create starts "create postgres --run" with further flags, on a host where
// nothing runs; over an existing node it goes on where that was.
func (n *Node) Create(flags ...string) {
	n.c.t.Helper()
	n.start(append(append(n.CreateArgs(), "--run"), flags...)...)
}

// CreateArgs is the create command of the node, without --run.
func (n *Node) CreateArgs() []string {
	return append([]string{
		"create", "postgres", "--pgdata", n.PGDATA(), "--pgport", fmt.Sprint(n.Port), "--hostname", n.Addr,
		"--name", n.Name, "--monitor", n.c.MonitorURI(),
	}, n.c.setup.flags(n)...)
}

// Restart starts "autoctl run" on a host whose daemon has ended.
func (n *Node) Restart() {
	n.c.t.Helper()
	if n.daemon != nil && n.daemon.Running() {
		n.c.t.Fatalf("autoctl still runs on %s", n.Name)
	}
	n.start("run", "--pgdata", n.PGDATA())
}

// Stop sends SIGTERM to the daemon, which hands its role over and stops
// PostgreSQL, and waits until it has ended.
func (n *Node) Stop() {
	n.c.t.Helper()
	n.daemon.Signal(syscall.SIGTERM)
	n.WaitExit(60 * time.Second)
}

// KillKeeper kills the daemon alone; its PostgreSQL goes on.
func (n *Node) KillKeeper() {
	n.c.t.Helper()
	n.daemon.Signal(syscall.SIGKILL)
	n.WaitExit(10 * time.Second)
}

// Crash kills everything on the host at once.
func (n *Node) Crash() {
	n.c.t.Helper()
	n.Kill()
	n.WaitExit(10 * time.Second)
}

// WaitExit waits until the daemon has ended and returns its exit code.
func (n *Node) WaitExit(within time.Duration) int {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), within)
	defer cancel()
	if err := n.daemon.Wait(ctx); err != nil {
		n.c.t.Fatalf("%v\n%s", err, n.c.Picture())
	}
	return n.daemon.ExitCode()
}

// Running reports whether the daemon runs.
func (n *Node) Running() bool { return n.daemon != nil && n.daemon.Running() }

// PID is the daemon's process id.
func (n *Node) PID() int { return n.daemon.PID() }

// Try runs an autoctl command on the host to its end, whatever its exit code.
func (n *Node) Try(args ...string) machine.Result {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), commandTimeout)
	defer cancel()
	r, err := n.run(ctx, args...)
	if err != nil {
		n.c.t.Fatalf("%v\n%s", err, n.c.Picture())
	}
	return r
}

// Autoctl runs an autoctl command on the host, which has to succeed, and
// returns what it printed.
func (n *Node) Autoctl(args ...string) string {
	n.c.t.Helper()
	r := n.Try(args...)
	if r.Code != 0 {
		n.c.t.Fatalf("autoctl %s on %s: exit code %d\n%s%s\n%s", strings.Join(args, " "), n.Name, r.Code, r.Stdout, r.Stderr, n.c.Picture())
	}
	return r.Stdout
}

// Refused runs an autoctl command on the host, which has to fail with the exit
// code given (0: with any), and returns what it said.
func (n *Node) Refused(code int, args ...string) string {
	n.c.t.Helper()
	r := n.Try(args...)
	if r.Code == 0 || code != 0 && r.Code != code {
		n.c.t.Fatalf("autoctl %s on %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), n.Name, r.Code, code, r.Stdout, r.Stderr)
	}
	return r.Stderr
}

// Decode runs an autoctl command with --output json and decodes what it printed.
func (n *Node) Decode(into any, args ...string) {
	n.c.t.Helper()
	out := n.Autoctl(append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		n.c.t.Fatalf("autoctl %s: %v in:\n%s", strings.Join(args, " "), err, out)
	}
}

// Log is the path of the daemon's log.
func (n *Node) Log() string { return filepath.Join(n.Dir, "log", "autoctl.log") }

// connectNoticing opens a connection to the node's PostgreSQL from its own host,
// as the superuser, and passes notices on.
func (n *Node) connectNoticing(ctx context.Context, notice func(*pgconn.Notice)) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=prefer connect_timeout=2", n.Addr, n.Port, n.User(), Database))
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = n.Dial
	if notice != nil {
		cfg.OnNotice = func(_ *pgconn.PgConn, got *pgconn.Notice) { notice(got) }
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// hangUp closes a connection without waiting for a server that may be gone.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

// query runs a query and returns its rows, each as text with columns joined by
// "|", as psql -At prints them.
func (n *Node) query(ctx context.Context, sql string, args ...any) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := n.connectNoticing(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var fields []string
		for _, raw := range row.RawValues() {
			fields = append(fields, string(raw))
		}
		return strings.Join(fields, "|"), nil
	})
}

// SQL runs a query on the node's PostgreSQL as its superuser, from the node's
// own host, and returns the rows as psql -At prints them.
func (n *Node) SQL(sql string, args ...any) []string {
	n.c.t.Helper()
	rows, err := n.query(n.c.t.Context(), sql, args...)
	if err != nil {
		n.c.t.Fatalf("%s on %s: %v", sql, n.Name, err)
	}
	return rows
}

// TrySQL is SQL for what may fail.
func (n *Node) TrySQL(sql string, args ...any) ([]string, error) {
	return n.query(n.c.t.Context(), sql, args...)
}

// StopPostgres stops the node's PostgreSQL behind the keeper's back, the way an
// administrator who does not know better would.
func (n *Node) StopPostgres() {
	n.c.t.Helper()
	n.MustRun(n.c.t, filepath.Join(machine.PostgresBin(n.c.t), "pg_ctl"), "-D", n.PGDATA(), "-m", "fast", "-W", "stop")
}

// errTimeout says that a condition did not come true in time.
var errTimeout = errors.New("timed out")

// patience multiplies how long scenarios wait for what they expect: with
// AUTOCTL_TEST_PATIENCE=3 they wait three times as long, for machines with much
// else to do. What must not happen within a time is not affected.
var patience = sync.OnceValue(func() time.Duration {
	n, err := strconv.Atoi(os.Getenv("AUTOCTL_TEST_PATIENCE"))
	if err != nil || n < 1 {
		return 1
	}
	return time.Duration(n)
})

// Await waits until check returns nil, asking every 50 ms.
func (c *Cluster) Await(within time.Duration, what string, check func(context.Context) error) {
	c.t.Helper()
	within *= patience()
	ctx, cancel := context.WithTimeoutCause(c.t.Context(), within, errTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: not within %v: %v\n%s", what, within, last, c.Picture())
		}
	}
}
