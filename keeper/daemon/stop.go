package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// StopMode is how a stop that somebody asked for goes.
type StopMode int

// The modes, from the gentlest.
const (
	// StopNone: no stop was asked.
	StopNone StopMode = iota
	// StopKeeper ends the keeper and leaves PostgreSQL running.
	StopKeeper
	// StopGraceful hands the node's role over if somebody can take it, then
	// stops PostgreSQL. In maintenance, where that is the operator's, it is
	// StopKeeper.
	StopGraceful
	// StopFast stops PostgreSQL at once, in order (fast shutdown).
	StopFast
	// StopImmediate stops PostgreSQL without a shutdown checkpoint.
	StopImmediate
)

// String returns the name that commands use.
func (m StopMode) String() string {
	return [...]string{"none", "keeper-only", "graceful", "fast", "immediate"}[m]
}

// ParseStopMode reads the name that commands use.
func ParseStopMode(name string) (StopMode, error) {
	for m := StopKeeper; m <= StopImmediate; m++ {
		if m.String() == name {
			return m, nil
		}
	}
	return StopNone, fmt.Errorf("unknown way to stop %q", name)
}

// Stop asks for a stop and returns at once; Run returns when it is done. A
// stronger mode asked later overrides a weaker one in progress.
func (d *Daemon) Stop(mode StopMode) {
	select {
	case d.stop <- mode:
	default: // eight are waiting: enough
	}
}

// leave stops PostgreSQL and the keeper of a node that was dropped while it was away: nobody will tell it a goal any more, and another node may serve.
func (d *Daemon) leave(why error) {
	d.mu.Lock()
	first := !d.gone
	d.gone = true
	d.mu.Unlock()
	if first {
		d.Log.Warn().Err(why).Msg("this node was dropped from its group: stopping")
		d.Stop(StopFast)
	}
}

// left says that the node was dropped while it was away, and writes it down once its server is stopped.
func (d *Daemon) left() bool {
	d.mu.Lock()
	gone := d.gone
	d.mu.Unlock()
	if gone {
		if err := d.remember(func(m *fsm.Memory) { m.Released = true }); err != nil {
			d.Log.Warn().Err(err).Msg("departure not remembered")
		}
	}
	return gone
}

// awaitStop carries out the stop that is asked for. It returns errDone, which
// ends everything else.
func (d *Daemon) awaitStop(ctx context.Context, halt context.CancelCauseFunc, executed <-chan struct{}) error {
	var mode StopMode
	select {
	case <-ctx.Done():
		return nil
	case mode = <-d.stop:
	}
	if mode == StopGraceful && d.Store.Get().Goal.State == fsm.StateMaintenance {
		d.Log.Info().Msg("in maintenance PostgreSQL is the operator's: the keeper alone ends")
		mode = StopKeeper
	}
	d.Log.Info().Stringer("mode", mode).Msg("stop asked")
	d.announce(mode)
	if mode == StopKeeper {
		return errDone
	}
	if mode == StopGraceful {
		mode = d.handOver(ctx)
	}
	d.rememberStop(mode) // before the report that says so: the last one may not get through
	d.announce(mode)
	signal(d.kick)
	halt(errStopping)
	<-executed
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the keeper's own end came first: PostgreSQL stays
	}
	d.stopServer(ctx, mode)
	d.finalReport(ctx)
	return errDone
}

var errStopping = fmt.Errorf("the keeper is being stopped")

// announce makes every report from now on say that the stop was asked for, so
// that nobody takes it for a crash.
func (d *Daemon) announce(mode StopMode) {
	d.mu.Lock()
	d.stopping = mode
	gone := d.gone
	d.mu.Unlock()
	if mode == StopKeeper {
		return
	}
	code := fsm.ProblemStopping
	if mode == StopImmediate {
		code = "stopping_immediately" // for emergencies: it leaves a crash behind, and counts as one
	}
	p := &fsm.Problem{
		Code: code,
		Text: fmt.Sprintf("this node is being stopped (%s), as an operator asked", mode),
		Hint: "start it again with autoctl run",
	}
	if gone {
		p.Text = fmt.Sprintf("this node is being stopped (%s): it was dropped from its group", mode)
		p.Hint = "autoctl create postgres makes it a node again; autoctl drop node --destroy removes what is left"
	}
	d.problem(problemStop, p)
}

