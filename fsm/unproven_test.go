package fsm

import (
	"strings"
	"testing"
	"time"
)

// TestS9_NobodyRemembers: P3. A new monitor that only standbys told of the group, and one whose primary was dropped, say that a human must decide, and
// the decision that they name is taken.
func TestS9_NobodyRemembers(t *testing.T) {
	const now = Instant(time.Hour)
	for name, g := range map[string]Group{
		"record unknown":  {Unproven: true},
		"primary dropped": {Record: Record{{Seq: 5, Epoch: 2, Primary: Member{Node: 9, Generation: 1}, K: 1, Members: []Member{{1, 1}}}}},
	} {
		g.Kind, g.Incarnation, g.Epoch, g.Seq, g.Settings, g.SystemID = KindPgsql, 2, 2, 7, DefaultSettings(), 42
		for id := NodeID(1); id <= 2; id++ {
			stamp := Stamp{Incarnation: 2, Epoch: 2, Seq: 7}
			g.Nodes = append(g.Nodes, Node{
				ID: id, Priority: 50, Quorum: true, Heard: now, Probed: now,
				Goal: Goal{Stamp: stamp, Node: id, State: StateSecondary},
				Report: &Report{
					Node: id, Obeyed: stamp, Reached: stamp, State: StateSecondary, SystemID: 42, Generation: 1,
					Server: Server{Status: ServerRunning, Recovery: true, Timeline: 2}, Position: Position{Epoch: 2, LSN: 100, Timeline: 2},
				},
			})
		}
		human := false
		for _, r := range Decide(g, now).Refused {
			human = human || r.Human && strings.Contains(r.Hint, "perform failover --allow-data-loss")
		}
		if text := Explain(g, now).Text(); !strings.Contains(text, "needs you: ") {
			t.Errorf("%s: explain says %s", name, text)
		}
		if !human {
			t.Errorf("%s: nobody is told to decide", name)
		}
		g.Commands = []Command{{ID: 1, Kind: CommandFailover, AllowDataLoss: true}}
		d := Decide(g, now)
		if len(d.Answers) != 1 || d.Answers[0].Outcome != OutcomeAccepted || d.Group.Election == nil || d.Group.Election.Phase != PhaseVoting {
			t.Errorf("%s: got %+v, %+v", name, d.Answers, d.Group.Election)
		}
	}
}

// TestUnproven_Settled: what a primary that has obeyed this incarnation says is settled needs no word of those who served before it: they may be gone for good (P3, S9).
func TestUnproven_Settled(t *testing.T) {
	const now = Instant(time.Hour)
	old := Configuration{Seq: 6, Epoch: 1, K: 1, Primary: Member{1, 1}, Members: []Member{{2, 1}}}
	cur := Configuration{Seq: 9, Epoch: 2, Primary: Member{2, 1}}
	for _, obeyed := range []uint64{1, 2} {
		g := Group{
			Settings: DefaultSettings(), SystemID: 5, Epoch: 2, Seq: 12, Incarnation: 2, Unproven: true, Record: Record{old, cur},
			Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 2, Epoch: 2, Node: 2}},
		}
		g.Nodes = []Node{
			{ID: 1, Name: "a", Priority: 50, Quorum: true, Heard: -1, Probed: -1, Goal: Goal{Node: 1, State: StateDemoted, Stamp: Stamp{1, 1, 5}}},
			{
				ID: 2, Name: "b", Priority: 50, Quorum: true, HasData: true, Heard: now, Probed: now, Goal: Goal{Node: 2, State: StateWaitPrimary, Stamp: Stamp{2, 2, 12}},
				Report: &Report{
					Node: 2, Generation: 1, State: StateWaitPrimary, Obeyed: Stamp{obeyed, 2, 12}, Reached: Stamp{obeyed, 2, 12}, Settled: 9, Record: Record{old, cur}, SystemID: 5,
					Server: Server{Status: ServerRunning, Timeline: 2}, Position: Position{Epoch: 2, LSN: 100, Timeline: 2},
				},
			},
		}
		d := Decide(g, now)
		if proved := obeyed == 2; d.Group.Unproven == proved || (len(d.Group.Record) == 1) != proved {
			t.Errorf("obeyed incarnation %d: unproven %v, record %+v", obeyed, d.Group.Unproven, d.Group.Record)
		}
	}
}
