package keeper

import (
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// TestUsable_RemainsOfInit: what our own interrupted initdb left in the directory is no reason to refuse it, and another's is.
func TestUsable_RemainsOfInit(t *testing.T) {
	remains := pgserver.DataDir{Path: "/data", Kind: pgserver.DataNotPostgreSQL, Reason: "the directory holds pg_subtrans and is not PostgreSQL's"}
	if err := usable(remains, fsm.Memory{Busy: fsm.BusyInit}); err != nil {
		t.Errorf("our own: %v", err)
	}
	if err := usable(remains, fsm.Memory{}); err == nil {
		t.Error("another's is taken")
	}
}
