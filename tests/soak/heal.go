package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/cluster"
)

// convergeWithin is how long a group may take to become whole after the end of
// everything that was wrong (P3). A member that came and went is held off for up
// to 32 s, a copy or a rewind takes a few seconds, and so does an election.
const convergeWithin = 90 * time.Second

// hopeless is how long a group is waited for that is not whole by then, to tell
// slow from stuck.
const hopeless = 5 * time.Minute

// heal ends whatever may still be wrong: the faults have ended by themselves, but
// for those whose end did not work.
func (n *nemesis) heal(ctx context.Context) error {
	errs := []error{n.c.Lab.TryHealAll()}
	for _, v := range n.data {
		errs = append(errs, v.TryFree())
	}
	for _, v := range n.state {
		errs = append(errs, v.TryFree())
	}
	for _, node := range n.nodes {
		errs = append(errs, mendRewind(node))
	}
	all := append([]*cluster.Node{n.c.Monitor}, n.nodes...)
	for _, node := range all {
		errs = append(errs, node.TryThaw())
	}
	for _, node := range all {
		if !node.Running() {
			errs = append(errs, n.revive(ctx, node))
		}
	}
	return errors.Join(errs...)
}

// revive does what a service manager and an operator do about a node whose
// daemon has ended: it is run again, or made anew when the monitor has forgotten
// it. It is tried again only after a while.
func (n *nemesis) revive(ctx context.Context, node *cluster.Node) error {
	if since := time.Since(n.revived[node.Name]); since < reviveAfter {
		return nil
	}
	n.revived[node.Name] = time.Now()
	code, _ := node.TryEnd(ctx)
	dropped := code == cluster.ExitDropped
	if node != n.c.Monitor && code >= 0 && !n.replaced.Load() {
		var answered bool
		if dropped, answered = n.forgotten(ctx, node); !answered {
			return nil // the next turn comes when the monitor is back
		}
	}
	if !dropped {
		if code > 0 && code != cluster.ExitInterrupted {
			n.rec.anomaly("P3", fmt.Sprintf("the daemon on %s ended by itself with exit code %d", node.Name, code), "")
		}
		return node.TryLaunch(false)
	}
	x := &injection{Fault: &Fault{}}
	if _, err := n.commandOn(ctx, node.Host, x, "drop", "node", "--destroy", "--force", "--pgdata", node.PGDATA()); err != nil {
		return err
	}
	n.saved.Store(false)
	return node.TryLaunch(true, n.flags(node.Name)...)
}

// forgotten reports whether the monitor knows a node no more, and whether it said so at all.
func (n *nemesis) forgotten(ctx context.Context, node *cluster.Node) (gone, answered bool) {
	g, err := n.group(ctx)
	return err == nil && member(g, node.Name) == nil, err == nil
}

// reviveAfter is the pause between two attempts to run a daemon.
const reviveAfter = 5 * time.Second

func member(g monitorapi.GroupState, name string) *monitorapi.NodeState {
	for i := range g.Nodes {
		if g.Nodes[i].Name == name {
			return &g.Nodes[i]
		}
	}
	return nil
}

// group is the state of the group; it must be asked for by one goroutine.
func (n *nemesis) group(ctx context.Context) (monitorapi.GroupState, error) {
	if ctx.Err() != nil {
		return monitorapi.GroupState{}, ctx.Err()
	}
	return n.c.TryGroup()
}

// restore brings settings back that a fault has left changed.
func (n *nemesis) restore(ctx context.Context, g monitorapi.GroupState) {
	x := &injection{Fault: &Fault{}}
	for _, node := range g.Nodes {
		if node.Maintenance {
			_, _ = n.command(ctx, x, "disable", "maintenance", "--name", node.Name, "--wait", "1")
		}
		if node.Priority != usualPriority {
			_, _ = n.command(ctx, x, "set", "node", "candidate-priority", "--name", node.Name, strconv.Itoa(usualPriority))
		}
		if usual := n.counts(node.Name); node.Quorum != usual {
			_, _ = n.command(ctx, x, "set", "node", "replication-quorum", "--name", node.Name, strconv.FormatBool(usual))
		}
	}
	for _, node := range n.nodes {
		if member(g, node.Name) == nil && n.replaced.Load() {
			n.handOver(ctx, x, node)
		}
	}
	if g.NumberSync != n.opt.numberSync && len(g.Nodes) == len(n.nodes) {
		_, _ = n.command(ctx, x, "set", "formation", "number-sync-standbys", strconv.Itoa(n.opt.numberSync))
	}
}

