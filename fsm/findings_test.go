package fsm

import (
	"strings"
	"testing"
)

// TestH10_BusyUpstream: a standby whose log goes further than what its upstream said a moment ago, on the same timeline, has not diverged: it streams and
// is never rewound. Only histories are compared, and no position of the upstream, which is old as soon as it was asked for.
func TestH10_BusyUpstream(t *testing.T) {
	history := Lineage{{Timeline: 1}, {Timeline: 2, Begin: 0x5000}}
	for _, far := range []LSN{0x5000, 0x6000, 1 << 60} {
		if !history.Contains(history, far) {
			t.Errorf("a log that ends at %v of the same timeline counts as diverged", far)
		}
	}
	goal := Goal{Stamp: Stamp{1, 2, 3}, Node: 1, State: StateSecondary, SystemID: simSystem, Settings: DefaultSettings(),
		Upstream: &Upstream{Node: 2, Host: "b", Port: 5432, Timeline: 2, Until: Position{Epoch: 2, LSN: 0x5800}}}
	f := Facts{
		Data:     DataFacts{Kind: DataReady, SystemID: simSystem, StandbySignal: true, Timeline: 2, Checkpoint: 0x5000, Lineage: history},
		Server:   ServerFacts{Status: ServerRunning, Recovery: true, Timeline: 2, Position: Position{Epoch: 2, LSN: 0x9000, Timeline: 2}},
		Slots:    true,
		Files:    FileFacts{Written: true, Effective: true, Following: 2},
		Upstream: &UpstreamFacts{Node: 2, SystemID: simSystem, Primary: true, Lineage: history, ControlTimeline: 2},
	}
	for _, s := range Plan(goal, f) {
		if s.Kind != StepWait {
			t.Errorf("a standby ahead of what its upstream said: %s: %s", s.Kind, s.Reason)
		}
	}
	// The same log on another history is rewound: the test can fail.
	if (Lineage{{Timeline: 1}, {Timeline: 2, Begin: 0x4000}}).Contains(history, 0x6000) {
		t.Error("histories that forked elsewhere count as the same")
	}
}

// TestH18_OrdersAreUnique: a timeline is ordered above every number that was ever ordered, created or begun anywhere, so that no two promotions share
// one; and a position on an older branch is behind whatever its length.
func TestH18_OrdersAreUnique(t *testing.T) {
	for name, g := range map[string]Group{
		"ordered and never made": {Orders: Orders{{Timeline: 8, Epoch: 2, Node: 1}}},
		"begun, unheard of":      {Nodes: []Node{{ID: 1, Report: &Report{Promotions: []Promotion{{Epoch: 4, Timeline: 8}}}}}},
		"served":                 {Nodes: []Node{{ID: 1, Report: &Report{Server: Server{Timeline: 8}}}}},
		"only in a log":          {Nodes: []Node{{ID: 1, Report: &Report{Position: Position{Timeline: 8}}}}},
	} {
		if tli := newDecider(g, 1).nextTimeline(); tli != 9 {
			t.Errorf("%s: timeline %d is ordered after 8", name, tli)
		}
	}
	old, young := Position{Epoch: 1, LSN: 1 << 40, Timeline: 2}, Position{Epoch: 2, LSN: 1, Timeline: 3}
	if old.Compare(young) >= 0 || young.Compare(old) <= 0 {
		t.Error("a longer log of an older epoch is ahead")
	}
	orders := Orders{{Timeline: 3, Epoch: 1}, {Timeline: 2, Epoch: 2}}
	if orders.Epoch(2) <= orders.Epoch(3) {
		t.Error("timelines are ordered by number, not by the epoch in which they were ordered")
	}
}

// TestH19_EveryGroupByItself: number_sync_standbys is held against the standbys of the very group that it is set for, whatever its number.
func TestH19_EveryGroupByItself(t *testing.T) {
	for _, group := range []int{0, 1, 7} {
		s := &script{t: t, world: newWorld(0)}
		s.g.Number = group
		s.bootstrap([]string{"a", "b"})
		for value, want := range map[int]Outcome{1: OutcomeDone, 2: OutcomeRefused} {
			g := s.g.Clone()
			g.Commands = []Command{{ID: 1, Kind: CommandNumberSync, Number: value}}
			d := Decide(g, s.now)
			if len(d.Answers) != 1 || d.Answers[0].Outcome != want {
				t.Errorf("group %d: number_sync_standbys %d with one standby: %+v", group, value, d.Answers)
			}
		}
	}
}

// TestS13_NoSelfFence: whatever a primary that serves under its goal lacks, the monitor's word, its standbys, an answer from anybody, no plan
// stops it (P4).
func TestS13_NoSelfFence(t *testing.T) {
	tried := 0
	for _, goal := range simGoals() {
		if !goal.State.Serves() || goal.Configuration == nil || goal.Timeline != 1 {
			continue
		}
		simNodes(goal, func(n simNode) {
			n.silent, n.asked = true, true
			if n.kind != DataReady || n.status != ServerRunning || n.recovery || n.busy != BusyNone || n.newTimeline || n.fresh {
				return
			}
			tried++
			for _, s := range Plan(goal, n.facts(goal)) {
				if s.Kind == StepStopFast || s.Kind == StepStopNow {
					t.Fatalf("%s: a primary is stopped: %s, at %+v", goal.State, s.Reason, n)
				}
			}
		})
	}
	if tried < 1000 {
		t.Errorf("only %d situations", tried)
	}
}

// TestS15_ExplainNames: whoever acknowledges commits before a standby has them is named by explain while the group is in its best state.
func TestS15_ExplainNames(t *testing.T) {
	s := &script{t: t, world: newWorld(0)}
	s.bootstrap([]string{"a", "b"})
	g := s.g.Clone()
	if e := Explain(g, s.now); strings.Contains(e.Text(), "weak_commits") {
		t.Fatalf("named without one: %s", e)
	}
	g.Nodes[0].Report.WeakCommits = []string{"role hasty: synchronous_commit=off"}
	e := Explain(g, s.now)
	if want := "role hasty: synchronous_commit=off acknowledges commits before a standby has them"; !strings.Contains(e.Text(), want) {
		t.Errorf("%q is not said: %s", want, e)
	}
	if !e.Healthy {
		t.Errorf("not healthy for what a role has set: %s", e)
	}
}
