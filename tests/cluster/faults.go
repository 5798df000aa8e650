package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/tests/machine"
)

// FreezeKeeper stops the daemon alone with SIGSTOP; its PostgreSQL goes on.
func (n *Node) FreezeKeeper() {
	n.c.t.Helper()
	n.daemon.Signal(syscall.SIGSTOP)
}

// ThawKeeper lets a frozen daemon go on.
func (n *Node) ThawKeeper() {
	n.c.t.Helper()
	n.daemon.Signal(syscall.SIGCONT)
}

// StopOnSight waits until a program whose command line has that text runs on the
// node's host, and stops it with SIGSTOP on sight: what it does is then halfway.
func (n *Node) StopOnSight(within time.Duration, text string) machine.Process {
	n.c.t.Helper()
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		for _, p := range n.Processes() {
			if strings.Contains(p.Args, text) && syscall.Kill(p.PID, syscall.SIGSTOP) == nil {
				return p
			}
		}
	}
	n.c.t.Fatalf("no %q was seen on %s within %v\n%s", text, n.Name, within, n.c.Picture())
	return machine.Process{}
}

// BreakConfig lets no further start of the node's server succeed, until repair is
// called.
func (n *Node) BreakConfig() (repair func()) {
	n.c.t.Helper()
	path := filepath.Join(n.PGDATA(), "postgresql.conf")
	good, err := os.ReadFile(path)
	if err != nil {
		n.c.t.Fatal(err)
	}
	set := func(content []byte) {
		n.c.t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			n.c.t.Fatal(err)
		}
	}
	set(append([]byte("shared_preload_libraries = 'no_such_library'\n"), good...))
	return func() { n.c.t.Helper(); set(good) }
}

// HoldPromotion makes the node's next promotion stop halfway: the new timeline
// is begun and the server is still in recovery, until the release is called.
// PostgreSQL executes recovery_end_command there.
func (n *Node) HoldPromotion() (reached func(context.Context) error, release func()) {
	n.c.t.Helper()
	begun, free := filepath.Join(n.Dir, "promoting"), filepath.Join(n.Dir, "promote")
	n.MustRun(n.c.t, "rm", "-f", begun, free)
	n.SQL(fmt.Sprintf("alter system set recovery_end_command = 'touch %s; until test -e %s; do sleep 0.05; done'", begun, free))
	n.SQL("select pg_reload_conf()")
	reached = func(ctx context.Context) error {
		r, err := n.Run(ctx, nil, "test", "-e", begun)
		if err == nil && r.Code != 0 {
			err = errors.New(n.Name + " does not promote")
		}
		return err
	}
	return reached, func() { n.c.t.Helper(); n.MustRun(n.c.t, "touch", free) }
}

// SetSettings changes timings of the formation, each as NAME=value.
func (c *Cluster) SetSettings(settings ...string) {
	c.t.Helper()
	c.change(append([]string{"set", "formation", "settings"}, settings...)...)
}

// NobodyReplaced asserts that since the event given no node was assigned a state
// that takes a primary's place, and that the primary named was never asked for
// anything else than to serve.
func (c *Cluster) NobodyReplaced(since int64, primary string) {
	c.t.Helper()
	for _, e := range c.Events(since) {
		if e.Assigned == "" {
			continue
		}
		if e.Assigned.Serves() != (e.Name == primary) && (e.Name == primary || e.Assigned.Serves()) {
			c.t.Errorf("%s was assigned %s: %s", e.Name, e.Assigned, e.Reason)
		}
	}
}

// Resume lets a process that StopOnSight stopped go on.
func (n *Node) Resume(p machine.Process) {
	n.c.t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGCONT); err != nil {
		n.c.t.Fatalf("resume %s on %s: %v", p.Args, n.Name, err)
	}
}

// KillProcess ends a process of the node's host.
func (n *Node) KillProcess(p machine.Process) {
	n.c.t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		n.c.t.Fatalf("kill %s on %s: %v", p.Args, n.Name, err)
	}
}

// TryKeepLog changes what the node keeps for a standby that is away, in the file that holds what autoctl chose once, and returns what it was.
func (n *Node) TryKeepLog(size string) (was string, err error) {
	const name = "max_slot_wal_keep_size = "
	path := filepath.Join(n.PGDATA(), conf.FileName)
	content, err := os.ReadFile(path)
	if err != nil || size == "" {
		return "", err
	}
	lines := strings.SplitAfter(string(content), "\n")
	for i, line := range lines {
		if rest, ours := strings.CutPrefix(line, name); ours {
			was, lines[i] = strings.Trim(strings.TrimSpace(rest), "'"), name+"'"+size+"'\n"
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		return was, err
	}
	if pid := n.Postmaster(); pid != 0 {
		return was, n.TrySignal(pid, syscall.SIGHUP)
	}
	return was, nil
}
