package formation

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestRemembered: a group that a monitor does not tell of stays where it was known to be, unless it was gone or is of another formation.
func TestRemembered(t *testing.T) {
	place := func(group int, epoch uint64, gone bool) monitorapi.Place {
		return monitorapi.Place{Group: group, Epoch: epoch, Gone: gone}
	}
	before := monitorapi.Topology{Formation: "f", Groups: []monitorapi.Place{place(0, 1, false), place(1, 2, false), place(2, 3, true)}}
	now := monitorapi.Topology{Formation: "f", Groups: []monitorapi.Place{place(1, 5, false)}}
	want := []monitorapi.Place{place(0, 1, false), place(1, 5, false)}
	if diff := cmp.Diff(want, remembered(before, now).Groups); diff != "" {
		t.Error(diff)
	}
	if len(now.Groups) != 1 {
		t.Error("what the monitor said was changed")
	}
	now.Formation = "g"
	if got := remembered(before, now).Groups; len(got) != 1 {
		t.Errorf("of another formation: %v", got)
	}
}
