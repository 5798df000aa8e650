package daemon_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/daemon"
)

// memory is a Store in memory that can be made unwritable.
type memory struct {
	mu     sync.Mutex
	m      fsm.Memory
	broken error
}

func (s *memory) Get() fsm.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m
}

func (s *memory) Update(change func(*fsm.Memory)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	change(&s.m)
	return nil
}

func (s *memory) Note(change func(*fsm.Memory)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.m)
}

func (s *memory) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// node is a PostgreSQL that does what its fields say and writes down its steps.
type node struct {
	mu      sync.Mutex
	facts   fsm.Facts
	status  daemon.Status
	steps   []fsm.StepKind
	do      func(ctx context.Context, goal fsm.Goal, step fsm.Step) error
	changed chan struct{}
}

func (n *node) Observe(context.Context, fsm.Goal) (fsm.Facts, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.facts, nil
}

func (n *node) Do(ctx context.Context, goal fsm.Goal, step fsm.Step) error {
	n.mu.Lock()
	n.steps = append(n.steps, step.Kind)
	n.mu.Unlock()
	if n.do == nil {
		return nil
	}
	return n.do(ctx, goal, step)
}

func (n *node) Status(context.Context, fsm.Goal) daemon.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *node) Changed() <-chan struct{} { return n.changed }

func (n *node) done() []fsm.StepKind {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.steps)
}

// monitor answers reports with its goal and pushes what it is told to.
type monitor struct {
	mu      sync.Mutex
	goal    fsm.Goal
	err     error
	reports []fsm.Report
	pushes  chan fsm.Goal
	command func(fsm.Command) (fsm.Answer, error)
}

func (m *monitor) Report(_ context.Context, r fsm.Report) (fsm.Goal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports = append(m.reports, r)
	return m.goal, m.err
}

func (m *monitor) Goals(ctx context.Context, _ fsm.NodeID) (<-chan fsm.Goal, error) {
	out := make(chan fsm.Goal)
	go func() {
		defer close(out)
		for {
			select {
			case g := <-m.pushes:
				select {
				case out <- g:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func (m *monitor) Command(_ context.Context, _ string, _ int, c fsm.Command) (fsm.Answer, error) {
	return m.command(c)
}

func (m *monitor) answer(g fsm.Goal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.goal = g
}

func (m *monitor) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *monitor) heard() []fsm.Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.reports)
}

func (m *monitor) last() fsm.Report {
	all := m.heard()
	return all[len(all)-1]
}

// world is one keeper with its doubles.
type world struct {
	t       *testing.T
	store   *memory
	node    *node
	monitor *monitor
	daemon  *daemon.Daemon
	log     zerolog.Logger
	ended   chan error
	cancel  context.CancelFunc
}

// start runs a keeper in a bubble of fake time. The plan decides what it does.
func start(t *testing.T, plan daemon.Planner, prepare ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, store: &memory{m: fsm.Memory{Node: 1, Token: "00000001"}},
		node:    &node{changed: make(chan struct{}, 1)},
		monitor: &monitor{pushes: make(chan fsm.Goal)},
		log:     zerolog.New(zerolog.NewTestWriter(t)),
		ended:   make(chan error, 1),
	}
	for _, p := range prepare {
		p(w)
	}
	w.daemon = daemon.New(daemon.Parts{Store: w.store, Node: w.node, Monitor: w.monitor, Plan: plan, Log: w.log})
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { w.ended <- w.daemon.Run(ctx) }()
	synctest.Wait()
	return w
}

// push delivers a goal as the monitor does: pushed, and in every later answer.
func (w *world) push(g fsm.Goal) {
	w.monitor.answer(g)
	w.monitor.pushes <- g
	synctest.Wait()
}

// problem is what the node says is in its way.
func (w *world) problem() *fsm.Problem {
	r, _, _ := w.daemon.Snapshot(w.t.Context())
	return r.Problem
}

func (w *world) finish() error {
	w.cancel()
	return <-w.ended
}

func goal(seq uint64, s fsm.State) fsm.Goal {
	return fsm.Goal{Stamp: fsm.Stamp{Incarnation: 1, Epoch: 1, Seq: seq}, Node: 1, State: s, Settings: fsm.DefaultSettings()}
}

func nothing(fsm.Goal, fsm.Facts) []fsm.Step { return nil }

// TestDaemon_S9_GoalOrder: only newer goals are obeyed; one of an older life of the
// group is shown as a problem until the monitor has caught up (S9).
func TestDaemon_S9_GoalOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nothing)
		w.push(goal(5, fsm.StateSingle))
		w.push(goal(4, fsm.StateDemoted))
		if got := w.store.Get().Goal; got.State != fsm.StateSingle {
			t.Errorf("obeyed %s of an older sequence", got.State)
		}
		if p := w.monitor.last().Problem; p != nil {
			t.Errorf("an overtaken message is no problem: %+v", p)
		}
		old := goal(9, fsm.StateDemoted)
		old.Epoch = 0
		w.push(old)
		<-time.After(time.Second)
		synctest.Wait()
		if p := w.monitor.last().Problem; p == nil || p.Code != "old_goal" {
			t.Errorf("problem %+v, want old_goal", p)
		}
		w.push(goal(6, fsm.StateWaitPrimary))
		<-time.After(time.Second)
		synctest.Wait()
		if r := w.monitor.last(); r.Problem != nil || r.State != fsm.StateWaitPrimary || r.Reached.Seq != 6 || r.Obeyed.Seq != 6 {
			t.Errorf("report %+v", r)
		}
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	})
}

