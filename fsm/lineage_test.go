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

// TestReigned: a promotion is in the upstream's history only if the upstream has the number and the group ordered exactly this one: of the node that it is
// now, or was when it began (S3). Whoever cannot say who was ordered is taken for the node that it is.
func TestReigned(t *testing.T) {
	goal := Goal{Node: 7, Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 2, Epoch: 2, Node: 2}, {Timeline: 3, Epoch: 3, Node: 1}}}
	adopted := Goal{Node: 7, Orders: append(goal.Orders[:3:3], Order{Timeline: 3, Epoch: 5, Node: 7}, Order{Timeline: 4, Epoch: 6, Node: 8})}
	for name, c := range map[string]struct {
		goal Goal
		p    Promotion
		want bool
	}{
		"made under another id":           {goal, Promotion{Epoch: 3, Timeline: 3, Node: 1}, true},
		"another's timeline of that name": {goal, Promotion{Epoch: 3, Timeline: 3, Node: 2}, false},
		"another epoch":                   {goal, Promotion{Epoch: 4, Timeline: 3, Node: 1}, false},
		"never ordered":                   {goal, Promotion{Epoch: 4, Timeline: 4, Node: 1}, false},
		"who was ordered is not known":    {goal, Promotion{Epoch: 3, Timeline: 3}, false},
		"it made it itself":               {Goal{Node: 1, Orders: goal.Orders}, Promotion{Epoch: 3, Timeline: 3}, true},
		"the group began anew with it":    {adopted, Promotion{Epoch: 3, Timeline: 3, Node: 1}, true},
		"the group began anew elsewhere":  {Goal{Node: 9, Orders: adopted.Orders}, Promotion{Epoch: 3, Timeline: 3, Node: 1}, false},
	} {
		if got := reigned(c.goal, c.p); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestObeyNamesPromotions: what an earlier version wrote down without a node is this node's, for the time when it is another.
func TestObeyNamesPromotions(t *testing.T) {
	m := Memory{Promotions: []Promotion{{Epoch: 2, Timeline: 2}, {Epoch: 3, Timeline: 3, Node: 1}}}
	if err := m.Obey(Goal{Stamp: Stamp{Incarnation: 1, Epoch: 3, Seq: 9}, Node: 4, State: StateDropped}); err != nil {
		t.Fatal(err)
	}
	if m.Promotions[0].Node != 4 || m.Promotions[1].Node != 1 {
		t.Errorf("%+v", m.Promotions)
	}
}
