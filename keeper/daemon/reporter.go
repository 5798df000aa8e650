package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// reportTimeout bounds one report: a monitor that does not answer for this long
// is asked again over a new connection. It is below node_lost_after's default.
const reportTimeout = 2 * time.Second

// reporting sends a report at every heartbeat and at once when something
// changed, and hands the goal that each answer carries to obey. It never waits
// for a step. It returns [ErrDropped] once the monitor knows that this node left.
func (d *Daemon) reporting(ctx context.Context) error {
	silent := false
	for ctx.Err() == nil {
		began := time.Now()
		mem := d.Store.Get()
		if m := d.currentMonitor(); m != nil && mem.Node != 0 {
			err := d.reportTo(ctx, m)
			switch {
			case errors.Is(err, ErrDropped):
				return err
			case ctx.Err() != nil:
				return nil //nolint:nilerr // the end, not the monitor's silence
			}
			if (err != nil) != silent {
				silent = err != nil
				d.logMonitor(err)
			}
		}
		nap(ctx, max(0, heartbeat(mem.Goal)-time.Since(began)), d.kick)
	}
	return nil
}

func (d *Daemon) logMonitor(err error) {
	switch code := monitorapi.CodeOf(err); {
	case err == nil:
		d.Log.Info().Msg("monitor answers")
	case code == monitorapi.CodeUnknown || code == monitorapi.CodeGone || code == monitorapi.CodeRefused || code == monitorapi.CodeProtocol || code == monitorapi.CodeAuth:
		d.Log.Warn().Err(err).Msg("monitor refuses this node's report; going on with the present goal")
	default:
		d.Log.Warn().Err(err).Msg("monitor does not answer; going on with the present goal")
	}
}

func heartbeat(goal fsm.Goal) time.Duration {
	if goal.Settings.HeartbeatMS <= 0 {
		return time.Duration(fsm.DefaultSettings().HeartbeatMS) * time.Millisecond
	}
	return time.Duration(goal.Settings.HeartbeatMS) * time.Millisecond
}

func (d *Daemon) reportTo(ctx context.Context, m Monitor) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	d.mu.Lock()
	downs := d.downs
	d.mu.Unlock()
	r := d.report(ctx)
	goal, err := m.Report(ctx, r)
	unknown, gone := monitorapi.CodeOf(err) == monitorapi.CodeUnknown, monitorapi.CodeOf(err) == monitorapi.CodeGone
	switch {
	case m != d.currentMonitor():
		return nil
	case r.State == fsm.StateDropped && (unknown || gone || err == nil && goal.State == fsm.StateDropped):
		return ErrDropped // it knows, or has forgotten us already; one that was restored does not, and may take us back
	case gone:
		d.leave(err)
		return err
	case unknown:
		d.problem(problemGoal, &fsm.Problem{
			Code: "unknown_node",
			Text: fmt.Sprintf("the monitor does not know this node (id %d)", r.Node),
			Hint: "it was dropped with --force, or this is another monitor: autoctl enable monitor hands this node over to it, autoctl drop node removes it",
		})
		return err
	case err != nil:
		return err
	}
	d.mu.Lock()
	d.answered = time.Now()
	d.mu.Unlock()
	d.obey(goal)
	// An answer that was there for long may be from before a promotion elsewhere:
	// this process may have been frozen.
	if time.Since(began) < reportTimeout {
		d.confirm(goal, downs)
	}
	return nil
}

// report says what the node is now. What it says of goals is on disk.
func (d *Daemon) report(ctx context.Context) fsm.Report {
	// Memory first: a position observed later than the goal that it is quoted
	// for can only be as far or further.
	mem := d.Store.Get()
	st := d.Node.Status(ctx, mem.Goal)
	r := fsm.Report{
		Node: mem.Node, Token: mem.Token,
		Obeyed: mem.Goal.Stamp, Reached: mem.Reached, State: mem.State,
		Generation: mem.Generation, SystemID: st.SystemID,
		Server: st.Server, Position: st.Position, Open: st.Open,
		Refuses: d.refuses.Load(), Settled: mem.Settled, Drained: mem.Drained, Standbys: st.Standbys,
		PrimarySeenMS: st.PrimarySeenMS, CommitAgeMS: st.CommitAgeMS,
		Promotions: mem.Promotions, Record: mem.Goal.Record, Orders: mem.Goal.Orders,
		Activity: st.Activity, Problem: d.problems.worst(),
		Limits: st.Limits, WeakCommits: st.WeakCommits, Unconfirmed: st.Unconfirmed,
		Version: st.Version, Software: d.Software,
	}
	if r.State == "" {
		r.State = fsm.StateInit
	}
	// Reached in this very goal means that no step of an older one is in flight:
	// the executor takes one at a time (S5, S7).
	votes := mem.Goal.State == fsm.StateReportLSN || mem.Goal.State == fsm.StatePreparePromotion && mem.Goal.Upstream == nil
	if votes && mem.Reached == mem.Goal.Stamp && st.Final != nil {
		r.Vote = &fsm.Vote{Stamp: mem.Goal.Stamp, Position: *st.Final, Ended: st.Ended}
	}
	if d.Supplement != nil {
		d.Supplement(&r)
	}
	return r
}

// finalReport is the last word of a keeper, sent after what it reports has
// happened, best effort.
func (d *Daemon) finalReport(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	m := d.currentMonitor()
	if m == nil {
		return
	}
	if _, err := m.Report(ctx, d.report(ctx)); err != nil {
		d.Log.Info().Err(err).Msg("last report not delivered")
	}
}

// Snapshot returns what a report would say now, the goal, and for how long the
// monitor has not answered (negative when there is none).
func (d *Daemon) Snapshot(ctx context.Context) (fsm.Report, fsm.Goal, time.Duration) {
	d.mu.Lock()
	answered, monitor := d.answered, d.monitor
	d.mu.Unlock()
	age := time.Duration(-1)
	if monitor != nil && !answered.IsZero() {
		age = time.Since(answered)
	}
	return d.report(ctx), d.Store.Get().Goal, age
}
