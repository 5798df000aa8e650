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