// handOver asks the monitor to relieve this node and waits until it is, nobody
// can, or patience ends. It returns the mode to go on with.
func (d *Daemon) handOver(ctx context.Context) StopMode {
	ctx, cancel := context.WithTimeout(ctx, d.HandOver)
	defer cancel()
	asked := make(chan string, 1)
	go func() { asked <- d.askRelief(ctx) }()
	relieved := make(chan struct{})
	go func() {
		defer close(relieved)
		d.awaitRelief(ctx)
	}()
	defer func() { cancel(); <-relieved }()
	for {
		select {
		case refusal := <-asked:
			if refusal == "" {
				asked = nil // accepted: it ends with a new goal
				continue
			}
			d.Log.Info().Str("answer", refusal).Msg("no hand-over")
			return StopFast
		case <-relieved:
			d.Log.Info().Str("goal", string(d.Store.Get().Goal.State)).Msg("hand-over ended")
			return StopFast
		case mode := <-d.stop:
			if mode > StopGraceful {
				return mode
			}
		}
	}
}

// askRelief returns "" when the monitor has begun to relieve this node, and
// otherwise why there is nothing to wait for.
func (d *Daemon) askRelief(ctx context.Context) string {
	m, mem := d.currentMonitor(), d.Store.Get()
	if m == nil || mem.Goal.State == "" {
		return "there is no monitor to ask"
	}
	answer, err := m.Command(ctx, mem.Goal.Formation, mem.Goal.Group, fsm.Command{Kind: fsm.CommandHandOver, Node: mem.Node})
	switch {
	case err != nil:
		return err.Error()
	case answer.Outcome == fsm.OutcomeAccepted:
		return ""
	default:
		return string(answer.Outcome) + ": " + answer.Text
	}
}

// awaitRelief returns when the node's goal no longer needs it: another one
// serves, or it has left the durability record.
func (d *Daemon) awaitRelief(ctx context.Context) {
	began := d.Store.Get().Goal
	for tick := time.NewTicker(firstPace); ; {
		goal := d.Store.Get().Goal
		switch {
		case !goal.State.Serves() && goal.State.Follows() && goal.Stamp != began.Stamp:
			tick.Stop()
			return
		case goal.State == fsm.StateMaintenance || goal.State == fsm.StateDropped:
			tick.Stop()
			return
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// rememberStop writes down that somebody asked for the stop; an immediate one counts as the crash that it leaves behind.
func (d *Daemon) rememberStop(mode StopMode) {
	if err := d.remember(func(m *fsm.Memory) { m.Asked = mode != StopImmediate }); err != nil {
		d.Log.Warn().Err(err).Msg("stop not remembered")
	}
}

// stopServer stops PostgreSQL and remembers first whether that was asked for.
func (d *Daemon) stopServer(ctx context.Context, mode StopMode) {
	d.rememberStop(mode) // again: a start may have been in flight
	goal := d.Store.Get().Goal
	for mode != StopNone {
		mode = d.stopOnce(ctx, goal, mode)
	}
}

// stopOnce stops in one mode and returns the stronger one to go on with, or
// StopNone when PostgreSQL is down or there is nothing left to try.
func (d *Daemon) stopOnce(ctx context.Context, goal fsm.Goal, mode StopMode) StopMode {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind := fsm.StepStopFast
	if mode == StopImmediate {
		kind = fsm.StepStopNow
	}
	done := make(chan error, 1)
	go func() { done <- d.Node.Do(ctx, goal, fsm.Step{Kind: kind, Reason: "an operator asked"}) }()
	for {
		select {
		case err := <-done:
			if err == nil || mode == StopImmediate {
				if err != nil {
					d.Log.Error().Err(err).Msg("PostgreSQL does not stop")
				}
				return StopNone
			}
			d.Log.Warn().Err(err).Msg("fast stop failed: stopping immediately")
			return StopImmediate
		case stronger := <-d.stop:
			if stronger > mode {
				d.announce(stronger)
				cancel()
				if err := <-done; err != nil {
					d.Log.Info().Err(err).Msg("stop broken off for a stronger one")
				}
				d.rememberStop(stronger)
				return stronger
			}
		}
	}
}