// TestDaemon_S8_PersistBeforeAct: a goal that cannot be remembered is not obeyed,
// the node goes on as it is, and says why.
func TestDaemon_S8_PersistBeforeAct(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var planned []fsm.State
		w := start(t, func(g fsm.Goal, _ fsm.Facts) []fsm.Step {
			mu.Lock()
			defer mu.Unlock()
			planned = append(planned, g.State)
			return nil
		})
		w.push(goal(1, fsm.StateSingle))
		w.store.fail(errors.New("disk full"))
		w.push(goal(2, fsm.StateDemoted))
		<-time.After(2 * time.Second)
		synctest.Wait()
		mu.Lock()
		if slices.Contains(planned, fsm.StateDemoted) {
			t.Error("acted on a goal that is not on disk")
		}
		mu.Unlock()
		if r := w.monitor.last(); r.Problem == nil || r.Problem.Code != "state_unwritable" || r.Obeyed.Seq != 1 {
			t.Errorf("report %+v", r)
		}
		w.store.fail(nil)
		<-time.After(time.Second)
		synctest.Wait()
		if r := w.monitor.last(); r.Problem != nil || r.Obeyed.Seq != 2 {
			t.Errorf("after repair: %+v", r)
		}
		_ = w.finish()
	})
}

// TestDaemon_H12_HeartbeatsDuringStep: an hour of copying does not silence the node,
// and a goal that still wants the copy does not interrupt it, while one that
// does not breaks it off.
func TestDaemon_H12_HeartbeatsDuringStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		w := start(t, func(g fsm.Goal, _ fsm.Facts) []fsm.Step {
			if g.State.Follows() {
				return []fsm.Step{{Kind: fsm.StepCopy}}
			}
			return nil
		}, func(w *world) {
			w.node.do = func(ctx context.Context, _ fsm.Goal, _ fsm.Step) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return cause
			}
		})
		up := &fsm.Upstream{Node: 2, Host: "h", Port: 1, Timeline: 1}
		follow := func(seq uint64, s fsm.State, up *fsm.Upstream) fsm.Goal {
			g := goal(seq, s)
			g.Upstream = up
			return g
		}
		w.push(follow(1, fsm.StateCatchingUp, up))
		before := len(w.monitor.heard())
		<-time.After(time.Hour)
		if n := len(w.monitor.heard()) - before; n < 7199 {
			t.Errorf("%d heartbeats in an hour", n)
		}
		w.push(follow(2, fsm.StateSecondary, up))
		if got := w.node.done(); len(got) != 1 {
			t.Errorf("steps %v: a goal with the same upstream restarted the copy", got)
		}
		w.push(goal(3, fsm.StateMaintenance))
		if cause == nil || w.store.Get().State != fsm.StateMaintenance {
			t.Errorf("copy not broken off (%v), state %s", cause, w.store.Get().State)
		}
		_ = w.finish()
	})
}

