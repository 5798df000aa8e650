package fsm

import (
	"cmp"
	"fmt"
	"time"
)

// Instant is a moment on the monitor's monotonic clock, counted from the start of the monitor process. It never comes from
// a wall clock, and no instant survives a restart of the monitor: all ages restart with it.
type Instant time.Duration

// Sub returns the time from earlier to i.
func (i Instant) Sub(earlier Instant) time.Duration { return time.Duration(i - earlier) }

// Add returns the instant d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Stamp orders goals: by incarnation of the monitor, then epoch of the group (one a change of primary), then the group's
// sequence (one a decision). Goals with equal stamps are equal in content; keepers refuse a lower one than they obeyed.
type Stamp struct {
	Incarnation uint64 `json:"incarnation"`
	Epoch       uint64 `json:"epoch"`
	Seq         uint64 `json:"seq"`
}

// Compare returns -1, 0 or +1 as s is older than, the same as or newer than t.
func (s Stamp) Compare(t Stamp) int {
	if c := cmp.Compare(s.Incarnation, t.Incarnation); c != 0 {
		return c
	}
	if c := cmp.Compare(s.Epoch, t.Epoch); c != 0 {
		return c
	}
	return cmp.Compare(s.Seq, t.Seq)
}

// String returns "incarnation.epoch.seq".
func (s Stamp) String() string {
	return fmt.Sprintf("%d.%d.%d", s.Incarnation, s.Epoch, s.Seq)
}
