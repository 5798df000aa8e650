package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// errObsolete breaks off a step whose goal was replaced by one that does not
// want it.
var errObsolete = errors.New("a newer goal makes this step obsolete")

// obey takes a goal from the monitor: a newer one is persisted and then acted
// upon, an older one is refused (goals are ordered by their stamps; equal stamps
// are equal goals).
func (d *Daemon) obey(goal fsm.Goal) {
	if goal.State == "" || goal.State == fsm.StateInit {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	present := d.Store.Get().Goal
	switch order := goal.Compare(present.Stamp); {
	case order < 0:
		d.refuseOld(goal, present)
		return
	case order == 0:
		d.refuses.Store(false)
		d.problems.set(problemGoal, nil)
		return
	}
	if next := d.Store.Get(); errors.Is(next.Obey(goal), fsm.ErrForgotten) {
		d.refuseForgetful(goal, present)
		return
	}
	if err := d.remember(func(m *fsm.Memory) { _ = m.Obey(goal) }); err != nil {
		d.Log.Error().Err(err).Stringer("goal", goal.Stamp).Str("state", string(goal.State)).Msg("new goal not obeyed")
		return
	}
	d.refuses.Store(false)
	d.problems.set(problemGoal, nil)
	d.Log.Info().Stringer("goal", goal.Stamp).Str("from", string(present.State)).Str("to", string(goal.State)).Msg("new goal")
	if d.Obeyed != nil {
		d.Obeyed(goal)
	}
	if r := d.running; r != nil && obsolete(*r, goal) {
		r.breakOff(goal)
	}
	if asksFirst(goal) && !present.State.Serves() {
		d.fresh = false
		signal(d.kick)
	}
	signal(d.wake)
	// The next report says that it was obeyed. Mostly that is the one that says more, and soon.
	time.AfterFunc(obeyedAfter, func() { signal(d.kick) })
}

// asksFirst says whether a goal lets its node acknowledge commits alone although there are others: it may have waited on its way to a frozen host
// while an operator forced a promotion elsewhere, so that the monitor's answer is wanted (design section 5).
func asksFirst(goal fsm.Goal) bool {
	return goal.State.Serves() && goal.Configuration != nil && goal.Configuration.K == 0 && len(goal.Peers) > 0
}

// obeyedAfter is how long a report that says no more than that a goal was obeyed leaves the line to others.
const obeyedAfter = 50 * time.Millisecond

// confirm notes that the monitor answered with the present goal to a report that
// was sent after the server was last seen down. Only an answer proves that: a
// pushed goal may have waited on its way while an operator forced a promotion.
func (d *Daemon) confirm(goal fsm.Goal, downs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if downs == d.downs && !d.fresh && goal.Stamp == d.Store.Get().Goal.Stamp {
		d.fresh = true
		signal(d.wake)
	}
}

// freshness returns whether the present goal is confirmed, and whether the server was found down now, after taking notice of what it is.
func (d *Daemon) freshness(server fsm.ServerFacts) (fresh, fell bool) {
	down := server.Status == fsm.ServerAbsent || server.Status == fsm.ServerStopped || server.Status == fsm.ServerCrashed
	d.mu.Lock()
	defer d.mu.Unlock()
	fell = down && !d.down
	if fell {
		d.downs++
		d.fresh = false
	}
	d.down = down
	return d.fresh || d.monitor == nil, fell
}

func sameUpstream(a, b *fsm.Upstream) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Node == b.Node && a.Timeline == b.Timeline && a.Host == b.Host && a.Port == b.Port
}

// refuseOld shows a goal from an older life of the group as a problem. Within
// one epoch an older goal is only a message that was overtaken.
func (d *Daemon) refuseOld(goal, present fsm.Goal) {
	if goal.Incarnation == present.Incarnation && goal.Epoch == present.Epoch {
		return
	}
	changed := d.problems.set(problemGoal, &fsm.Problem{
		Code: "old_goal",
		Text: fmt.Sprintf("the monitor gave a goal of incarnation %d, epoch %d; this node has obeyed incarnation %d, epoch %d", goal.Incarnation, goal.Epoch, present.Incarnation, present.Epoch),
		Hint: "the monitor's data are older than this node's: it was restored from a backup, or two monitors run; it learns the newer state from the nodes' reports",
	})
	if changed {
		d.Log.Warn().Stringer("goal", goal.Stamp).Stringer("obeyed", present.Stamp).Msg("goal of an older life refused")
		signal(d.kick)
	}
}

// refuseForgetful shows a goal whose record does not have the configuration that this node serves under. The monitor takes that up from the next report.
func (d *Daemon) refuseForgetful(goal, present fsm.Goal) {
	d.refuses.Store(true)
	changed := d.problems.set(problemGoal, &fsm.Problem{
		Code: "forgotten_configuration",
		Text: fmt.Sprintf("the monitor gave goal %v, whose record has forgotten the synchronous set that this node serves under since goal %v", goal.Stamp, present.Stamp),
		Hint: "the monitor's data are older than this node's: it was restored from a backup; it learns the set from this node's report",
	})
	if changed {
		d.Log.Warn().Stringer("goal", goal.Stamp).Stringer("obeyed", present.Stamp).Msg("goal refused that has forgotten the synchronous set in force")
		signal(d.kick)
	}
}

// obsolete says whether a newer goal has no use for the step in flight. Short
// steps are never worth breaking off.
func obsolete(r running, goal fsm.Goal) bool {
	switch r.step.Kind {
	case fsm.StepCopy, fsm.StepRewind:
		return !goal.State.Follows() || !sameUpstream(r.goal.Upstream, goal.Upstream) || r.goal.MinGeneration != goal.MinGeneration
	case fsm.StepSettle:
		return !goal.State.Serves() || goal.Configuration == nil || r.goal.Configuration == nil || goal.Configuration.Seq != r.goal.Configuration.Seq
	case fsm.StepStart, fsm.StepPromote, fsm.StepStopFast, fsm.StepCheckpoint:
		return behaviour(r.goal.State) != behaviour(goal.State)
	case fsm.StepAwaitEnd:
		return true
	case fsm.StepInitDB, fsm.StepRecover:
		return goal.State == fsm.StateMaintenance || goal.State == fsm.StateDropped
	default:
		return false
	}
}

// inOrder is how long a hand-over may take to end by itself when somebody else was chosen before it had ended: with the last words of the log, mostly.
const inOrder = time.Second

// breakOff ends the step for a newer goal.
func (r *running) breakOff(goal fsm.Goal) {
	if r.step.Kind == fsm.StepStopFast && r.goal.State.Drains() && goal.State == fsm.StateDemoted {
		time.AfterFunc(inOrder, func() { r.cancel(errObsolete) })
		return
	}
	r.cancel(errObsolete)
}

// behaviour groups the states that want the same of the server process.
func behaviour(s fsm.State) string {
	switch {
	case s.Serves() || s == fsm.StateStopReplication:
		return "serves"
	case s.Follows():
		return "follows"
	case s.Drains():
		return "drains"
	default:
		return string(s)
	}
}

// begin registers a step as running, unless its goal is no longer the newest.
func (d *Daemon) begin(ctx context.Context, goal fsm.Goal, step fsm.Step) (context.Context, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.Store.Get().Goal.Stamp != goal.Stamp {
		return nil, errObsolete
	}
	ctx, cancel := context.WithCancelCause(ctx)
	d.running = &running{goal: goal, step: step, cancel: cancel}
	return ctx, nil
}

// end is the end of the step in flight.
func (d *Daemon) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running.cancel(nil)
	d.running = nil
}
