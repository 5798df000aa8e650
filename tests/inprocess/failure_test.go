package inprocess

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper"
)

// find returns a node's state.
func find(st monitorapi.State, name string) (monitorapi.NodeState, bool) {
	for _, f := range st.Formations {
		for _, g := range f.Groups {
			for _, n := range g.Nodes {
				if n.Name == name {
					return n, true
				}
			}
		}
	}
	return monitorapi.NodeState{}, false
}

// TestPair_Silent: keeper and server of the primary are gone at once; the
// standby is promoted after node_lost_after, and the node comes back as standby
// although its server crashed and its log may have gone further.
func TestPair_Silent(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	began := time.Now()
	a.silence()
	s.mustWrite("insert into t values (1)", b)
	t.Logf("written %v after the host died", time.Since(began))
	a.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	s.mustWrite("insert into t values (2)", a, b)
}

// TestPair_StandbyLost: without its only standby a primary of
// number_sync_standbys 0 serves alone after replication_stall_after, says so,
// and takes the standby back.
func TestPair_StandbyLost(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	b.silence()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateWaitPrimary})
	s.mustWrite("insert into t values (1)", a)
	b.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// TestPair_S21_AskFirst: a primary that serves alone and must start asks the monitor
// first, since an operator may have forced a promotion elsewhere.
func TestPair_S21_AskFirst(t *testing.T) {
	s, a, b := pair(t)
	b.silence()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateWaitPrimary})
	a.stop(keeper.StopFast)
	s.stopMonitor()
	a.start()
	<-time.After(2 * time.Second) // nothing may happen: there is no event to await
	if err := s.write("select 1", a); err == nil {
		t.Error("it started without the monitor's word")
	}
	s.startMonitor()
	s.mustWrite("create table t (n int)", a)
	b.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// TestPair_S13_MonitorAway: the loss of the monitor loses nothing (P4), and a
// primary with a standby that crashes meanwhile serves again in place.
func TestPair_S13_MonitorAway(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	s.stopMonitor()
	s.mustWrite("insert into t values (1)", a)
	a.kill()
	t.Logf("written again %v after the crash", s.mustWrite("insert into t values (2)", a))
	s.startMonitor()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// TestPair_H2_QuickRestart: a primary that is stopped on purpose and started again
// soon serves again: no failover (H2).
func TestPair_H2_QuickRestart(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	a.stop(keeper.StopFast)
	a.start()
	s.mustWrite("insert into t values (1)", a)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// TestTrio_Crash: of two standbys one is promoted and the other follows it by a
// reload alone; twice.
func TestTrio_Crash(t *testing.T) {
	s, a, b := pair(t)
	c := s.add("c")
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary, "c": fsm.StateSecondary})
	s.mustWrite("create table t (n int)", a, b, c)
	for range 2 {
		victim := s.primary()
		began := time.Now()
		victim.kill()
		s.mustWrite("insert into t values (1)", a, b, c)
		t.Logf("written %v after the kill of %s", time.Since(began), victim.cfg.Name)
		s.await("one primary, two secondaries", 60*time.Second, func(st monitorapi.State) bool {
			count := map[fsm.State]int{}
			for _, n := range s.nodes {
				if ns, ok := find(st, n.cfg.Name); ok && ns.Reported == ns.Assigned {
					count[ns.Reported]++
				}
			}
			return count[fsm.StatePrimary] == 1 && count[fsm.StateSecondary] == 2
		})
	}
	s.mustWrite("do $$ begin if (select count(*) from t) < 2 then raise 'rows are missing'; end if; end $$", a, b, c)
}

// primary returns the node that serves.
func (s *site) primary() *node {
	s.t.Helper()
	var p *node
	s.await("a primary", 30*time.Second, func(st monitorapi.State) bool {
		for _, n := range s.nodes {
			if ns, ok := find(st, n.cfg.Name); ok && ns.Reported == fsm.StatePrimary && ns.Assigned == fsm.StatePrimary {
				p = n
				return true
			}
		}
		return false
	})
	return p
}

// elections counts the elections that a site has had.
func (s *site) elections() int {
	s.t.Helper()
	events, err := s.client.Events(s.t.Context(), monitorapi.EventFilter{Count: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	count := 0
	for _, e := range events {
		if e.Kind == "election" {
			count++
		}
	}
	return count
}

// TestPair_StoppedIsNoFailover: a primary that an operator has stopped is not
// failed over, not even when the monitor's PostgreSQL crashes meanwhile and
// loses every report; many quick restarts are no failover either (H2).
func TestPair_StoppedIsNoFailover(t *testing.T) {
	s, a, _ := pair(t)
	for range 5 {
		a.stop(keeper.StopFast)
		a.start()
		s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	}
	a.stop(keeper.StopFast)
	s.await("the stop is remembered", 10*time.Second, func(monitorapi.State) bool {
		in, err := s.client.ExplainInput(t.Context(), "default", 0)
		return err == nil && slices.ContainsFunc(in.Group.Nodes, func(n fsm.Node) bool { return n.Name == "a" && n.Stopped })
	})
	p, err := pgserver.Adopt(s.monitor.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Kill(t.Context()), p.Close()); err != nil {
		t.Fatal(err)
	}
	s.await("b is heard again", 30*time.Second, func(st monitorapi.State) bool {
		n, ok := find(st, "b")
		return ok && n.Health == "good"
	})
	// Nothing may happen for node_lost_after: there is no event to await.
	<-time.After(2 * time.Duration(fsm.DefaultSettings().NodeLostAfterMS) * time.Millisecond)
	if n := s.elections(); n != 0 {
		t.Errorf("%d elections although every stop was asked for", n)
	}
	a.start()
	s.mustWrite("create table t (n int)", a)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}
