package monitor

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

const pretendedSystem = 7300000000000000001

// world is what the pretended nodes are: they obey at once and never fail to.
type world struct {
	mu sync.Mutex
	// crashed nodes report a server that died; dead ones neither report nor answer probes.
	crashed map[fsm.NodeID]bool
	dead    map[fsm.NodeID]time.Time
	// follows says which nodes stream.
	follows map[fsm.NodeID]bool
	ports   map[int]fsm.NodeID
}

func newWorld() *world {
	return &world{crashed: map[fsm.NodeID]bool{}, dead: map[fsm.NodeID]time.Time{}, follows: map[fsm.NodeID]bool{}, ports: map[int]fsm.NodeID{}}
}

func (w *world) probe(_ context.Context, t probe.Target) probe.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := w.ports[t.Port]; id == 0 || !w.dead[id].IsZero() || w.crashed[id] {
		return probe.Result{Status: probe.Refused}
	}
	return probe.Result{Status: probe.Alive}
}

// obey pretends that a goal is reached the moment it is heard.
func (w *world) obey(goal fsm.Goal) fsm.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := fsm.Report{
		Obeyed: goal.Stamp, Reached: goal.Stamp, State: goal.State, Generation: 1, SystemID: pretendedSystem, PrimarySeenMS: -1, CommitAgeMS: -1,
		Record: goal.Record, Orders: goal.Orders, Server: fsm.Server{Status: fsm.ServerRunning, Recovery: true, Timeline: 1}, Version: 150018,
	}
	position := fsm.Position{Epoch: 1, LSN: 0x5000000, Timeline: 1}
	if len(goal.Orders) > 0 {
		last := goal.Orders[len(goal.Orders)-1]
		position.Epoch, position.Timeline, r.Server.Timeline = last.Epoch, last.Timeline, last.Timeline
	}
	r.Position = position
	w.follows[goal.Node] = goal.State.Follows()
	switch {
	case goal.State == "" || goal.State == fsm.StateInit || goal.State == fsm.StateWaitStandby:
		r.Server, r.Position, r.SystemID, r.Generation = fsm.Server{Status: fsm.ServerAbsent}, fsm.Position{}, 0, 0
	case w.crashed[goal.Node]:
		r.Server = fsm.Server{Status: fsm.ServerCrashed}
	case goal.State.Serves():
		r.Server.Recovery, r.Open, r.CommitAgeMS = false, true, 1
		if goal.Configuration != nil {
			r.Settled = goal.Configuration.Seq
		}
		for _, p := range goal.Peers {
			if w.follows[p.Node] && w.dead[p.Node].IsZero() {
				r.Standbys = append(r.Standbys, fsm.Standby{Node: p.Node, Streaming: true, Flush: position.LSN})
			}
		}
	case goal.State.Drains() || goal.State == fsm.StateDemoted:
		r.Server, r.Drained = fsm.Server{Status: fsm.ServerStopped}, position.LSN
	case goal.State == fsm.StateReportLSN:
		r.Vote = &fsm.Vote{Stamp: goal.Stamp, Position: position}
	default:
		r.PrimarySeenMS = 10
		if goal.Upstream != nil && !w.dead[goal.Upstream.Node].IsZero() {
			r.PrimarySeenMS = time.Since(w.dead[goal.Upstream.Node]).Milliseconds()
		}
	}
	return r
}

