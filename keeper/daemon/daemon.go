package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/autoctl/autoctl/fsm"
)

// Parts are what a [Daemon] works with.
type Parts struct {
	Store Store
	Node  Node
	// Monitor is nil for a node whose monitor is disabled: it goes on with the
	// goal that it has.
	Monitor Monitor
	Plan    Planner
	Log     zerolog.Logger
	// Software is the keeper's own version, for reports.
	Software string
	// HandOver bounds how long a graceful stop waits for somebody to take over.
	HandOver time.Duration
	// Reached, if set, is told of each goal that was reached, for progress on a
	// terminal. It must not block.
	Reached func(fsm.Goal)
	// Obeyed, if set, is told of each goal that is obeyed, once it is durable. It
	// must not block.
	Obeyed func(fsm.Goal)
	// Supplement, if set, adds to a report what others than PostgreSQL and the
	// executor know. It must not block.
	Supplement func(*fsm.Report)
}

// Daemon runs one node. Make it with [New].
type Daemon struct {
	Parts

	wake chan struct{} // the executor should look again
	kick chan struct{} // the reporter should report at once
	stop chan StopMode // asked stops, strongest last
	swap chan struct{} // the monitor was exchanged: sessions begin anew

	waits      waits
	complaints complaints
	noted      bool // the executor's: the memory holds what the disk does not

	mu      sync.Mutex // guards what follows, and orders goals: see obey
	monitor Monitor
	running *running
	// fresh says that the monitor confirmed the present goal after the server was
	// last seen down (down now; downs counts); see confirm.
	fresh    bool
	down     bool
	downs    int
	problems problems
	refuses  atomic.Bool // [fsm.Report.Refuses]
	stopping StopMode
	gone     bool      // the monitor says that the node was dropped
	answered time.Time // when the monitor last answered
}

// running is the step in flight.
type running struct {
	goal   fsm.Goal
	step   fsm.Step
	cancel context.CancelCauseFunc
}

// ErrDropped says that the node left its group; there is nothing to run.
var ErrDropped = errors.New("this node was dropped from its group")

// errDone ends the group of goroutines without being an error.
var errDone = errors.New("done")

// defaultHandOver is how long a graceful stop waits unless told otherwise: less
// than the 90 s that systemd gives.
const defaultHandOver = 45 * time.Second

// New returns a daemon that [Daemon.Run] starts.
func New(p Parts) *Daemon {
	if p.HandOver == 0 {
		p.HandOver = defaultHandOver
	}
	return &Daemon{
		Parts: p, monitor: p.Monitor,
		wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), stop: make(chan StopMode, 8), swap: make(chan struct{}, 1),
	}
}

// Run keeps the node at its goal until ctx ends, which leaves PostgreSQL
// running, or until [Daemon.Stop], which stops it as asked. It returns nil in
// both cases, and [ErrDropped] once the node has left its group.
func (d *Daemon) Run(ctx context.Context) error {
	if d.Monitor == nil && d.Store.Get().State == fsm.StateDropped {
		return ErrDropped
	}
	g, ctx := errgroup.WithContext(ctx)
	acting, halt := context.WithCancelCause(ctx)
	defer halt(nil)
	executed := make(chan struct{})
	g.Go(func() error {
		defer close(executed)
		return d.execute(acting)
	})
	g.Go(func() error { return d.pump(ctx) })
	g.Go(func() error { return d.reporting(ctx) })
	g.Go(func() error { return d.listening(ctx) })
	g.Go(func() error { return d.awaitStop(ctx, halt, executed) })
	err := g.Wait()
	switch {
	case errors.Is(err, errDone) && d.left():
		return ErrDropped
	case errors.Is(err, errDone), errors.Is(err, context.Canceled):
		return nil
	}
	return err
}

// pump turns what PostgreSQL does by itself into work for the others.
func (d *Daemon) pump(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.Node.Changed():
			if !d.stops() {
				signal(d.kick)
			}
			signal(d.wake)
		}
	}
}

// stops says that the server is being stopped: that it is down is told with what follows from it, and not before, in the way of it.
func (d *Daemon) stops() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running != nil && (d.running.step.Kind == fsm.StepStopFast || d.running.step.Kind == fsm.StepStopNow)
}

// signal wakes whoever reads from a channel of capacity 1; several signals
// before it looks are one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// nap waits for d, an event, or the end of ctx; d < 0 waits for events only.
func nap(ctx context.Context, d time.Duration, event <-chan struct{}) {
	var timer <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
	case <-timer:
	case <-event:
	}
}

// UseMonitor exchanges the monitor; nil disables it. Sessions with the former
// one end; goals of the new one are obeyed as any, if they are newer.
func (d *Daemon) UseMonitor(m Monitor) {
	d.mu.Lock()
	d.monitor = m
	d.fresh = false
	d.mu.Unlock()
	d.problems.set(problemGoal, nil) // that is what the former one said
	signal(d.swap)
	signal(d.kick)
}

// Wake makes the executor and the reporter look again: after a change of the
// configuration.
func (d *Daemon) Wake() {
	signal(d.wake)
	signal(d.kick)
}

func (d *Daemon) currentMonitor() Monitor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.monitor
}

// remember changes the memory and shows a failure as the node's problem: it
// goes on serving and obeys nothing new until its memory can be written again.
func (d *Daemon) remember(change func(*fsm.Memory)) error {
	err := d.Store.Update(change)
	d.problems.set(problemState, nil)
	if err != nil {
		d.problems.set(problemState, &fsm.Problem{
			Code: "state_unwritable",
			Text: fmt.Sprintf("the state file cannot be written: %v", err),
			Hint: "make room or repair the file system of the state directory; until then this node goes on as it is and obeys no new goal",
		})
		return err
	}
	return nil
}
