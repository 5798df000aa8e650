package fsm

import (
	"testing"
	"time"
)

// TestS16_AcceptedLoss: who is elected at the price of commits admits clients at once where nobody but it is left, rather than when standbys that are gone confirm its log.
// Where a survivor lacks what it has, and could be elected after it, it waits; so does whoever is elected without that consent.
func TestS16_AcceptedLoss(t *testing.T) {
	const now = Instant(time.Hour)
	lost := Configuration{Seq: 1, Epoch: 1, Primary: Member{Node: 9, Generation: 1}}
	held := Configuration{Seq: 1, Epoch: 1, K: 1, Primary: Member{Node: 9, Generation: 1}, Members: []Member{{1, 1}}}
	for _, c := range []struct {
		name   string
		record Configuration
		voters int
		loss   bool
		want   bool
	}{
		{"the record is not covered", lost, 1, true, true},
		{"nor is it, and there is one that is behind", lost, 2, true, false},
		{"it is covered, and nobody else has the log", held, 1, false, false},
	} {
		g := Group{NumberSync: 1, Settings: DefaultSettings(), Record: Record{c.record}, Epoch: 1, Election: &Election{Phase: PhaseVoting, AllowDataLoss: c.loss}}
		for i := range c.voters {
			id := NodeID(i + 1)
			g.Nodes = append(g.Nodes, Node{
				ID: id, Priority: 50, Quorum: true, Heard: now, Probed: now, Goal: Goal{Node: id, State: StateReportLSN},
				Report: &Report{Node: id, Generation: 1, State: StateReportLSN, Server: Server{Status: ServerRunning, Recovery: true}, Position: Position{Epoch: 1, LSN: LSN(100 - i), Timeline: 1}},
			})
		}
		d := newDecider(g, now)
		var all []ballot
		for i := range d.g.Nodes {
			all = append(all, ballot{node: &d.g.Nodes[i], at: d.g.Nodes[i].Report.Position})
		}
		d.promote(&d.g.Nodes[0], all)
		conf := d.g.Record[len(d.g.Record)-1]
		if got := d.g.Nodes[0].Goal; got.Confirmed != c.want || !got.State.Serves() || len(conf.Members) != c.voters-1 {
			t.Errorf("%s: %s, confirmed: %v, %+v", c.name, got.State, got.Confirmed, conf)
		}
	}
}
