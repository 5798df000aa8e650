package fsm

import (
	"testing"
	"time"
)

// TestFirstPrimary_FormerPrimary: the node that a group's operator has dropped last may have commits that a primary of before, which another monitor knew, does not have: that
// one does not begin the group anew, while one that is registered anew, or was itself the newest, does (P1).
func TestFirstPrimary_FormerPrimary(t *testing.T) {
	const now = Instant(time.Hour)
	for _, c := range []struct {
		name  string
		goal  Goal
		node  NodeID
		human bool
	}{
		{"it served before the newest promotion", Goal{State: StatePrimary, Stamp: Stamp{1, 1, 4}}, 1, true},
		{"it followed", Goal{State: StateSecondary, Stamp: Stamp{1, 18, 4}}, 1, true},
		{"it was promoted newest", Goal{State: StateSingle, Stamp: Stamp{2, 18, 5}}, 2, false},
		{"it is registered anew", Goal{State: StateInit}, 7, false},
	} {
		g := Group{Settings: DefaultSettings(), SystemID: 5, Epoch: 18, Seq: 8, Incarnation: 2, Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 18, Epoch: 18, Node: 2}}}
		c.goal.Node = c.node
		g.Nodes = []Node{{
			ID: c.node, Name: "a", Priority: 50, Quorum: true, HasData: true, Heard: now, Probed: now, Goal: c.goal,
			Report: &Report{Node: c.node, Generation: 1, State: c.goal.State, SystemID: 5, Server: Server{Status: ServerRunning, Timeline: 1}, Position: Position{Epoch: 1, LSN: 100, Timeline: 1}},
		}}
		d := Decide(g, now)
		began, human := len(d.Group.Record) > 0, false
		for _, r := range d.Refused {
			human = human || r.Human
		}
		if began == c.human || human != c.human {
			t.Errorf("%s: began %v, refused %+v", c.name, began, d.Refused)
		}
	}
}

// TestDeposed: a primary of before, which a new monitor is told of only after the newest has been dropped, stops (P2); who is to serve, an operator says.
func TestDeposed(t *testing.T) {
	const now = Instant(time.Hour)
	g := Group{
		Settings: DefaultSettings(), SystemID: 5, Epoch: 18, Seq: 8, Incarnation: 2, Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 18, Epoch: 18, Node: 2}},
		Record: Record{{Seq: 5, Epoch: 18, Primary: Member{Node: 2, Generation: 1}}},
	}
	g.Nodes = []Node{{
		ID: 1, Name: "a", Priority: 50, Quorum: true, HasData: true, Heard: now, Probed: now, Goal: Goal{Node: 1, State: StatePrimary, Stamp: Stamp{1, 1, 4}},
		Report: &Report{Node: 1, Generation: 1, State: StatePrimary, SystemID: 5, Server: Server{Status: ServerRunning, Timeline: 1}, Position: Position{Epoch: 1, LSN: 100, Timeline: 1}},
	}}
	d := Decide(g, now)
	if got := d.Group.Nodes[0].Goal; got.State != StateDemoted || got.Epoch < 18 {
		t.Errorf("goal %s of epoch %d", got.State, got.Epoch)
	}
}
