package fsm

import (
	"testing"
	"time"
)

// TestS16_AcceptedLoss: who is elected at the price of commits admits clients at once, and not when standbys that are gone confirm its log; whoever is elected with less
// than k of them, and no such consent, waits.
func TestS16_AcceptedLoss(t *testing.T) {
	const now = Instant(time.Hour)
	for _, c := range []struct {
		name   string
		record Configuration
		loss   bool
		want   bool
	}{
		{"the record is not covered", Configuration{Seq: 1, Epoch: 1, Primary: Member{Node: 9, Generation: 1}}, true, true},
		{"it is, and nobody else has the log", Configuration{Seq: 1, Epoch: 1, K: 1, Primary: Member{Node: 9, Generation: 1}, Members: []Member{{1, 1}}}, false, false},
	} {
		n := Node{ID: 1, Priority: 50, Quorum: true, Report: &Report{Node: 1, Generation: 1, Position: Position{Epoch: 1, LSN: 100, Timeline: 1}}}
		d := newDecider(Group{NumberSync: 1, Settings: DefaultSettings(), Nodes: []Node{n}, Record: Record{c.record}, Epoch: 1,
			Election: &Election{Phase: PhaseVoting, AllowDataLoss: c.loss}}, now)
		d.promote(&d.g.Nodes[0], []ballot{{node: &d.g.Nodes[0], at: n.Report.Position}})
		if g := d.g.Nodes[0].Goal; g.Confirmed != c.want || !g.State.Serves() {
			t.Errorf("%s: %s, confirmed: %v", c.name, g.State, g.Confirmed)
		}
	}
}
