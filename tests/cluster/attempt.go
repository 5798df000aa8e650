package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/machine"
)

// TryLaunch starts "autoctl run" on the node, or "create postgres --run" with
// further flags where anew. Like the other Try verbs it returns what goes wrong,
// and may be called from any goroutine, by one a node at a time.
func (n *Node) TryLaunch(anew bool, flags ...string) error {
	args := []string{"run", "--pgdata", n.PGDATA()}
	if anew {
		args = append(append(n.CreateArgs(), "--run"), flags...)
	}
	return n.tryStart(args...)
}

// TryCreateMonitor is CreateMonitor, without the wait for it, where the one before was destroyed.
func (c *Cluster) TryCreateMonitor() error { return c.Monitor.tryStart(c.monitorArgs()...) }

func (n *Node) tryStart(args ...string) error {
	d, err := n.Start("autoctl", n.c.setup.env(n), append([]string{n.c.binary}, args...)...)
	if err != nil {
		return err
	}
	n.daemon = d
	return nil
}

// TryEnd waits until the node's daemon has ended and returns its exit code.
func (n *Node) TryEnd(ctx context.Context) (int, error) {
	if err := n.daemon.Wait(ctx); err != nil {
		return 0, err
	}
	return n.daemon.ExitCode(), nil
}

// Signal sends a signal to the node's daemon alone.
func (n *Node) Signal(s syscall.Signal) { n.daemon.Signal(s) }

// TryCommandOn runs an autoctl command on a host to its end, whatever its exit
// code, from any goroutine.
func (c *Cluster) TryCommandOn(ctx context.Context, h *machine.Host, args ...string) (machine.Result, error) {
	return h.Run(ctx, nil, append([]string{c.binary}, args...)...)
}

// TryEventsOn asks on a host for the last events, oldest first.
func (c *Cluster) TryEventsOn(ctx context.Context, h *machine.Host, count int) ([]monitorapi.Event, error) {
	r, err := c.TryCommandOn(ctx, h, "show", "events", "--monitor", c.MonitorURI(), "--count", fmt.Sprint(count), "--output", "json")
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("show events: exit code %d: %s", r.Code, r.Stderr)
	}
	var all struct {
		Events []monitorapi.Event `json:"events"`
	}
	return all.Events, json.Unmarshal([]byte(r.Stdout), &all)
}
