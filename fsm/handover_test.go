package fsm

import (
	"testing"
	"time"
)

// TestPlanned_Hiccup: an operator's failover is not refused because the standby stood still between two looks of a busy primary, and is where it has stood still for long.
func TestPlanned_Hiccup(t *testing.T) {
	const now = Instant(time.Hour)
	for lost, want := range map[int64]Outcome{0: OutcomeAccepted, 300: OutcomeAccepted, 5000: OutcomeRefused} {
		c := Configuration{Seq: 5, Epoch: 1, K: 1, Primary: Member{1, 1}, Members: []Member{{2, 1}}}
		stamp := Stamp{1, 1, 5}
		g := Group{
			Settings: DefaultSettings(), SystemID: 5, Epoch: 1, Seq: 5, Incarnation: 1, Record: Record{c}, Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}},
			Commands: []Command{{ID: 1, Kind: CommandFailover}},
		}
		for id := NodeID(1); id <= 2; id++ {
			state := map[NodeID]State{1: StatePrimary, 2: StateSecondary}[id]
			g.Nodes = append(g.Nodes, Node{
				ID: id, Name: string(rune('a' + id - 1)), Priority: 50, Quorum: true, HasData: true, Heard: now, Probed: now, Goal: Goal{Node: id, State: state, Stamp: stamp},
				Report: &Report{
					Node: id, Generation: 1, State: state, Obeyed: stamp, Reached: stamp, Settled: 5, SystemID: 5, Open: id == 1,
					Server: Server{Status: ServerRunning, Recovery: id == 2, Timeline: 1}, Position: Position{Epoch: 1, LSN: 100, Timeline: 1},
				},
			})
		}
		g.Nodes[0].Report.Standbys = []Standby{{Node: 2, Streaming: true, Flush: 90, LagBytes: 10, LostMS: lost}}
		d := Decide(g, now)
		if len(d.Answers) != 1 || d.Answers[0].Outcome != want {
			t.Errorf("it has stood still for %d ms: %+v", lost, d.Answers)
		}
	}
}
