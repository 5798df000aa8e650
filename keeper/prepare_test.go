package keeper

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// TestPrepare_Unfinished: data that a rewind left half done when their node was dropped are still half done in the life of a new node (S10).
func TestPrepare_Unfinished(t *testing.T) {
	dropped := fsm.Memory{Node: 4, Token: "old", Generation: 3, Released: true, Busy: fsm.BusyRewind, Promotions: []fsm.Promotion{{Epoch: 2, Timeline: 2, Node: 4}}}
	for kind, want := range map[pgserver.DataKind]fsm.Busy{pgserver.DataReady: fsm.BusyRewind, pgserver.DataDamaged: fsm.BusyRewind, pgserver.DataEmpty: fsm.BusyNone} {
		m := dropped
		prepare(&m, survey{data: pgserver.DataDir{Kind: kind}})
		if m.Busy != want || m.Node != 0 || m.Released || m.Token == "old" {
			t.Errorf("data %s: %+v", kind, m)
		}
	}
}

// TestRoomFor: a directory without room is refused before anything is registered.
func TestRoomFor(t *testing.T) {
	dir := t.TempDir()
	if err := roomFor(dir, 1); err != nil {
		t.Error(err)
	}
	refusal, ok := errors.AsType[*Refusal](roomFor(filepath.Join(dir, "not", "there"), 1<<60))
	if !ok || refusal.Code != CodeNoRoom || refusal.Hint == "" {
		t.Errorf("got %+v", refusal)
	}
}
