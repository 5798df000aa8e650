package metadata

import (
	"fmt"

	"github.com/autoctl/autoctl/citus"
)

// holdName begins the application names of sessions that hold the writes of a group.
const holdName = "autoctl_hold "

// nameHold is the application name of a hold: the group, the epoch of its place, and the epoch of the coordinator's, which tells one reconciler from its successor.
func nameHold(t citus.Topology, group int) string {
	return fmt.Sprintf("%s%d %s %s", holdName, group, epochOf(t, group), epochOf(t, citus.Coordinator))
}

// wishOf is the wish to hold a group's writes; the zero value where there is none.
func wishOf(t citus.Topology, group int) citus.Hold {
	if g := t.Group(group); g != nil && g.Hold != nil {
		return *g.Hold
	}
	return citus.Hold{}
}

func epochOf(t citus.Topology, group int) citus.Epoch {
	if g := t.Group(group); g != nil {
		return g.Epoch
	}
	return citus.Epoch{}
}

// superseded returns the test of whether a session holds for nobody any more: its group has moved on, or its reconciler has had a successor. A session of the same epochs
// is superseded where it holds the group retaken, which is being held anew: an earlier life of the keeper left it. -1 is no group.
func superseded(t citus.Topology, retaken int) func(name string) bool {
	return func(name string) bool {
		var group int
		var of, by citus.Epoch
		n, err := fmt.Sscanf(name, holdName+"%d %d.%d %d.%d", &group, &of.Incarnation, &of.Number, &by.Incarnation, &by.Number)
		if err != nil || n != 5 {
			return false
		}
		switch {
		case by.Compare(epochOf(t, citus.Coordinator)) > 0 || of.Compare(epochOf(t, group)) > 0:
			return false
		case by.Compare(epochOf(t, citus.Coordinator)) < 0 || of.Compare(epochOf(t, group)) < 0:
			return true
		default:
			return group == retaken
		}
	}
}
