package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// restoreMonitor brings the monitor's data back as it was at some earlier time; the first time, that is when it is saved. With and without the file that tells it
// how much it had decided since.
func restoreMonitor(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if g, err := n.c.TryGroup(); err != nil || len(g.Nodes) != len(n.nodes) {
		return nil, fmt.Errorf("%w: the monitor does not know all nodes", errSkip)
	}
	n.learn(ctx)
	if err := errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin)); err != nil {
		return nil, err
	}
	data, saved := x.node.PGDATA(), filepath.Join(x.node.Dir, "saved")
	if !n.saved.Load() {
		x.Detail = "saved"
		if err := errors.Join(os.RemoveAll(saved), os.Mkdir(saved, 0o700), contents(data, saved)); err != nil {
			return nil, errors.Join(err, x.node.TryLaunch(false))
		}
		n.saved.Store(true)
		return launch(x), nil
	}
	x.Detail = "restored"
	if err := errors.Join(empty(data), contents(saved, data)); err != nil {
		return nil, err
	}
	if x.rng.IntN(2) == 0 {
		x.Detail = "restored, without the file"
		return launch(x), os.Remove(filepath.Join(x.node.Dir, "share", "autoctl", data, "incarnation"))
	}
	return launch(x), nil
}

// replaceMonitor makes a new monitor, which knows nothing, where the old one was.
func replaceMonitor(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	n.learn(ctx)
	if err := errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin)); err != nil {
		return nil, err
	}
	n.saved.Store(false) // by another monitor
	code, err := n.commandOn(ctx, x.node.Host, x, "drop", "monitor", "--destroy", "--pgdata", x.node.PGDATA())
	if err != nil || code != 0 {
		return nil, errors.Join(err, fmt.Errorf("the old one was not removed: exit code %d", code))
	}
	return func(ctx context.Context) error {
		n.replaced.Store(true)
		if err := n.c.TryCreateMonitor(); err != nil {
			return err
		}
		for range 100 { // until there is something that answers
			if _, err := n.c.TryGroup(); err == nil || errors.Is(err, cluster.ErrNoGroup) || !wait(ctx, 200*time.Millisecond) {
				break
			}
		}
		for _, node := range n.nodes {
			n.handOver(ctx, x, node)
		}
		return nil
	}, nil
}

// handOver tells a node that the monitor is another one: that is for people to decide. A node that is away is told once it is back.
func (n *nemesis) handOver(ctx context.Context, x *injection, node *cluster.Node) {
	for range 20 {
		code, err := n.commandOn(ctx, node.Host, x, "enable", "monitor", n.c.MonitorURI(), "--pgdata", node.PGDATA())
		if err == nil && code != cluster.ExitUnreachable || !wait(ctx, 500*time.Millisecond) {
			return // the monitor has begun to answer
		}
	}
}

func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// contents copies what is in a directory, owners included, to another one.
func contents(from, to string) error {
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}
