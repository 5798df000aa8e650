package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
)

// The executor's paces. Everything it waits for usually comes with an event;
// the paces are for what sends none (another server's progress), and idlePace
// is how soon damage that nobody signals is noticed (a file changed by hand).
const (
	firstPace   = 3 * time.Millisecond
	outsidePace = 50 * time.Millisecond // another server is asked each time
	waitPace    = time.Second
	failPace    = 2 * time.Second
	idlePace    = 2 * time.Second
)

// outcome is what one look of the executor led to.
type outcome int

const (
	progressed outcome = iota // a step was done: look again at once
	waiting                   // the plan waits for something outside
	failed                    // a step failed, or the facts could not be had
	reached                   // nothing is left to do
)

// execute brings the node to its goal and keeps it there: look, plan, do the
// first step, look again. It returns nil when ctx ends.
func (d *Daemon) execute(ctx context.Context) error {
	pace, stamp := firstPace, fsm.Stamp{}
	for ctx.Err() == nil {
		goal := d.Store.Get().Goal
		if goal.State == "" {
			nap(ctx, -1, d.wake)
			continue
		}
		if goal.Stamp != stamp {
			pace, stamp = firstPace, goal.Stamp
		}
		switch d.advance(ctx, goal) {
		case progressed:
			pace = firstPace
		case waiting:
			if d.waits.outside() {
				pace = max(pace, outsidePace)
			}
			nap(ctx, pace, d.wake)
			pace = min(pace*3/2, waitPace)
		case failed:
			nap(ctx, pace, d.wake)
			pace = min(pace*2, failPace)
		case reached:
			pace = firstPace
			if !d.noted {
				nap(ctx, idlePace, d.wake)
				continue
			}
			nap(ctx, noteAge, d.wake)
			if ctx.Err() == nil {
				d.noted = d.flush() != nil
			}
		}
	}
	return nil
}

// advance looks once and takes at most one step.
func (d *Daemon) advance(ctx context.Context, goal fsm.Goal) outcome {
	began := time.Now()
	facts, err := d.Node.Observe(ctx, goal)
	if err != nil {
		if ctx.Err() != nil {
			return waiting
		}
		d.problem(problemStep, &fsm.Problem{Code: "observe_failed", Text: fmt.Sprintf("observe PostgreSQL: %v", err)})
		return failed
	}
	fresh, fell := d.freshness(facts.Server)
	facts.Fresh = fresh
	steps := d.Plan(goal, facts)
	if len(steps) == 0 {
		out := d.reach(goal)
		if fell {
			signal(d.kick) // one report for both
		}
		return out
	}
	if fell {
		signal(d.kick)
	}
	switch step := steps[0]; step.Kind {
	case fsm.StepWait, fsm.StepRefuse:
		d.problem(problemPlan, d.waits.lasting(step.Problem))
		d.problem(problemStep, nil)
		d.Log.Debug().Stringer("goal", goal.Stamp).Str("step", string(step.Kind)).Str("reason", step.Reason).Msg("waiting")
		return waiting
	default:
		log := d.Log.With().Dur("look_ms", time.Since(began)).Logger()
		for i := range steps {
			if i > 0 && !follows(steps[i-1].Kind, steps[i].Kind) {
				break
			}
			if out := d.do(ctx, goal, steps[i], log); out != progressed {
				return out
			}
		}
		return progressed
	}
}

// waits remembers for how long a plan has been waiting with the same problem. It
// is the executor's own.
type waits struct {
	code  string
	since time.Time
}

// outside says that the plan waits for an upstream.
func (w *waits) outside() bool { return strings.HasPrefix(w.code, "upstream_") }

// passing are the problems that every failover and every start has for a
// moment, and worth showing only when they last.
var passing = []string{"needs_monitor", "upstream_unreachable", "upstream_not_ready"}

// passes is how long a passing problem may take to pass.
const passes = time.Second

// lasting returns the problem to show: p, unless it may pass by itself.
func (w *waits) lasting(p *fsm.Problem) *fsm.Problem {
	if p == nil {
		*w = waits{}
		return nil
	}
	if w.code != p.Code {
		*w = waits{code: p.Code, since: time.Now()}
	}
	if slices.Contains(passing, p.Code) && time.Since(w.since) < passes {
		return nil
	}
	return p
}

// follows says that a plan's next step may be taken without another look: the
// first is what the second needs, and nothing else that the plan asked about
// could have changed it meanwhile. Every look costs time that a failover lacks.
func follows(first, second fsm.StepKind) bool {
	switch first {
	case fsm.StepConfigure:
		return second == fsm.StepStart || second == fsm.StepBeginPromote || second == fsm.StepPromote
	case fsm.StepBeginPromote:
		return second == fsm.StepPromote
	case fsm.StepCopy:
		return second == fsm.StepSwap
	case fsm.StepCheckpoint:
		return second == fsm.StepStopFast
	case fsm.StepStopFast:
		return second == fsm.StepConfigure
	default:
		return false
	}
}

