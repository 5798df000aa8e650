package formation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestHanded: while a group is handed over with its writes held, the keepers of other groups leave it where it was; its own sees the new place at once, and all do when the
// hand-over has ended, or when they have not known the group before.
func TestHanded(t *testing.T) {
	place := func(group int, epoch uint64, handing bool) monitorapi.Place {
		return monitorapi.Place{Group: group, NodeID: fsm.NodeID(10*uint64(group) + epoch), Epoch: epoch, Host: "h", Port: int(5000 + epoch), Handing: handing}
	}
	before := monitorapi.Topology{Groups: []monitorapi.Place{place(0, 1, false), place(1, 1, false)}}
	during := monitorapi.Topology{Groups: []monitorapi.Place{place(0, 2, false), place(1, 2, true), place(2, 2, true)}}
	after := monitorapi.Topology{Groups: []monitorapi.Place{place(0, 2, false), place(1, 2, false), place(2, 2, false)}}
	others := func(own int) func(monitorapi.Place) bool {
		return func(p monitorapi.Place) bool { return p.Group != own }
	}
	kept := handed(before, during, others(0))
	want := []monitorapi.Place{place(0, 2, false), place(1, 1, true), place(2, 2, true)}
	if diff := cmp.Diff(want, kept.Groups); diff != "" {
		t.Errorf("another group's keeper:\n%s", diff)
	}
	if diff := cmp.Diff(during.Groups[1], handed(before, during, others(1)).Groups[1]); diff != "" {
		t.Errorf("the group's own keeper:\n%s", diff)
	}
	if again := handed(kept, during, others(0)); !same(kept, again) {
		t.Errorf("nothing has changed, and %+v has become %+v", kept, again)
	}
	if diff := cmp.Diff(after.Groups, handed(kept, after, others(0)).Groups); diff != "" {
		t.Errorf("after the hand-over:\n%s", diff)
	}
	if diff := cmp.Diff(during.Groups, handed(kept, during, func(monitorapi.Place) bool { return false }).Groups); diff != "" {
		t.Errorf("when it has lasted too long:\n%s", diff)
	}
}

// TestPatient: a hand-over is left to the new primary's keeper for a while, each anew.
func TestPatient(t *testing.T) {
	k := New(Parts{})
	to := monitorapi.Place{Group: 1, NodeID: 7}
	for range 2 {
		if !k.patient(to) {
			t.Error("not left to the new primary's keeper")
		}
	}
	k.handing[1] = handing{7, time.Now().Add(-handPatience)}
	if k.patient(to) {
		t.Error("left to the new primary's keeper for ever")
	}
	if !k.patient(monitorapi.Place{Group: 1, NodeID: 8}) || !k.patient(to) {
		t.Error("the next hand-over is not left to the new primary's keeper")
	}
}