// group is the state of the bench's only group.
func group(t *testing.T, client *monitorapi.Client) monitorapi.GroupState {
	t.Helper()
	s, err := client.State(t.Context(), "default", 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.Formations[0].Groups[0]
}

func (b *bench) awaitStates(client *monitorapi.Client, want ...fsm.State) {
	b.t.Helper()
	var got []fsm.State
	defer func() {
		if b.t.Failed() {
			b.t.Logf("states are %v, want %v", got, want)
		}
	}()
	b.eventually("the group is in its best state", func() bool {
		s, err := client.State(b.t.Context(), "default", 0)
		if err != nil || len(s.Formations[0].Groups) == 0 {
			return false
		}
		g := s.Formations[0].Groups[0]
		got = nil
		settled := len(g.Record) == 1 && g.Election == nil
		for _, n := range g.Nodes {
			got = append(got, n.Reported)
			settled = settled && n.Reported == n.Assigned
		}
		return settled && slices.Equal(got, want)
	})
}

// populate starts a monitor whose n nodes obey at once.
func populate(b *bench, n int) (*world, []*keeper, *monitorapi.Client) {
	b.t.Helper()
	w := newWorld()
	b.c.Probe = w.probe
	b.create()
	b.start()
	var ks []*keeper
	for i := range n {
		w.mu.Lock()
		w.ports[registration(i+1).Port] = fsm.NodeID(i + 1)
		w.mu.Unlock()
		ks = append(ks, newKeeper(b, i+1, func(k *keeper) { k.behave = w.obey }))
	}
	return w, ks, b.dial()
}

// TestDecisions: from nothing to primary and secondary, a crash, a restart of the monitor, a silent node, and an operator's wish.
func TestDecisions(t *testing.T) {
	b := newBench(t)
	began := time.Now()
	w, ks, client := populate(b, 2)
	b.awaitStates(client, fsm.StatePrimary, fsm.StateSecondary)
	t.Logf("primary and secondary %v after create began", time.Since(began).Round(time.Millisecond))

	took := b.crash(w, ks[0], ks[1])
	t.Logf("another primary %v after the report of the crash", took)
	b.recover(w, ks[0])
	b.awaitStates(client, fsm.StateSecondary, fsm.StatePrimary)
	b.milestones(client, ks[0].id, ks[1].id)

	b.stop(ErrLeaveRunning)
	b.start()
	took = b.crash(w, ks[1], ks[0])
	t.Logf("right after a restart of the monitor: %v", took)
	b.recover(w, ks[1])
	b.awaitStates(client, fsm.StatePrimary, fsm.StateSecondary)

	answer, err := client.Command(t.Context(), "default", 0, fsm.Command{Kind: fsm.CommandFailover})
	if err != nil || answer.Outcome != fsm.OutcomeAccepted && answer.Outcome != fsm.OutcomeDone {
		t.Errorf("got %+v, %v, want a switchover", answer, err)
	}
	b.awaitStates(client, fsm.StateSecondary, fsm.StatePrimary)

	w.mu.Lock()
	w.dead[ks[1].id] = time.Now()
	w.mu.Unlock()
	ks[1].setMute(true)
	silent := time.Now()
	b.eventually("the silent primary is replaced", func() bool { return ks[0].present().State.Serves() })
	t.Logf("another primary %v after silence began", time.Since(silent).Round(time.Millisecond))
	g := group(t, client)
	if g.Epoch != 5 {
		t.Errorf("epoch is %d after 4 changes of primary, want 5", g.Epoch)
	}
}

// crash lets one node's server die and returns how long it takes until the other hears that it is primary.
func (b *bench) crash(w *world, victim, heir *keeper) time.Duration {
	b.t.Helper()
	heard := make(chan time.Time, 1)
	heir.mu.Lock()
	heir.hear = func(goal fsm.Goal) {
		if goal.State.Serves() {
			select {
			case heard <- time.Now():
			default:
			}
		}
	}
	heir.mu.Unlock()
	w.mu.Lock()
	w.crashed[victim.id] = true
	w.mu.Unlock()
	began := time.Now()
	victim.report(b.t.Context())
	defer func() {
		heir.mu.Lock()
		heir.hear = nil
		heir.mu.Unlock()
	}()
	select {
	case at := <-heard:
		return at.Sub(began).Round(time.Millisecond)
	case <-time.After(20 * time.Second):
		b.explain(heir.client)
		b.t.Fatal("no failover")
		return 0
	}
}

// milestones holds the events of a failover to what its timings are read from, in order.
func (b *bench) milestones(client *monitorapi.Client, victim, heir fsm.NodeID) {
	b.t.Helper()
	events, err := client.Events(b.t.Context(), monitorapi.EventFilter{Count: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	i := 0
	want := []struct {
		kind string
		node fsm.NodeID
	}{{"server", victim}, {"election", 0}, {"state", heir}, {"goal", heir}, {"told", heir}, {"open", heir}, {"elected", heir}}
	for _, e := range events {
		if i < len(want) && e.Kind == want[i].kind && e.Node == want[i].node && (e.Kind != "state" || e.Reported == fsm.StateReportLSN) {
			i++
		}
	}
	if i < len(want) {
		b.t.Errorf("no event %s of node %d comes where it should", want[i].kind, want[i].node)
		b.explain(client)
	}
}

// explain logs why a group is as it is.
func (b *bench) explain(client *monitorapi.Client) {
	b.t.Helper()
	events, err := client.Events(b.t.Context(), monitorapi.EventFilter{Count: 30})
	if err != nil {
		b.t.Error(err)
	}
	for _, e := range events {
		b.t.Logf("%s node %d %s by %s: %s (%s/%s) %s", e.Time.Format("05.000"), e.Node, e.Kind, e.Rule, e.Reason, e.Reported, e.Assigned, e.Stamp)
	}
	s, err := client.ExplainInput(b.t.Context(), "default", 0)
	if err != nil {
		b.t.Error(err)
	}
	for _, r := range fsm.Decide(s.Group, s.Now).Refused {
		b.t.Logf("%s refuses node %d: it waits for %s", r.Rule, r.Node, r.Waits)
	}
}

func (b *bench) recover(w *world, k *keeper) {
	w.mu.Lock()
	w.crashed[k.id] = false
	w.mu.Unlock()
	k.report(b.t.Context())
}
