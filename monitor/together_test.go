package monitor

import (
	"context"
	"sync"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestTogether: what arrives at the same moment is decided one after the other, each on what the one before has left: no update is lost, and what
// is repeated does no harm.
func TestTogether(t *testing.T) {
	b := newBench(t)
	_, ks, client := populate(b, 3)
	b.eventually("one primary and two secondaries", func() bool { return secondaries(group(t, client)) == 2 })
	primary, first, second := ks[0].id, ks[1].id, ks[2].id

	t.Run("priority and quorum of one node", func(t *testing.T) {
		together(t, client,
			fsm.Command{Kind: fsm.CommandPriority, Node: second, Number: 0},
			fsm.Command{Kind: fsm.CommandQuorum, Node: second, Flag: false})
		for _, node := range group(t, client).Nodes {
			if node.NodeID == second && (node.Priority != 0 || node.Quorum) {
				t.Errorf("priority %d and quorum %v, want 0 and false: one of the two was lost", node.Priority, node.Quorum)
			}
		}
	})
	t.Run("two failovers", func(t *testing.T) {
		accepted := 0
		for _, a := range together(t, client, fsm.Command{Kind: fsm.CommandFailover}, fsm.Command{Kind: fsm.CommandFailover}) {
			if a.Outcome == fsm.OutcomeAccepted {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("%d were accepted, want one", accepted)
		}
		b.eventually("the failover is over", func() bool {
			g := group(t, client)
			return g.Election == nil && secondaries(g) == 2
		})
		if g := group(t, client); g.Epoch != 2 {
			t.Errorf("epoch is %d after one failover, want 2", g.Epoch)
		}
	})
	t.Run("one node dropped twice while it reports", func(t *testing.T) {
		together(t, client, fsm.Command{Kind: fsm.CommandDrop, Node: second}, fsm.Command{Kind: fsm.CommandDrop, Node: second})
		b.eventually("it is forgotten", func() bool {
			g := group(t, client)
			return len(g.Nodes) == 2 && secondaries(g) == 1
		})
		for _, n := range group(t, client).Nodes {
			if n.NodeID != primary && n.NodeID != first {
				t.Errorf("node %d is there", n.NodeID)
			}
		}
	})
}

// together gives commands at the same moment, over connections of their own, and returns the answers in the same order.
func together(t *testing.T, client *monitorapi.Client, commands ...fsm.Command) []fsm.Answer {
	t.Helper()
	answers, errs := make([]fsm.Answer, len(commands)), make([]error, len(commands))
	var wg sync.WaitGroup
	for i, c := range commands {
		wg.Go(func() { answers[i], errs[i] = client.Command(context.WithoutCancel(t.Context()), "default", 0, c) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%+v: %v", commands[i], err)
		}
	}
	return answers
}

// secondaries counts the nodes that are secondaries beside one primary.
func secondaries(g monitorapi.GroupState) int {
	count, serving := 0, 0
	for _, n := range g.Nodes {
		switch {
		case n.Reported != n.Assigned:
			return -1
		case n.Reported == fsm.StatePrimary:
			serving++
		case n.Reported == fsm.StateSecondary:
			count++
		}
	}
	if serving != 1 {
		return -1
	}
	return count
}
