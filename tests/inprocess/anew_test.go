package inprocess

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper"
)

// leave drops a node and waits for the end of its keeper.
func (n *node) leave() {
	n.s.t.Helper()
	n.s.command(fsm.Command{Kind: fsm.CommandDrop, Node: n.id()}, fsm.OutcomeAccepted)
	select {
	case err := <-n.ended:
		if !errors.Is(err, keeper.ErrDropped) {
			n.s.t.Fatal(err)
		}
		n.ended <- nil
	case <-time.After(30 * time.Second):
		n.s.t.Fatal("the keeper of a dropped node goes on")
	}
}

// TestAnew: a group whose last node was dropped begins anew, on the data that was kept and on none, and protects its commits again (P3).
func TestAnew(t *testing.T) {
	s := newSite(t)
	a := s.add("a")
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSingle})
	s.mustWrite("create table t as select 1 as n", a)
	a.leave()
	a.create()
	a.start()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSingle})
	s.mustWrite("insert into t values (2)", a)
	b := s.add("b")
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	a.leave()
	s.states(30*time.Second, map[string]fsm.State{"b": fsm.StateSingle})
	b.leave()
	if err := errors.Join(pgserver.FreeSharedMemory(b.cfg.PGData), os.RemoveAll(b.cfg.PGData)); err != nil {
		t.Fatal(err)
	}
	b.create()
	b.start()
	s.states(60*time.Second, map[string]fsm.State{"b": fsm.StateSingle})
	s.mustWrite("create table t (n int)", b)
}

// TestPair_FormerPrimaryStreams: a former primary that was dropped and is created again on its kept data follows without a copy, under its new id.
func TestPair_FormerPrimaryStreams(t *testing.T) {
	s, a, b := pair(t)
	s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("create table t (n int)", a, b)
	a.leave()
	s.states(30*time.Second, map[string]fsm.State{"b": fsm.StateSingle})
	a.create()
	a.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "was begun here") {
		t.Error("it was copied")
	}
	s.mustWrite("insert into t values (1)", a, b)
}
