package fsm

import (
	"errors"
	"testing"
)

// TestMemory_S9_OlderSet: a primary refuses a goal of a newer incarnation whose synchronous set is older than the one that it serves under: what was acknowledged under the
// newer set, the older does not cover. In a later epoch it obeys whatever the set's number.
func TestMemory_S9_OlderSet(t *testing.T) {
	goal := func(incarnation, epoch, set uint64) Goal {
		return Goal{Stamp: Stamp{Incarnation: incarnation, Epoch: epoch, Seq: set}, Node: 1, State: StatePrimary, Configuration: &Configuration{Seq: set, Epoch: epoch}}
	}
	m := Memory{Node: 1}
	if err := m.Obey(goal(1, 1, 5)); err != nil {
		t.Fatal(err)
	}
	if err := m.Obey(goal(2, 1, 3)); !errors.Is(err, ErrOldGoal) || m.Goal.Incarnation != 1 {
		t.Errorf("an older set of the same reign: %v, goal %v", err, m.Goal.Stamp)
	}
	if err := m.Obey(goal(2, 1, 6)); err != nil {
		t.Errorf("a newer set: %v", err)
	}
	if err := m.Obey(goal(2, 2, 4)); err != nil {
		t.Errorf("another reign: %v", err)
	}
}
