package fsm

import (
	"testing"
	"time"
)

// TestS9_LeftConfirms: P3. A member that has left the group confirms the record of a restored monitor, since nobody can be elected with its help; one that was told of a later epoch, or
// has not left yet, does not.
func TestS9_LeftConfirms(t *testing.T) {
	const now = Instant(time.Hour)
	c := Configuration{Seq: 3, Epoch: 1, K: 1, Primary: Member{1, 1}, Members: []Member{{2, 1}}}
	for _, x := range []struct {
		name    string
		state   State
		epoch   uint64
		reached bool
		want    bool
	}{
		{"it has left", StateDropped, 1, true, true},
		{"it is leaving", StateDropped, 1, false, false},
		{"it was told to after a failover that nobody remembers", StateDropped, 2, true, false},
		{"it follows", StateSecondary, 1, true, false},
	} {
		obeyed := Stamp{Incarnation: 1, Epoch: x.epoch, Seq: 9}
		there := Report{Node: 2, Generation: 1, State: x.state, Obeyed: obeyed}
		if x.reached {
			there.Reached = obeyed
		}
		d := newDecider(Group{Incarnation: 2, Epoch: 1, Unproven: true, Record: Record{c}, Settings: DefaultSettings(), Nodes: []Node{
			{ID: 1, Heard: now, Report: &Report{Node: 1, Generation: 1, State: StatePrimary, Obeyed: Stamp{Incarnation: 2, Epoch: 1, Seq: 10}}},
			{ID: 2, Heard: now, Report: &there},
		}}, now)
		if why := d.unconfirmed(c); (why == "") != x.want {
			t.Errorf("%s: %q", x.name, why)
		}
	}
}
