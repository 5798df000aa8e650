package fsm

import (
	"errors"
	"testing"
	"time"
)

// TestMemory_S9_OlderSet: a primary refuses a goal of a newer incarnation whose record has forgotten the synchronous set that it serves under: what was acknowledged under that,
// no other covers, whatever its number and the epoch of the goal. In another reign it obeys.
func TestMemory_S9_OlderSet(t *testing.T) {
	set := func(reign, seq uint64, k int) Configuration {
		return Configuration{Seq: seq, Epoch: reign, K: k, Primary: Member{Node: 1, Generation: 1}, Members: []Member{{Node: 2, Generation: 1}, {Node: 3, Generation: 1}}}
	}
	goal := func(incarnation, epoch, seq uint64, record ...Configuration) Goal {
		return Goal{Stamp: Stamp{Incarnation: incarnation, Epoch: epoch, Seq: seq}, Node: 1, State: StatePrimary, Configuration: &record[len(record)-1], Record: record}
	}
	for _, c := range []struct {
		name    string
		goal    Goal
		refuses bool
	}{
		{"an older set", goal(2, 1, 6, set(1, 5, 2)), true},
		{"an older set, after an operator overruled the monitor's doubt", goal(2, 17, 8, set(1, 5, 2)), true},
		{"another set of the same number", goal(2, 1, 8, set(1, 7, 2)), true},
		{"a newer set alone", goal(2, 1, 8, set(1, 8, 2)), true},
		{"a newer set that follows it", goal(2, 1, 8, set(1, 5, 2), set(1, 7, 1), set(1, 8, 2)), false},
		{"the same set, as it was before another came between", goal(2, 1, 8, set(1, 3, 1), set(1, 5, 2)), true},
		{"the same set, renumbered", goal(2, 1, 9, set(1, 8, 2), set(1, 9, 1)), false},
		{"without what is not settled before it", goal(2, 1, 9, set(1, 7, 1)), true},
		{"another reign", goal(2, 2, 4, set(2, 4, 0)), false},
	} {
		m := Memory{Node: 1, Settled: 5}
		if err := m.Obey(goal(1, 1, 7, set(1, 5, 2), set(1, 7, 1))); err != nil {
			t.Fatal(err)
		}
		if err := m.Obey(c.goal); errors.Is(err, ErrForgotten) != c.refuses || (m.Goal.Incarnation == 1) != c.refuses {
			t.Errorf("%s: %v, goal %v", c.name, err, m.Goal.Stamp)
		}
	}
}

// TestRecall: a monitor that was restored, and whose doubt an operator overruled, takes up what the primary remembers before it has the primary go on (S9).
func TestRecall(t *testing.T) {
	const now = Instant(time.Hour)
	a := Member{Node: 1, Generation: 1}
	old := Configuration{Seq: 5, Epoch: 1, K: 2, Primary: a, Members: []Member{{2, 1}, {3, 1}}}
	known := Configuration{Seq: 7, Epoch: 1, K: 1, Primary: a, Members: []Member{{2, 1}, {3, 1}}}
	g := Group{Settings: DefaultSettings(), SystemID: 5, Epoch: 17, Seq: 8, Incarnation: 2, NumberSync: 2, Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}}, Record: Record{old}}
	g.Nodes = []Node{{
		ID: 1, Name: "a", Priority: 50, Quorum: true, HasData: true, Heard: now, Probed: now, Goal: Goal{Node: 1, State: StatePrimary, Stamp: Stamp{2, 17, 8}},
		Report: &Report{
			Node: 1, Generation: 1, State: StatePrimary, Obeyed: Stamp{1, 1, 7}, Settled: 5, Record: Record{old, known}, SystemID: 5,
			Server: Server{Status: ServerRunning, Timeline: 1}, Position: Position{Epoch: 1, LSN: 100, Timeline: 1},
		},
	}}
	d := Decide(g, now)
	if r := d.Group.Record; len(r) != 2 || !sameConfiguration(&r[1], &known) {
		t.Errorf("record %+v", r)
	}
	if got := d.Group.Nodes[0].Goal; got.Configuration == nil || got.Configuration.Seq != 7 || len(got.Record) != 2 {
		t.Errorf("goal %+v", got)
	}
}
