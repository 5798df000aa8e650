package inprocess

import (
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

// TestPair_StopImmediate: an immediate stop of a primary counts as a crash, so that the standby takes over at once and not when the node counts as silent.
func TestPair_StopImmediate(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	a.stop(keeper.StopImmediate)
	s.states(30*time.Second, map[string]fsm.State{"b": fsm.StateWaitPrimary})
	events, err := s.client.Events(t.Context(), monitorapi.EventFilter{Count: 1000})
	if err != nil {
		t.Fatal(err)
	}
	crashed := false
	for _, e := range events {
		crashed = crashed || e.Kind == "election" && strings.Contains(e.Reason, "crashed")
	}
	if !crashed {
		t.Errorf("no election because of a crash: %+v", events)
	}
	a.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
}