// whole is nil when the group is as it should be: one primary, all others
// secondaries, settled under the synchronous set that the options ask for.
func (n *nemesis) whole(g monitorapi.GroupState) error {
	primaries, members := 0, 0
	for _, node := range g.Nodes {
		switch {
		case node.Reported != node.Assigned:
			return fmt.Errorf("%s reports %s and is assigned %s", node.Name, node.Reported, node.Assigned)
		case node.Reported == cluster.Primary && !node.Open:
			return fmt.Errorf("%s is not open", node.Name)
		case node.Reported == cluster.Primary:
			primaries++
			continue
		case node.Reported != cluster.Secondary:
			return fmt.Errorf("%s is %s", node.Name, node.Reported)
		}
		if node.Quorum {
			members++
		}
	}
	switch {
	case len(g.Nodes) != len(n.nodes):
		return fmt.Errorf("the group has %d of %d nodes", len(g.Nodes), len(n.nodes))
	case primaries != 1:
		return fmt.Errorf("%d nodes are primaries", primaries)
	case g.Election != nil || g.Unproven || len(g.Record) != 1:
		return fmt.Errorf("election %v, unproven %v, %d configurations in the record", g.Election, g.Unproven, len(g.Record))
	case g.NumberSync != n.opt.numberSync || g.Record[0].K != max(1, n.opt.numberSync) || len(g.Record[0].Members) != members:
		return fmt.Errorf("number_sync_standbys %d, the record is ANY %d of %d members, %d secondaries count",
			g.NumberSync, g.Record[0].K, len(g.Record[0].Members), members)
	}
	return nil
}

// settled is how long a group must stay whole to count as such: what was done to
// it a moment ago may not have been noticed yet.
const settled = 2 * time.Second

// converge waits until the group is whole and says since when; false when it is
// not even after a long time.
func (n *nemesis) converge(ctx context.Context) (at float64, ok bool) {
	began := time.Now()
	var since time.Time
	late := false
	for tries := 0; ; tries++ {
		g, err := n.group(ctx)
		if errors.Is(err, cluster.ErrNoGroup) {
			err = nil // a new monitor, which has not been told
		}
		if err == nil {
			if err = n.whole(g); err != nil && tries%25 == 5 {
				n.restore(ctx, g)
			}
		}
		past := time.Since(began)
		switch {
		case err == nil && since.IsZero():
			since = time.Now()
		case err == nil && time.Since(since) >= settled:
			if late {
				n.rec.anomaly("P3", fmt.Sprintf("the group was whole only %.0f s after everything was healed", since.Sub(began).Seconds()), "")
				return 0, true
			}
			return n.rec.at(since), true
		case err == nil:
		case !late && past > convergeWithin:
			late = true
			n.rec.anomaly("P3", fmt.Sprintf("the group is not whole %.0f s after everything was healed: %v", past.Seconds(), err), n.c.Picture())
		case past > hopeless || ctx.Err() != nil:
			n.rec.anomaly("P3", fmt.Sprintf("the group is not whole %.0f s after everything was healed: %v", past.Seconds(), err), n.c.Picture())
			return 0, false
		}
		if err != nil {
			since = time.Time{}
		}
		n.reviveAll(ctx)
		if !wait(ctx, 200*time.Millisecond) {
			return 0, false
		}
	}
}

// reviveAll runs what has ended by itself.
func (n *nemesis) reviveAll(ctx context.Context) {
	for _, node := range append([]*cluster.Node{n.c.Monitor}, n.nodes...) {
		if node.Running() {
			continue
		}
		if err := n.revive(ctx, node); err != nil {
			n.rec.anomaly("harness", "revive "+node.Name+": "+err.Error(), "")
		}
	}
}
