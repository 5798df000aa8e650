package formation

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestNewer: what a node was told under a newer epoch than the monitor's, or under the same with another address, is what the monitor has to hear of; the newest of each group.
func TestNewer(t *testing.T) {
	at := func(host string) citus.Address { return citus.Address{Host: host, Port: 1} }
	epoch := func(i, n uint64) citus.Epoch { return citus.Epoch{Incarnation: i, Number: n} }
	top := citus.Topology{Groups: []citus.Group{
		{Number: 0, Epoch: epoch(1, 4), Primary: at("c"), Serving: true},
		{Number: 1, Epoch: epoch(1, 4), Primary: at("a"), Serving: true},
		{Number: 2, Epoch: epoch(1, 4), Primary: at("b"), Serving: true},
	}}
	node := func(group int, places ...citus.Place) metadata.Node {
		actual := citus.Actual{Group: group, Places: places}
		return metadata.Node{Group: group, Actual: &actual, Left: citus.Decide(top, actual, group).Left}
	}
	found := []Database{{Topology: top, Report: metadata.Report{Nodes: []metadata.Node{
		node(0, citus.Place{Group: 1, Primary: at("x"), Epoch: epoch(1, 7)}, citus.Place{Group: 0, Primary: at("c"), Epoch: epoch(1, 4)}),
		node(1, citus.Place{Group: 1, Primary: at("y"), Epoch: epoch(2, 1)}, citus.Place{Group: 2, Primary: at("other"), Epoch: epoch(1, 4)}),
		node(2, citus.Place{Group: 1, Primary: at("a"), Epoch: epoch(1, 3)}),
		{Group: 3, Problem: "it does not answer"},
	}}}}
	want := []monitorapi.Told{{Group: 1, Incarnation: 2, Epoch: 1, Host: "y", Port: 1}, {Group: 2, Incarnation: 1, Epoch: 4, Host: "other", Port: 1}}
	if diff := cmp.Diff(want, newer(found)); diff != "" {
		t.Error(diff)
	}
}

// TestNext: what is done about a group's writes follows from the goal and from what is in hand.
func TestNext(t *testing.T) {
	held := &heldAll{}
	upstream := &fsm.Upstream{Node: 1}
	for _, c := range []struct {
		name string
		hand holding
		goal fsm.Goal
		want turn
	}{
		{"a standby", holding{}, fsm.Goal{State: fsm.StateSecondary}, turnWait},
		{"the primary is gone", holding{}, fsm.Goal{State: fsm.StateReportLSN}, turnCatch},
		{"it may be elected", holding{}, fsm.Goal{State: fsm.StateReportLSN, Wishes: &fsm.Wishes{Priority: 1}}, turnCatch},
		{"it votes and cannot be elected", holding{}, fsm.Goal{State: fsm.StateReportLSN, Wishes: &fsm.Wishes{Quorum: true}}, turnWait},
		{"it votes for whom holds the writes", holding{id: 7}, fsm.Goal{State: fsm.StateReportLSN, Hold: 7}, turnWait},
		{"that one has failed", holding{id: 7}, fsm.Goal{State: fsm.StateReportLSN}, turnAnew},
		{"held in this election", holding{caught: true, held: held}, fsm.Goal{State: fsm.StateReportLSN}, turnWait},
		{"the hold has ended, the election goes on", holding{caught: true}, fsm.Goal{State: fsm.StateReportLSN}, turnWait},
		{"elected, and not yet open", holding{caught: true, held: held}, fsm.Goal{State: fsm.StateWaitPrimary}, turnWait},
		{"told everybody", holding{caught: true}, fsm.Goal{State: fsm.StateWaitPrimary}, turnAnew},
		{"another was elected", holding{caught: true, held: held}, fsm.Goal{State: fsm.StateCatchingUp}, turnAnew},
		{"a planned hand-over begins", holding{}, fsm.Goal{State: fsm.StatePreparePromotion, Upstream: upstream, Hold: 7}, turnAnew},
		{"it holds", holding{id: 7}, fsm.Goal{State: fsm.StatePreparePromotion, Upstream: upstream, Hold: 7}, turnHold},
		{"it could not hold", holding{id: 7, failed: "no"}, fsm.Goal{State: fsm.StatePreparePromotion, Upstream: upstream, Hold: 7}, turnWait},
		{"it votes", holding{id: 7, held: held}, fsm.Goal{State: fsm.StatePreparePromotion, Hold: 7}, turnWait},
		{"it serves", holding{id: 7, held: held}, fsm.Goal{State: fsm.StateWaitPrimary, Hold: 7}, turnWait},
		{"the election is over before it has told everybody", holding{id: 7, held: held}, fsm.Goal{State: fsm.StatePrimary}, turnWait},
		{"all is done", holding{id: 7, routed: true}, fsm.Goal{State: fsm.StatePrimary}, turnAnew},
		{"given up", holding{id: 7, held: held}, fsm.Goal{State: fsm.StateSecondary}, turnAnew},
		{"the old primary fails in the midst of it", holding{id: 7, held: held}, fsm.Goal{State: fsm.StateReportLSN}, turnAnew},
	} {
		if got := c.hand.next(c.goal); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
