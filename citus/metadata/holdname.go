package metadata

import (
	"fmt"
	"hash/fnv"

	"github.com/autoctl/autoctl/citus"
)

// holdName begins the application names of sessions that hold the writes of a group.
const holdName = "autoctl_hold "

// holdID is what the application name of a hold says: the group, the epoch of its place, the epoch of the coordinator's, which tells one reconciler from its successor, and for
// whom it is held. That is a digest: a name has no more than 63 bytes.
type holdID struct {
	group  int
	of, by citus.Epoch
	to     string
}

func (h holdID) String() string {
	return fmt.Sprintf("%s%d %s %s %s", holdName, h.group, h.of, h.by, h.to)
}

// holdIDOf reads the application name of a hold. Those of former versions do not say for whom they are.
func holdIDOf(name string) (h holdID, ok bool) {
	n, _ := fmt.Sscanf(name, holdName+"%d %d.%d %d.%d %s", &h.group, &h.of.Incarnation, &h.of.Number, &h.by.Incarnation, &h.by.Number, &h.to)
	return h, n >= 5
}

// nameHold is the application name of the hold that the topology wishes.
func nameHold(t citus.Topology, group int) string { return holdFor(t, group).String() }

func holdFor(t citus.Topology, group int) holdID {
	return holdID{group: group, of: epochOf(t, group), by: epochOf(t, citus.Coordinator), to: digest(wishOf(t, group).To)}
}

func digest(a citus.Address) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.String()))
	return fmt.Sprintf("%016x", h.Sum64())
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
// is superseded where it holds the group retaken for whom that is being held anew: an earlier life of the keeper left it. Others that may be elected hold the group as well, and
// theirs is as good. -1 is no group.
func superseded(t citus.Topology, retaken int) func(name string) bool {
	return func(name string) bool {
		h, ok := holdIDOf(name)
		if !ok {
			return false
		}
		switch now := holdFor(t, h.group); {
		case h.by.Compare(now.by) > 0 || h.of.Compare(now.of) > 0:
			return false
		case h.by.Compare(now.by) < 0 || h.of.Compare(now.of) < 0:
			return true
		default:
			return h.group == retaken && h.to == now.to
		}
	}
}

// outlived reports whether a session holds the group from before its present place, for another than who serves there.
func outlived(t citus.Topology, group int, name string) bool {
	h, ok := holdIDOf(name)
	g := t.Group(group)
	return ok && g != nil && h.group == group && h.of.Compare(g.Epoch) < 0 && h.to != digest(g.Primary)
}