// tells says that a step may change what a report says. A report that says nothing new would be in the way of the next one, and of the decision
// that waits for that.
func tells(goal fsm.Goal, kind fsm.StepKind) bool {
	switch kind {
	case fsm.StepConfigure:
		return goal.State.Serves() // with the roles a server may be open
	case fsm.StepCheckpoint, fsm.StepBeginPromote, fsm.StepEndReceiver, fsm.StepAwaitEnd, fsm.StepEndBlockers, fsm.StepSlots:
		return false
	case fsm.StepStopFast, fsm.StepStopNow:
		return !goal.State.Drains() && goal.State != fsm.StateDemoted // these are reached at once
	default:
		return true
	}
}

// do takes one step.
func (d *Daemon) do(ctx context.Context, goal fsm.Goal, step fsm.Step, log zerolog.Logger) outcome {
	stepping, err := d.begin(ctx, goal, step)
	if err != nil {
		return progressed // the newer goal is looked at at once
	}
	began := time.Now()
	log = log.With().Stringer("goal", goal.Stamp).Str("state", string(goal.State)).Str("step", string(step.Kind)).Str("reason", step.Reason).Logger()
	log.Debug().Msg("step begins")
	err = d.Node.Do(stepping, goal, step)
	d.end()
	took := time.Since(began)
	if tells(goal, step.Kind) {
		signal(d.kick)
	}
	switch {
	case err == nil:
		log.Info().Dur("took_ms", took).Msg("step done")
		d.complaints = complaints{}
		d.problem(problemPlan, d.waits.lasting(nil))
		d.problem(problemStep, nil)
		return progressed
	case errors.Is(context.Cause(stepping), errObsolete):
		log.Info().Dur("took_ms", took).Msg("step broken off for a newer goal")
		return progressed
	case ctx.Err() != nil:
		return waiting
	default:
		level := zerolog.DebugLevel
		if d.complaints.news(string(step.Kind)+": "+err.Error(), time.Now()) {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(err).Dur("took_ms", took).Msg("step failed")
		d.problem(problemStep, &fsm.Problem{Code: "step_failed", Text: fmt.Sprintf("%s: %v", step.Kind, err), Hint: "it is tried again"})
		return failed
	}
}

// complaints remembers the failure that was logged last: a step that fails is tried every two seconds, for days where nobody looks. It is the executor's own.
type complaints struct {
	text string
	at   time.Time
}

// complainAgain is how often the same failure is logged.
const complainAgain = time.Minute

// news says whether a failure is to be logged.
func (c *complaints) news(text string, now time.Time) bool {
	if c.text == text && now.Sub(c.at) < complainAgain {
		return false
	}
	*c = complaints{text: text, at: now}
	return true
}

// noteAge is how long the memory may hold what the disk does not.
const noteAge = 300 * time.Millisecond

// reach records that the goal holds, durably, before anybody is told. The goals that a failover passes through do not wait for the disk: what they
// rest on is there already (the goal obeyed, the files, the end of the log), and a keeper that starts anew finds by looking that they hold.
func (d *Daemon) reach(goal fsm.Goal) outcome {
	d.problem(problemPlan, d.waits.lasting(nil))
	d.problem(problemStep, nil)
	mem := d.Store.Get()
	if mem.Reached == goal.Stamp && mem.State == mem.Effective(goal).State {
		return reached
	}
	d.mu.Lock()
	if d.Store.Get().Goal.Stamp != goal.Stamp {
		d.mu.Unlock()
		return progressed
	}
	var err error
	if passes := goal.State == fsm.StateReportLSN || goal.State.Drains(); passes {
		d.Store.Note(func(m *fsm.Memory) { m.Arrive() })
		d.noted = true
	} else {
		err = d.remember(func(m *fsm.Memory) { m.Arrive() })
	}
	d.mu.Unlock()
	if err != nil {
		return failed
	}
	d.Log.Info().Stringer("goal", goal.Stamp).Str("state", string(goal.State)).Msg("goal reached")
	signal(d.kick)
	if d.Reached != nil {
		d.Reached(goal)
	}
	return reached
}

// flush makes durable what was only noted.
func (d *Daemon) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remember(func(*fsm.Memory) {})
}

// problem shows or clears a problem and reports at once when that is news.
func (d *Daemon) problem(s source, p *fsm.Problem) {
	if d.problems.set(s, p) {
		if p != nil {
			d.Log.Warn().Str("code", p.Code).Str("problem", p.Text).Msg("problem")
		}
		signal(d.kick)
	}
}
