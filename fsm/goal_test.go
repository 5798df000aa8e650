package fsm

import (
	"strings"
	"testing"
)

// TestGoal_Called: people are told names, and an id only of whom the goal does not name.
func TestGoal_Called(t *testing.T) {
	goal := Goal{State: StateSecondary, Peers: []Peer{{Node: 2, Name: "berlin"}, {Node: 3}}, Upstream: &Upstream{Node: 2, Host: "h", Port: 1, Timeline: 1}}
	for id, want := range map[NodeID]string{2: "berlin", 3: "3", 4: "4"} {
		if got := goal.Called(id); got != want {
			t.Errorf("node %d is called %q, want %q", id, got, want)
		}
	}
	f := Facts{Data: DataFacts{Kind: DataReady}, Silent: true, Server: ServerFacts{Status: ServerRunning, Recovery: true}, Files: FileFacts{Written: true, Effective: true, Following: 2}, Slots: true}
	if steps := Plan(goal, f); len(steps) == 0 || steps[0].Problem == nil || !strings.Contains(steps[0].Problem.Text, "node berlin ") {
		t.Errorf("the plan is %+v", steps)
	}
}
