package local

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// Do takes one step to its end. When ctx ends it stops as soon as that is safe; a step that was broken off is found by looking, and taken again.
func (n *Node) Do(ctx context.Context, goal fsm.Goal, step fsm.Step) error {
	if err := n.do(ctx, n.memory.Get().Effective(goal), step); err != nil {
		return named(step.Kind, err)
	}
	return nil
}

// named says which step failed, unless the error begins with that itself.
func named(kind fsm.StepKind, err error) error {
	if strings.HasPrefix(err.Error(), string(kind)) {
		return err
	}
	return fmt.Errorf("%s: %w", kind, err)
}

func (n *Node) do(ctx context.Context, goal fsm.Goal, step fsm.Step) error {
	switch step.Kind {
	case fsm.StepInitDB:
		return n.initDB(ctx)
	case fsm.StepEndRemains:
		_, err := pgserver.EndRemains(ctx, n.config().DataDir)
		return err
	case fsm.StepConfigure:
		return n.configure(ctx, goal, *step.Files)
	case fsm.StepStart:
		return n.start(ctx, *step.Files)
	case fsm.StepStopFast:
		return n.stopFast(ctx, goal)
	case fsm.StepStopNow:
		return n.stopNow(ctx, goal)
	case fsm.StepCheckpoint:
		return n.checkpointFor(ctx, goal)
	case fsm.StepEndReceiver:
		return n.endReceiver(ctx)
	case fsm.StepAwaitEnd:
		return n.awaitEnd(ctx)
	case fsm.StepEndBlockers:
		return n.endBlockers(ctx)
	case fsm.StepBeginPromote:
		return n.beginPromote(ctx, goal)
	case fsm.StepPromote:
		return n.promote(ctx, goal)
	case fsm.StepSettle:
		return n.settle(ctx, goal)
	case fsm.StepOpenGate:
		return n.openGate(ctx, goal)
	case fsm.StepSlots:
		return n.fixSlots(ctx, goal)
	case fsm.StepRecover:
		return n.recover(ctx)
	case fsm.StepRewind:
		return n.rewind(ctx, goal)
	case fsm.StepCopy:
		return n.copy(ctx, goal)
	case fsm.StepSwap:
		return n.swap(ctx, goal)
	default:
		return n.note(goal, step)
	}
}

// note takes the steps that only change the memory.
func (n *Node) note(goal fsm.Goal, step fsm.Step) error {
	switch step.Kind {
	case fsm.StepWait, fsm.StepRefuse:
		return nil
	case fsm.StepLadder:
		return n.memory.Update(func(m *fsm.Memory) { m.Climb(step.Rung, step.Reason) })
	case fsm.StepResume:
		return n.memory.Update(func(m *fsm.Memory) { m.Resume(goal) })
	case fsm.StepRelease:
		return n.memory.Update(func(m *fsm.Memory) { m.Released = true })
	default:
		return fmt.Errorf("unknown step")
	}
}

// configure makes the files so and, on a server that is to serve, roles and database as well: before anybody is let in.
func (n *Node) configure(ctx context.Context, goal fsm.Goal, files fsm.Files) error {
	n.mu.Lock()
	n.configured = goal.Stamp
	n.mu.Unlock()
	if err := n.apply(ctx, files); err != nil {
		return err
	}
	if goal.State.Serves() && n.rolesWanted(goal, n.recent(ctx)) {
		return n.ensureRoles(ctx, goal)
	}
	return nil
}

// openGate admits clients: the files are the present ones without the gate.
func (n *Node) openGate(ctx context.Context, goal fsm.Goal) error {
	f, err := n.Observe(ctx, goal)
	if err != nil {
		return err
	}
	if f.Server.Status != fsm.ServerRunning || f.Server.Recovery {
		return errStopped
	}
	f.Files.Gate = false
	defer n.signal()
	if err := n.apply(ctx, fsm.Wanted(goal, f)); err != nil || !f.Server.Impatient {
		return err
	}
	n.mu.Lock()
	n.life.unconfirmed = n.life.gateEnd
	n.mu.Unlock()
	n.config().Log.Warn().Stringer("end", f.Server.Position.LSN).Msg("clients are admitted although the standbys have not confirmed the end of the log")
	return nil
}

// readyWait is how long a start waits for the server to admit sessions; recovery may take longer, and the plan waits for it then.
const readyWait = 5 * time.Second

