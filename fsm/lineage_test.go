package fsm

import "testing"

// TestOrdersNewestCounts: a group that began anew with data on a timeline that was ordered before has two orders for it, and the newer one counts: its
// node serves there (P3), and another's promotion to that number stays a stray one (S3).
func TestOrdersNewestCounts(t *testing.T) {
	orders := Orders{{Timeline: 2, Epoch: 2, Node: 1}, {Timeline: 2, Epoch: 3, Node: 4}}
	facts := Facts{Server: ServerFacts{Status: ServerRunning, Timeline: 2}}
	for node, want := range map[NodeID]bool{1: false, 4: true} {
		if got := notOurs(Goal{Node: node, Timeline: 2, Orders: orders}, facts) == nil; got != want {
			t.Errorf("node %d may serve: %v", node, got)
		}
	}
	if orders.Epoch(2) != 3 {
		t.Errorf("timeline 2 is of epoch %d", orders.Epoch(2))
	}
}