// TestDaemon_S5_VoteOnlyWhenReached: a vote quotes the election's own goal and is
// given only after every step of older goals has ended (S5).
func TestDaemon_S5_VoteOnlyWhenReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var mu sync.Mutex
		configured := false
		w := start(t, func(g fsm.Goal, _ fsm.Facts) []fsm.Step {
			mu.Lock()
			defer mu.Unlock()
			if g.State == fsm.StateSecondary && !configured {
				return []fsm.Step{{Kind: fsm.StepConfigure}}
			}
			return nil
		}, func(w *world) {
			w.node.status.Final = &fsm.Position{Epoch: 1, LSN: 100, Timeline: 1}
			w.node.do = func(context.Context, fsm.Goal, fsm.Step) error {
				<-release
				mu.Lock()
				defer mu.Unlock()
				configured = true
				return nil
			}
		})
		w.push(goal(1, fsm.StateSecondary))
		w.push(goal(2, fsm.StateReportLSN))
		<-time.After(time.Second)
		synctest.Wait()
		if v := w.monitor.last().Vote; v != nil {
			t.Errorf("voted while a step of an older goal was in flight: %+v", v)
		}
		close(release)
		synctest.Wait()
		if v := w.monitor.last().Vote; v == nil || v.Stamp.Seq != 2 || v.Position.LSN != 100 {
			t.Errorf("vote %+v", v)
		}
		_ = w.finish()
	})
}

// startFresh starts a world whose plan waits, and returns what holds the plan's word on freshness against what it should be.
func startFresh(t *testing.T, set func(*world)) (w *world, is func(want bool, when string)) {
	t.Helper()
	var mu sync.Mutex
	fresh := false
	w = start(t, func(_ fsm.Goal, f fsm.Facts) []fsm.Step {
		mu.Lock()
		defer mu.Unlock()
		fresh = f.Fresh
		return []fsm.Step{{Kind: fsm.StepWait}}
	}, set)
	return w, func(want bool, when string) {
		t.Helper()
		<-time.After(3 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if fresh != want {
			t.Errorf("%s: fresh %v", when, fresh)
		}
	}
}

// TestDaemon_FreshBeforeStart: what the keeper tells the plan about the
// monitor's word is true only after an answer to a report sent after the server
// was last seen down.
func TestDaemon_FreshBeforeStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, is := startFresh(t, func(w *world) {
			w.store.m.Goal = goal(1, fsm.StateWaitPrimary)
			w.node.facts.Server.Status = fsm.ServerStopped
			w.monitor.err = errors.New("away")
		})
		answering := func(err error) {
			w.monitor.mu.Lock()
			defer w.monitor.mu.Unlock()
			w.monitor.err = err
		}
		running := func(s fsm.ServerStatus) {
			w.node.mu.Lock()
			defer w.node.mu.Unlock()
			w.node.facts.Server.Status = s
		}
		is(false, "monitor away since the start")
		w.push(goal(2, fsm.StateWaitPrimary))
		is(false, "a pushed goal is no answer")
		answering(nil)
		is(true, "monitor answered")
		answering(errors.New("away"))
		is(true, "monitor away, server still down")
		running(fsm.ServerRunning)
		is(true, "serving")
		running(fsm.ServerCrashed)
		is(false, "crashed with the monitor away")
		answering(nil)
		is(true, "monitor back")
		_ = w.finish()
	})
}

// TestDaemon_FreshPromotion: a goal that lets a standby acknowledge alone may have waited on its way while an operator forced another: it is
// fresh only when the monitor has answered with it (P2).
func TestDaemon_FreshPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, is := startFresh(t, func(w *world) {
			w.store.m.Goal = goal(1, fsm.StateReportLSN)
			w.monitor.goal = w.store.m.Goal
			w.node.facts.Server = fsm.ServerFacts{Status: fsm.ServerRunning, Recovery: true}
		})
		is(true, "the monitor has answered with the present goal")
		alone := goal(2, fsm.StateWaitPrimary)
		alone.Configuration, alone.Peers = &fsm.Configuration{}, []fsm.Peer{{Node: 2}}
		w.monitor.pushes <- alone
		is(false, "a push, and the monitor answers with what it wanted before")
		w.monitor.answer(alone)
		is(true, "the monitor answers with it")
		_ = w.finish()
	})
}

