package citus

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// Coordinator is the number of the coordinator's group.
const Coordinator = 0

// Address is where a server listens.
type Address struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

// String returns "host:port", with brackets around an IPv6 address.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// IsZero reports whether there is no address.
func (a Address) IsZero() bool { return a == Address{} }

// Epoch orders the places of one group: it grows whenever the group's primary, the primary's address, or the group's membership of the formation changes. The
// incarnation of the monitor comes first, so that a monitor with an old memory goes on above all that it gave out before.
type Epoch struct {
	Incarnation uint64 `json:"incarnation"`
	Number      uint64 `json:"number"`
}

// Compare returns -1, 0 or +1 as e is older than, the same as or newer than f.
func (e Epoch) Compare(f Epoch) int {
	if c := cmp.Compare(e.Incarnation, f.Incarnation); c != 0 {
		return c
	}
	return cmp.Compare(e.Number, f.Number)
}

// String returns "incarnation.number".
func (e Epoch) String() string { return fmt.Sprintf("%d.%d", e.Incarnation, e.Number) }

// Topology is what pg_dist_node must say in one database of a formation, on every metadata primary.
type Topology struct {
	Formation string `json:"formation"`
	Database  string `json:"database"`
	// Groups are in order of their numbers, the coordinator's first. A group that is not named is left alone: only [Group.Dropped] removes one.
	Groups []Group `json:"groups"`
}

// Group is one group's place in the topology.
type Group struct {
	Number int `json:"group"`
	// Epoch is that of the group's place: of Primary, or of Dropped.
	Epoch Epoch `json:"epoch"`
	// Primary is where the group's primary serves. It stays the last one's while the group has none, see Serving; it is zero while there has never been one.
	Primary Address `json:"primary"`
	// Serving says that the primary is up and open as far as the monitor knows. Nobody is sent to a group that does not serve, and no add waits for it.
	Serving bool `json:"serving"`
	// SystemID is the group's system identifier (pg_control_system); a server with another one is refused before anything is told to it. 0 is not yet known.
	SystemID uint64 `json:"system_id"`
	// Secondaries are the standbys that Citus is to know of; nil leaves alone whatever is registered, empty but not nil removes it. A standby under ordinary
	// failover need not be registered.
	Secondaries []Secondary `json:"secondaries,omitzero"`
	// PoolInfo is the group's row of pg_dist_poolinfo, such as "host=h port=6432". Empty removes the row that was written from here, and leaves others alone.
	PoolInfo string `json:"pool_info,omitempty"`
	// Dropped says that the group has left the formation: its rows are to be removed. Citus refuses while shards have their only place there.
	Dropped bool `json:"dropped,omitempty"`
	// Hold asks that the writes of the group be held on every metadata primary; nil for none.
	Hold *Hold `json:"hold,omitempty"`
}

// Secondary is a standby that Citus may read from.
type Secondary struct {
	Address
	// Cluster is its Citus cluster name (nodecluster); empty is "default".
	Cluster string `json:"cluster,omitempty"`
}

// Hold is the wish that a group's writes wait, rather than fail, while its primary changes. It ends with the topology that has a newer epoch (the writes
// go to the new primary), by being withdrawn (they go on where they were), or at its deadline, whatever happens first.
type Hold struct {
	// ID distinguishes one wish from the next of the same group; the epoch and sequence of the group's election do.
	ID string `json:"id"`
	// To is who is going to serve; empty while that is not decided.
	To Address `json:"to"`
	// Planned says that the old primary serves until the hold is complete: it is worth waiting for the transactions that are under way. Otherwise the hold is
	// taken only where it can be had at once.
	Planned bool `json:"planned"`
	// GraceMS is for how long transactions under way may go on, in ms; whoever still holds the group's shards then is ended, and told why. 0 is [DefaultGrace].
	GraceMS int64 `json:"grace_ms,omitempty"`
	// NoForce ends nobody: the hold fails instead when the grace is over.
	NoForce bool `json:"no_force,omitempty"`
}

// Group returns the group with that number; nil if it is not named.
func (t Topology) Group(number int) *Group {
	for i := range t.Groups {
		if t.Groups[i].Number == number {
			return &t.Groups[i]
		}
	}
	return nil
}

// Only returns the topology with one of its groups, for a change that is to touch nothing else.
func (t Topology) Only(number int) Topology {
	g := t.Group(number)
	t.Groups = nil
	if g != nil {
		t.Groups = []Group{*g}
	}
	return t
}

// Validate returns what is wrong with a topology, all of it: groups out of order, addresses missing or given twice.
func (t Topology) Validate() error {
	var errs []error
	if !slices.IsSortedFunc(t.Groups, func(a, b Group) int { return cmp.Compare(a.Number, b.Number) }) {
		errs = append(errs, errors.New("groups are not in order of their numbers"))
	}
	at := map[Address]int{}
	place := func(a Address, g int) {
		switch other, taken := at[a]; {
		case a.IsZero():
		case a.Host == "" || a.Port < 1 || a.Port > 65535:
			errs = append(errs, fmt.Errorf("group %d: no address: %q", g, a))
		case taken:
			errs = append(errs, fmt.Errorf("group %d: %s is named in group %d already", g, a, other))
		default:
			at[a] = g
		}
	}
	for i, g := range t.Groups {
		if g.Number < 0 || i > 0 && t.Groups[i-1].Number == g.Number {
			errs = append(errs, fmt.Errorf("group %d: not a number of its own", g.Number))
		}
		if g.Dropped {
			continue
		}
		place(g.Primary, g.Number)
		for _, s := range g.Secondaries {
			place(s.Address, g.Number)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check topology of %s: %w", t.Formation, err)
	}
	return nil
}
