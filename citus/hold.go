package citus

import "time"

// DefaultGrace is for how long transactions that are under way may go on when a group's writes are to be held.
const DefaultGrace = 5 * time.Second

// Grace returns for how long transactions under way may go on.
func (h Hold) Grace() time.Duration {
	if h.GraceMS <= 0 {
		return DefaultGrace
	}
	return time.Duration(h.GraceMS) * time.Millisecond
}

// Holding is what a reconciler has in hand of one group: the hold that it took, or is taking.
type Holding struct {
	// ID is the wish that the hold follows.
	ID string
	// Epoch was the group's when it began.
	Epoch Epoch
	// Complete says that every metadata primary that could be reached holds the group's writes.
	Complete bool
	// Over says that it has ended by itself: its deadline, or a lost session.
	Over bool
}

// Act is what a reconciler does next about a group's hold.
type Act string

// The acts.
const (
	ActNothing Act = "nothing"
	ActTake    Act = "take"    // begin to hold
	ActCommit  Act = "commit"  // write the new address in the transactions that hold, and end them
	ActRelease Act = "release" // end them without a change
)

// NextAct returns what the reconciler does next about group g of its topology, with what it has in hand; nil is nothing. A wish whose hold has ended by itself is not
// followed again: whoever wished it takes it for failed, or has gone on without it.
//
// Before the promotion every path leads to ActRelease or to the end by itself, which leave all as it was; after it, to ActCommit, or to an ordinary change of the
// address when there is nothing in hand.
func NextAct(g Group, in *Holding) Act {
	switch {
	case in == nil && g.Hold != nil && !g.Dropped:
		return ActTake
	case in == nil:
		return ActNothing
	case g.Epoch.Compare(in.Epoch) > 0 && in.Over:
		return ActRelease
	case g.Epoch.Compare(in.Epoch) > 0:
		return ActCommit
	case g.Hold == nil || g.Hold.ID != in.ID:
		return ActRelease
	default:
		return ActNothing
	}
}

// Status is what a reconciler tells the monitor of one group.
type Status struct {
	Group int `json:"group"`
	// Epoch is the one of the topology that was acted on.
	Epoch Epoch `json:"epoch"`
	// Hold is the wish that was followed; Held that it is complete; HoldFailed why it will not be. Missing are groups whose primary could not be made to hold.
	Hold       string `json:"hold,omitempty"`
	Held       bool   `json:"held,omitempty"`
	HoldFailed string `json:"hold_failed,omitempty"`
	Missing    []int  `json:"missing,omitempty"`
	// Routed says that the coordinator sends the group's statements to where the topology says, Propagated that every metadata primary does.
	Routed     bool `json:"routed"`
	Propagated bool `json:"propagated"`
	// Newer is an epoch that some server was told and the topology does not reach; zero for none. A monitor whose memory is proven takes a number above it.
	Newer Epoch `json:"newer,omitzero"`
	// Problem is what keeps the group's rows from being right; empty when nothing does.
	Problem string `json:"problem,omitempty"`
}
