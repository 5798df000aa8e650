package inprocess

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper"
)

// kill ends a node's PostgreSQL with SIGKILL, all of it.
func (n *node) kill() {
	n.s.t.Helper()
	p, err := pgserver.Adopt(n.cfg.PGData)
	if err != nil {
		n.s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.s.t.Context(), 10*time.Second)
	defer cancel()
	if err := errors.Join(p.Kill(ctx), p.Close()); err != nil {
		n.s.t.Fatal(err)
	}
}

// silence ends keeper and PostgreSQL of a node as a dying host does.
func (n *node) silence() {
	n.s.t.Helper()
	f, err := pgserver.ReadPIDFile(n.cfg.PGData)
	if err != nil {
		n.s.t.Fatal(err)
	}
	n.stop(keeper.StopKeeper)
	n.kill()
	// Where keepers are processes of their own, init reaps what they leave.
	_, _ = syscall.Wait4(f.PID, nil, 0, nil)
}

// pair is a site with a primary and a secondary.
func pair(t *testing.T) (s *site, a, b *node) {
	t.Helper()
	t.Parallel()
	return pairAlone(t)
}

// pairAlone is pair for a test that shares the process with no other.
func pairAlone(t *testing.T) (s *site, a, b *node) {
	t.Helper()
	s = newSite(t)
	began := time.Now()
	a = s.add("a")
	t.Logf("single after %v", s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSingle}))
	b = s.add("b")
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	t.Logf("primary and secondary %v after the first create", time.Since(began))
	return s, a, b
}

// TestPair_Crash: the primary's postmaster is killed; the standby is promoted at
// once and the old primary comes back as its standby, with every acknowledged
// row (P1, P3, P5).
func TestPair_Crash(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	s.mustWrite("insert into t values (1)", a, b)
	began := time.Now()
	a.kill()
	killed := time.Since(began)
	s.mustWrite("insert into t values (2)", a, b)
	t.Logf("written %v after the kill (which took %v)", time.Since(began), killed)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	t.Logf("a is secondary, b primary, %v after the kill", time.Since(began))
	s.mustWrite("do $$ begin if (select count(*) from t) <> 2 then raise 'rows are missing'; end if; end $$", b)
}

// TestPair_Stop: a stop that was asked for hands the role over first, and run
// brings the node back as standby.
func TestPair_Stop(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	began := time.Now()
	a.stop(keeper.StopGraceful)
	t.Logf("stopped after %v", time.Since(began))
	s.mustWrite("insert into t values (1)", a, b)
	t.Logf("written %v after the stop began", time.Since(began))
	a.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
}

// TestPair_KeeperRestart: a keeper that goes and comes back adopts its server.
func TestPair_KeeperRestart(t *testing.T) {
	s, a, b := pair(t)
	before, err := pgserver.ReadPIDFile(a.cfg.PGData)
	if err != nil {
		t.Fatal(err)
	}
	a.stop(keeper.StopKeeper)
	s.mustWrite("create table t (n int)", a, b)
	a.start()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	after, err := pgserver.ReadPIDFile(a.cfg.PGData)
	if err != nil || after.PID != before.PID {
		t.Errorf("server %d became %d, %v", before.PID, after.PID, err)
	}
}
