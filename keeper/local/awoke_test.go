package local

import (
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// TestS18_Frozen: a keeper that was frozen says no more about its storage than it knew before (S18).
func TestS18_Frozen(t *testing.T) {
	n := &Node{}
	beat := ms(fsm.DefaultSettings().HeartbeatMS)
	now := time.Now()
	n.awoke(now, beat)
	n.commitAt = now
	age := func() time.Duration { return now.Sub(n.commitAt) }
	for range 10 { // awake, and no commit finishes
		now = now.Add(beat)
		n.awoke(now, beat)
	}
	if age() != 10*beat {
		t.Errorf("the commit is %v old, want %v", age(), 10*beat)
	}
	now = now.Add(time.Minute) // frozen
	n.awoke(now, beat)
	if age() != 10*beat {
		t.Errorf("after a minute's sleep the commit is %v old, want %v", age(), 10*beat)
	}
}

// TestBeyond: a receiver that is sent again what the standby has replayed long ago does not follow (S6).
func TestBeyond(t *testing.T) {
	for _, c := range []struct {
		received, replayed string
		want               bool
	}{
		{"0/6B42118", "0/6B421C0", false}, // up to the fork, and the log here goes on beyond it
		{"0/6B421C0", "0/6B421C0", true},
		{"0/7000000", "0/6B421C0", true},
		{"0/0", "0/6B421C0", false},
		{"0/0", "0/0", true},
	} {
		if got := beyond(c.received, c.replayed); got != c.want {
			t.Errorf("received %s, replayed %s: %v, want %v", c.received, c.replayed, got, c.want)
		}
	}
}
