package fsm

import (
	"cmp"
	"slices"
)

// Position says how far a node's log reaches. It is ordered as Raft orders (term, index): first by the epoch of the
// timeline that the last record belongs to, then by LSN; an older timeline beyond the fork is behind, whatever its LSN (S6).
type Position struct {
	Epoch    uint64   `json:"epoch"`
	LSN      LSN      `json:"lsn"`
	Timeline Timeline `json:"timeline"`
}

// Compare returns -1, 0 or +1 as p is behind, level with or ahead of q.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Epoch, q.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(p.LSN, q.LSN)
}

// Branch is one timeline of a history: its number and the LSN at which it left the branch before it (0 for the first).
type Branch struct {
	Timeline Timeline `json:"timeline"`
	Begin    LSN      `json:"begin"`
}

// Lineage is the history of one server, oldest branch first, the current one last, as PostgreSQL's history files tell it.
type Lineage []Branch

// Current returns the timeline at the end of the lineage, or 0 when it is empty.
func (l Lineage) Current() Timeline {
	if len(l) == 0 {
		return 0
	}
	return l[len(l)-1].Timeline
}

// Contains reports whether a log that ends at lsn on the last branch of old is a prefix of l: every switch of old happened at
// the same place in l, and l left old's last branch at or after lsn. Only then can a server with that log stream from one with lineage l.
func (l Lineage) Contains(old Lineage, lsn LSN) bool {
	if len(old) == 0 || len(old) > len(l) {
		return false
	}
	// PostgreSQL drops nothing from a history, so both lists start at the same ancestor; compare from there.
	for i, b := range old {
		if l[i].Timeline != b.Timeline || (i > 0 && l[i].Begin != b.Begin) {
			return false
		}
	}
	if len(l) == len(old) {
		return true
	}
	return lsn <= l[len(old)].Begin
}

// Reaches reports whether the history passes through a place: the timeline is one of its own, and it was not left before.
func (l Lineage) Reaches(tli Timeline, lsn LSN) bool {
	for i, b := range l {
		if b.Timeline == tli {
			return i == len(l)-1 || lsn <= l[i+1].Begin
		}
	}
	return false
}

// Order is one timeline that a goal ever named for creation, whether or not it was created: the map from timelines to epochs.
// Numbers are never ordered twice for promotions (S3), so the map is a function.
type Order struct {
	Timeline Timeline `json:"timeline"`
	Epoch    uint64   `json:"epoch"`
	Node     NodeID   `json:"node"`
}

// Orders is the list of timelines that a group ever ordered, in growing epoch. A number comes twice only where a group began anew with data that was
// on it: the newest order counts.
type Orders []Order

// of returns the order that counts for a timeline; false for one that was never ordered by this group.
func (o Orders) of(tli Timeline) (Order, bool) {
	for _, order := range slices.Backward(o) {
		if order.Timeline == tli {
			return order, true
		}
	}
	return Order{}, false
}

// Epoch returns the epoch in which the timeline was ordered; 0, older than any, for one that was never ordered by this group.
func (o Orders) Epoch(tli Timeline) uint64 {
	order, _ := o.of(tli)
	return order.Epoch
}
