package local_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// words collects every different status that a node's reports would tell.
func (m *member) words(stop <-chan struct{}) map[fsm.ServerStatus]bool {
	seen := map[fsm.ServerStatus]bool{}
	for {
		select {
		case <-stop:
			return seen
		default:
			seen[m.node.Status(m.t.Context(), m.mem.Get().Goal).Server.Status] = true
		}
	}
}

// while does something and returns what a busy reporter tells meanwhile.
func (m *member) while(do func()) map[fsm.ServerStatus]bool {
	stop, told := make(chan struct{}), make(chan map[fsm.ServerStatus]bool, 1)
	go func() { told <- m.words(stop) }()
	do()
	close(stop)
	return <-told
}

// TestAskedRestart stops a primary as an operator does and starts it again at once, many times: at no instant do reports call it crashed, whatever
// the reporter looks at meanwhile. An end that nobody asked for is a crash, also right after such a restart (H2).
func TestAskedRestart(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	for range 10 {
		told := a.while(func() {
			if err := a.node.Do(g.ctx, a.mem.Get().Goal, fsm.Step{Kind: fsm.StepStopFast}); err != nil {
				t.Error(err)
			}
			g.finish(a)
		})
		if told[fsm.ServerCrashed] {
			t.Fatalf("reports told %v of a restart that was asked for", told)
		}
	}
	told := a.while(func() {
		a.crash()
		g.until(a, "seen down", func([]fsm.Step) bool { return a.status() != fsm.ServerRunning })
	})
	if !told[fsm.ServerCrashed] {
		t.Errorf("reports told %v of a crash", told)
	}
	g.finish(a)
}

// TestAskedRestartFails: a server that was stopped on purpose and ends by itself when it is started again has crashed.
func TestAskedRestartFails(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	if err := a.node.Do(g.ctx, a.mem.Get().Goal, fsm.Step{Kind: fsm.StepStopFast}); err != nil {
		t.Fatal(err)
	}
	if got := a.status(); got != fsm.ServerStopped {
		t.Errorf("stopped on purpose, and it is %s", got)
	}
	config := filepath.Join(a.cfg.DataDir, "postgresql.conf")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, "\nno_such_parameter = on\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	a.steps = nil
	g.until(a, "started", func([]fsm.Step) bool { return slices.Contains(a.steps, fsm.StepStart) })
	await(t, "the failed start counts as a crash", func() bool { return a.status() == fsm.ServerCrashed })
}

func (m *member) status() fsm.ServerStatus {
	return m.node.Status(m.t.Context(), m.mem.Get().Goal).Server.Status
}

// TestAskedRestartBrokenOff: a start that is broken off for another stop leaves what is known of the last one: nothing has crashed.
func TestAskedRestartBrokenOff(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	goal := a.mem.Get().Goal
	for wait := time.Duration(0); wait < 60*time.Millisecond; wait += 3 * time.Millisecond {
		told := a.while(func() {
			if err := a.node.Do(g.ctx, goal, fsm.Step{Kind: fsm.StepStopFast}); err != nil {
				t.Error(err)
			}
			f, err := a.node.Observe(g.ctx, goal)
			if err != nil {
				t.Fatal(err)
			}
			files := fsm.Wanted(goal, f)
			ctx, cancel := context.WithTimeout(g.ctx, wait)
			defer cancel()
			_ = a.node.Do(ctx, goal, fsm.Step{Kind: fsm.StepStart, Files: &files}) // broken off somewhere
		})
		if told[fsm.ServerCrashed] {
			t.Fatalf("broken off after %v, reports told %v", wait, told)
		}
		g.finish(a)
	}
}