// start starts the server over files that are written already.
func (n *Node) start(ctx context.Context, files fsm.Files) error {
	if n.process() != nil {
		return nil
	}
	d, err := n.inspect(ctx, false)
	if err != nil {
		return err
	}
	if err := pgserver.EndStrayTools(ctx, n.config().DataDir); err != nil {
		return err
	}
	if err := n.sweepHistories(d.Control); err != nil {
		return err
	}
	if n.memory.Get().Asked {
		n.planned.Store(true) // until it is up, or has ended by itself
	}
	// Parameters that this server must match may have been seen only now.
	r, err := n.put(n.config().DataDir, files)
	if err != nil {
		return err
	}
	if _, err := pgserver.RemoveStalePIDFile(n.config().DataDir); err != nil {
		return err
	}
	n.dropSession(ctx)
	if err := ctx.Err(); err != nil {
		return err // told to stop: what is remembered of the last stop stays
	}
	if err := n.memory.Update(func(m *fsm.Memory) { m.Started() }); err != nil {
		return err
	}
	p, err := n.launch(ctx, files, r)
	if err != nil {
		return err
	}
	err = n.awaitReady(ctx, p, readyWait)
	n.signal()
	return err
}

// launch starts the process. Nobody else may adopt it meanwhile.
func (n *Node) launch(ctx context.Context, files fsm.Files, r rendered) (*pgserver.Process, error) {
	n.mu.Lock()
	n.starting = true
	n.mu.Unlock()
	p, err := pgserver.Start(ctx, n.config().Binaries, pgserver.StartConfig{DataDir: n.config().DataDir, LogFile: n.config().LogFile, Env: n.serverEnv()})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starting = false
	n.fallen.Store(!n.planned.Load())
	if err != nil {
		n.failedStart(err.Error()) // no server has ended: a stop that was asked for goes on

		return nil, err
	}
	n.take(p)
	n.life.gated = files.Gate
	n.life.syncDefined = r.params["synchronous_standby_names"] != "" && n.config().Binaries.Version.SyncFlagRaceFixed()
	return p, nil
}

// Patience with a fast shutdown: it ends clients, writes a checkpoint, and waits until the standbys have everything.
const (
	fencePatience = time.Second
	stopPatience  = 15 * time.Second
	drainPatience = 60 * time.Second
)

// stopFast stops the server in order. Where it must not go on, or nobody waits for its last word, it is ended when that takes too long.
func (n *Node) stopFast(ctx context.Context, goal fsm.Goal) error {
	p := n.process()
	if p == nil {
		return nil
	}
	if err := n.memory.Update(func(m *fsm.Memory) { m.Asked = true }); err != nil {
		return err
	}
	patience := stopPatience
	switch {
	case goal.State.Drains():
		patience = drainPatience
	case goal.State == fsm.StateDemoted:
		patience = fencePatience
	}
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n.dropSession(ctx)
	err := p.Stop(wait, pgserver.StopFast)
	switch {
	case err == nil:
		return n.stopped(ctx)
	case ctx.Err() != nil:
		return err
	case goal.State.Drains():
		return err // it goes on stopping; an unclean end would be no hand-over
	}
	return n.stopNow(ctx, goal)
}

// stopNow ends the server at once, and kills it if even that takes long. A serving one that nobody asked to stop is ended because it hangs: that
// counts as the crash that it is.
func (n *Node) stopNow(ctx context.Context, goal fsm.Goal) error {
	p := n.process()
	if p == nil {
		return nil
	}
	hung := goal.State.Serves() && !n.memory.Get().Asked
	if !hung {
		if err := n.memory.Update(func(m *fsm.Memory) { m.Asked = true }); err != nil {
			return err
		}
	}
	wait, cancel := context.WithTimeout(ctx, fencePatience)
	defer cancel()
	n.dropSession(ctx)
	if err := p.Stop(wait, pgserver.StopImmediate); err != nil {
		kill, cancel := context.WithTimeout(ctx, stopPatience)
		defer cancel()
		if err := p.Kill(kill); err != nil {
			return err
		}
	}
	if hung {
		n.forgetData()
		n.signal()
		return nil
	}
	return n.stopped(ctx)
}

// stopped writes down how far a server got that was stopped: the end of its shutdown checkpoint, which is what a successor must have.
func (n *Node) stopped(ctx context.Context) error {
	n.forgetData()
	d, err := n.inspect(ctx, false)
	if err != nil {
		return err
	}
	var drained fsm.LSN
	if d.Kind == pgserver.DataReady && d.Control.State == "shut down" {
		drained = checkpointEnd(d.Control.Checkpoint, n.config().Binaries.Version.Major, d.Control.WALSegmentSize)
	}
	defer n.signal()
	return n.memory.Update(func(m *fsm.Memory) { m.Stopped(drained) })
}

// checkpointFor writes a checkpoint while the server still serves.
func (n *Node) checkpointFor(ctx context.Context, goal fsm.Goal) error {
	_, end := n.progress("checkpoint", "checkpoint before the hand-over")
	defer end()
	if err := n.checkpoint(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	n.checked = goal.Stamp
	n.mu.Unlock()
	return nil
}