// TestDaemon_StopIsNoCrash: a stop that was asked for is remembered as asked
// before PostgreSQL stops, and the last report says so (H2).
func TestDaemon_StopIsNoCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nothing, func(w *world) {
			w.node.status.Server.Status = fsm.ServerRunning
			w.node.do = func(context.Context, fsm.Goal, fsm.Step) error {
				if !w.store.Get().Asked {
					t.Error("stopped before it was remembered as asked")
				}
				w.node.mu.Lock()
				defer w.node.mu.Unlock()
				w.node.status.Server.Status = fsm.ServerStopped
				return nil
			}
		})
		w.push(goal(1, fsm.StatePrimary))
		w.daemon.Stop(daemon.StopFast)
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		if got := w.node.done(); !slices.Equal(got, []fsm.StepKind{fsm.StepStopFast}) {
			t.Errorf("steps %v", got)
		}
		if r := w.monitor.last(); r.Server.Status != fsm.ServerStopped || r.Problem == nil || r.Problem.Code != "stopping" {
			t.Errorf("last report %+v", r)
		}
		w.cancel()
	})
}

// TestDaemon_GracefulStop: the role is handed over while everything goes on, and
// PostgreSQL stops only when another node serves, or nobody can take over.
func TestDaemon_GracefulStop(t *testing.T) {
	for name, c := range map[string]struct {
		answer fsm.Answer
		err    error
		follow bool
	}{
		"taken over":     {answer: fsm.Answer{Outcome: fsm.OutcomeAccepted}, follow: true},
		"nobody":         {answer: fsm.Answer{Outcome: fsm.OutcomeNothing, Text: "no standby"}},
		"monitor away":   {err: errors.New("away")},
		"never finished": {answer: fsm.Answer{Outcome: fsm.OutcomeAccepted}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := start(t, nothing)
				w.push(goal(1, fsm.StatePrimary))
				w.monitor.command = func(cmd fsm.Command) (fsm.Answer, error) {
					if cmd.Kind != fsm.CommandHandOver || cmd.Node != 1 {
						t.Errorf("command %+v", cmd)
					}
					return c.answer, c.err
				}
				w.daemon.Stop(daemon.StopGraceful)
				if c.follow {
					w.push(goal(2, fsm.StateDraining))
					w.push(goal(3, fsm.StateDemoted))
					if w.store.Get().State != fsm.StateDemoted {
						t.Error("the hand-over was not carried out")
					}
					w.push(goal(4, fsm.StateCatchingUp))
				}
				if err := <-w.ended; err != nil {
					t.Fatal(err)
				}
				if got := w.node.done(); !slices.Equal(got, []fsm.StepKind{fsm.StepStopFast}) {
					t.Errorf("steps %v", got)
				}
				w.cancel()
			})
		})
	}
}

// TestDaemon_KeeperOnly: the end of the context, and stop --keeper-only, leave
// PostgreSQL alone.
func TestDaemon_KeeperOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nothing)
		w.push(goal(1, fsm.StatePrimary))
		w.daemon.Stop(daemon.StopKeeper)
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		if got := w.node.done(); len(got) != 0 {
			t.Errorf("steps %v", got)
		}
		w.cancel()
	})
}

// TestDaemon_Dropped: the keeper ends once the monitor knows that the node left.
func TestDaemon_Dropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(_ fsm.Goal, f fsm.Facts) []fsm.Step { return nil })
		w.monitor.answer(goal(1, fsm.StateDropped))
		w.monitor.pushes <- goal(1, fsm.StateDropped)
		if err := <-w.ended; !errors.Is(err, daemon.ErrDropped) {
			t.Fatal(err)
		}
		if r := w.monitor.last(); r.State != fsm.StateDropped {
			t.Errorf("last report %+v", r)
		}
		w.cancel()
	})
}

// TestDaemon_PassingProblem: what every failover has for a moment is shown only
// when it lasts.
func TestDaemon_PassingProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		code := "upstream_unreachable"
		w := start(t, func(fsm.Goal, fsm.Facts) []fsm.Step {
			mu.Lock()
			defer mu.Unlock()
			return []fsm.Step{{Kind: fsm.StepWait, Problem: &fsm.Problem{Code: code}}}
		})
		w.push(goal(1, fsm.StateCatchingUp))
		<-time.After(500 * time.Millisecond)
		synctest.Wait()
		if p := w.monitor.last().Problem; p != nil {
			t.Errorf("shown at once: %+v", p)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if p := w.monitor.last().Problem; p == nil || p.Code != code {
			t.Errorf("not shown although it lasts: %+v", p)
		}
		mu.Lock()
		code = "no_room"
		mu.Unlock()
		<-time.After(2 * time.Second)
		synctest.Wait()
		if p := w.monitor.last().Problem; p == nil || p.Code != "no_room" {
			t.Errorf("problem %+v", p)
		}
		_ = w.finish()
	})
}
