package inprocess

import (
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/control"
)

// TestReplaceMonitor: a group moves to a replacement monitor while it serves:
// ids, epoch and roles stay, nothing restarts, and the new monitor carries out
// the next switchover.
func TestReplaceMonitor(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	ids := map[*node]fsm.NodeID{a: a.id(), b: b.id()}
	var epoch uint64
	group := func(st monitorapi.State) *monitorapi.GroupState {
		if len(st.Formations) == 0 || len(st.Formations[0].Groups) == 0 {
			return nil
		}
		return &st.Formations[0].Groups[0]
	}
	s.await("the epoch is known", 10*time.Second, func(st monitorapi.State) bool {
		g := group(st)
		if g != nil {
			epoch = g.Epoch
		}
		return g != nil
	})
	s.stopMonitor()
	r := newSite(t)
	before, err := pgserver.ReadPIDFile(a.cfg.PGData)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{b, a} { // the standby first: the harder order
		var reg monitorapi.Registered
		if err := control.Call(t.Context(), n.cfg.StateDir, control.Request{Command: "monitor", URI: r.uri}, &reg, nil); err != nil {
			t.Fatal(err)
		}
		if reg.Node != ids[n] {
			t.Errorf("%s was node %d and is node %d of the new monitor", n.cfg.Name, ids[n], reg.Node)
		}
	}
	r.await("the record is proved, under the same epoch", 30*time.Second, func(st monitorapi.State) bool {
		g := group(st)
		return g != nil && !g.Unproven && g.Epoch == epoch
	})
	r.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("insert into t values (1)", a, b)
	after, err := pgserver.ReadPIDFile(a.cfg.PGData)
	if err != nil || before.PID != after.PID {
		t.Errorf("restarted: process %d became %d, %v", before.PID, after.PID, err)
	}
	r.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
	r.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	r.await("the failover has the next epoch", 10*time.Second, func(st monitorapi.State) bool { return group(st).Epoch == epoch+1 })
}
