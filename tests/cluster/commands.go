package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/tests/machine"
)

// exit codes of autoctl that scenarios distinguish; docs/exit-codes.md lists
// all.
const (
	ExitFailed       = 1
	ExitUsage        = 2
	ExitConfig       = 3
	ExitRefused      = 4
	ExitTimeout      = 5
	ExitNothing      = 6
	ExitUnreachable  = 7
	ExitNotRunning   = 8
	ExitAuth         = 9
	ExitPrecondition = 10
	ExitDropped      = 11
	ExitInterrupted  = 130
)

// Command runs an autoctl command about the group from the monitor's host; it
// has to succeed.
func (c *Cluster) Command(args ...string) string {
	c.t.Helper()
	return c.Monitor.Autoctl(append(args, "--monitor", c.MonitorURI())...)
}

// RefusedCommand is Command for what has to fail with the exit code given.
func (c *Cluster) RefusedCommand(code int, args ...string) string {
	c.t.Helper()
	return c.Monitor.Refused(code, append(args, "--monitor", c.MonitorURI())...)
}

// TryCommand is Command for what may fail.
func (c *Cluster) TryCommand(args ...string) machine.Result {
	c.t.Helper()
	return c.Monitor.Try(append(args, "--monitor", c.MonitorURI())...)
}

// Failover moves the primary in order, and waits for the end of it.
func (c *Cluster) Failover() {
	c.t.Helper()
	c.Command("perform", "failover")
}

// Promote makes the node the primary, and waits for the end of it; one that is
// already stays it.
func (c *Cluster) Promote(name string) {
	c.t.Helper()
	if !c.Info(name).Reported.Serves() {
		c.Command("perform", "promotion", "--name", name)
	}
}

// EnterMaintenance hands the node to its operator, from the node's own host.
func (n *Node) EnterMaintenance(flags ...string) {
	n.c.t.Helper()
	n.Autoctl(append([]string{"enable", "maintenance"}, flags...)...)
}

// LeaveMaintenance takes the node back.
func (n *Node) LeaveMaintenance() {
	n.c.t.Helper()
	n.Autoctl("disable", "maintenance")
}

// SetPriority changes the node's candidate priority.
func (c *Cluster) SetPriority(name string, priority int) {
	c.t.Helper()
	c.change("set", "node", "candidate-priority", "--name", name, strconv.Itoa(priority))
}

// SetQuorum changes whether the node's copy counts for acknowledged commits.
func (c *Cluster) SetQuorum(name string, counts bool) {
	c.t.Helper()
	c.change("set", "node", "replication-quorum", "--name", name, strconv.FormatBool(counts))
}

// SetNumberSync changes how many standbys must hold a commit at least.
func (c *Cluster) SetNumberSync(n int) {
	c.t.Helper()
	c.change("set", "formation", "number-sync-standbys", strconv.Itoa(n))
}

// change makes a setting so; one that is so already is fine.
func (c *Cluster) change(args ...string) {
	c.t.Helper()
	if r := c.TryCommand(args...); r.Code != 0 && r.Code != ExitNothing {
		c.t.Fatalf("autoctl %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
}

// WaitSync waits until the group's record is one configuration with that k and
// those members, compared as whole sets.
func (c *Cluster) WaitSync(within time.Duration, k int, members ...string) {
	c.t.Helper()
	slices.Sort(members)
	c.Await(within, fmt.Sprintf("synchronous: ANY %d %v", k, members), func(context.Context) error {
		g, err := c.TryGroup()
		if err != nil {
			return err
		}
		names := map[fsm.NodeID]string{}
		for _, n := range g.Nodes {
			names[n.NodeID] = n.Name
		}
		if len(g.Record) != 1 {
			return fmt.Errorf("the record has %d configurations", len(g.Record))
		}
		var have []string
		for _, m := range g.Record[0].Members {
			have = append(have, names[m.Node])
		}
		slices.Sort(have)
		if g.Record[0].K != k || !slices.Equal(have, members) {
			return fmt.Errorf("the record is ANY %d %v", g.Record[0].K, have)
		}
		return nil
	})
}
