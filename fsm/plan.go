package fsm

import "fmt"

// Plan returns what remains to be done on a node so that goal holds, in order; nothing when it holds. A keeper carries out the first step, observes
// again and plans again, so a plan is never resumed, only made anew. Every pair of a goal and facts has a plan: where nothing can be
// done it is a StepWait or a StepRefuse, with a Problem when a human should know.
//
// What the plans keep, whatever happened before (P2, S3, S8, S10): a server is started or left read-write only under a goal that serves; one that must
// be promoted runs with standby.signal until pg_promote has made its timeline; a promotion is on disk before it begins; the data
// generation grows before data is rewound or replaced; a node that does not serve has a set that cannot be satisfied.
//
// The caller has refused goals older than the one in memory; see [Memory.Obey].
func Plan(goal Goal, f Facts) []Step {
	goal = f.Memory.Effective(goal)
	if goal.State == StateInit || goal.State == StateMaintenance {
		return nil
	}
	if f.Server.Remains {
		return plan(step(StepEndRemains, "processes of the dead server are still there"))
	}
	switch {
	case goal.State.Serves(), goal.State == StateStopReplication:
		return planServe(goal, f)
	case goal.State.Drains():
		return planDrain(goal, f)
	case goal.State.Follows(), goal.State == StatePreparePromotion && goal.Upstream != nil:
		return planFollow(goal, f)
	case goal.State == StateReportLSN, goal.State == StatePreparePromotion:
		return planVote(goal, f)
	case goal.State == StateDropped:
		return planDrop(goal, f)
	default: // demoted, wait_standby
		return planDown(goal, f)
	}
}

// patienceMS is how long something that ought to end by itself may take before the plan interferes: a hung server that must serve, a standby that
// neither streams nor moves although its upstream answers.
func patienceMS(goal Goal) int64 { return max(goal.Settings.NodeUnreachableAfterMS, 10000) }

func plan(steps ...Step) []Step { return steps }

func step(kind StepKind, format string, args ...any) Step {
	return Step{Kind: kind, Reason: fmt.Sprintf(format, args...)}
}

func wait(format string, args ...any) []Step { return plan(step(StepWait, format, args...)) }

// waitFor waits for something that a human should see.
func waitFor(code, hint, format string, args ...any) []Step {
	s := step(StepWait, format, args...)
	s.Problem = &Problem{Code: code, Text: s.Reason, Hint: hint}
	return plan(s)
}

func refuse(code, hint, format string, args ...any) []Step {
	s := step(StepRefuse, format, args...)
	s.Problem = &Problem{Code: code, Text: s.Reason, Hint: hint}
	return plan(s)
}

func configure(goal Goal, f Facts, reason string) Step {
	files := Wanted(goal, f)
	return Step{Kind: StepConfigure, Reason: reason, Files: &files}
}

// start starts the server over the files that goal wants, after the growing pause that follows failed starts.
func start(goal Goal, f Facts, reason string) []Step {
	if f.Server.Pause {
		because := ""
		if f.Server.Complaint != "" {
			because = ": " + f.Server.Complaint
		}
		return waitFor("cannot_start", "see the server's log", "the server ended %d times in a row when it was started%s", f.Server.Crashes, because)
	}
	if f.Server.PortTaken != "" { // PostgreSQL would run where it can still bind, and nobody would reach it
		return waitFor("port_in_use", "stop what listens there: ss -ltnp shows it; the server starts as soon as the port is free", "the server does not start: %s", f.Server.PortTaken)
	}
	files := Wanted(goal, f)
	steps := plan(Step{Kind: StepStart, Reason: reason, Files: &files})
	if !f.Files.Written {
		steps = append(plan(configure(goal, f, "the files must say it before the start")), steps...)
	}
	return steps
}

// stop ends a server: in order when it answers, at once when it does not. A former primary of a Citus formation is always ended at once: stopped in order, its
// sessions that wait for a standby would go on to commit on the other nodes what was never replicated (design section 9).
func stop(goal Goal, f Facts, reason string) []Step {
	if succeeded := !goal.State.Drains() && !goal.State.Serves() && len(goal.Peers) > 0; succeeded && goal.Kind == KindCitus && f.Server.readWrite() {
		return plan(step(StepStopNow, "%s", reason))
	}
	if f.Server.Status == ServerHung {
		return plan(step(StepStopNow, "%s, and it does not answer", reason))
	}
	return plan(step(StepStopFast, "%s", reason))
}

// planDown is for goals under which no server runs and the directory is closed: demoted, wait_standby, and drained ones that are down.
func planDown(goal Goal, f Facts) []Step {
	if !f.Server.down() {
		return shut(goal, f, fmt.Sprintf("the goal is %s", goal.State))
	}
	return closing(goal, f)
}

// closing closes the directory of a server that is down.
func closing(goal Goal, f Facts) []Step {
	if f.Data.Kind == DataReady && !f.Files.Written && f.Memory.Busy != BusyInit && f.Memory.Busy != BusySwap {
		return plan(configure(goal, f, "a directory that must not serve is closed"))
	}
	return nil
}

// shut stops a server and closes its directory: what the files must say then is known before it is down.
func shut(goal Goal, f Facts, reason string) []Step {
	steps := stop(goal, f, reason)
	f.Server, f.Files.Written = ServerFacts{Status: ServerStopped}, false
	return append(steps, closing(goal, f)...)
}

func planDrop(goal Goal, f Facts) []Step {
	if steps := planDown(goal, f); len(steps) > 0 {
		return steps
	}
	if !f.Memory.Released {
		return plan(step(StepRelease, "the node leaves its group"))
	}
	return nil
}

// planDrain is a planned hand-over: a checkpoint while still serving, so that the stop is short, then a fast stop, whose LSN is reported. A drained
// node that hears nothing newer by its deadline goes back to serving, under k ≥ 1 only: its members must acknowledge, so that is safe (S21).
func planDrain(goal Goal, f Facts) []Step {
	if f.Server.readWrite() && goal.Hold != 0 {
		return nil // it goes on answering; the writes are held elsewhere
	}
	if f.Server.readWrite() && !f.Server.Checkpointed {
		return append(plan(step(StepCheckpoint, "a checkpoint while still serving makes the stop short")), shut(goal, f, "the node hands over")...)
	}
	if f.Server.down() && overdue(goal, f) {
		return plan(step(StepResume, "no newer goal came within %d ms of the hand-over", goal.DeadlineMS))
	}
	if steps := planDown(goal, f); len(steps) > 0 {
		return steps
	}
	if f.Memory.Drained == 0 {
		return waitFor("unclean_stop", "the monitor decides; see autoctl explain", "the server did not stop cleanly while it handed over")
	}
	return nil
}

func overdue(goal Goal, f Facts) bool {
	if goal.DeadlineMS == 0 || f.Server.DrainedMS <= goal.DeadlineMS || f.Data.Kind != DataReady {
		return false
	}
	s := f.Memory.Serving
	return s != nil && s.Configuration != nil && s.Configuration.K > 0
}

// awaitsEnd reports whether a voter still follows the upstream whose end it is to have. It does until the receiver has ended with the upstream's
// shutdown as the last record.
func awaitsEnd(goal Goal, f Facts) bool {
	if goal.State != StateReportLSN || !goal.AwaitEnd || goal.Upstream == nil || f.Server.Status != ServerRunning || !f.Server.Recovery {
		return false
	}
	return f.Files.Following == goal.Upstream.Node && (f.Server.Receiver || !f.Server.Ended)
}

// planVote is report_lsn and prepare_promotion: in recovery, nobody upstream, the position final (S7).
func planVote(goal Goal, f Facts) []Step {
	if steps := unusable(goal, f); steps != nil {
		return steps
	}
	if steps := finishSwap(goal, f); steps != nil {
		return steps
	}
	if f.Memory.Busy == BusyRewind {
		return refuse("half_rewound", "it is copied once there is a primary", "a rewind was interrupted: the data speaks for nobody")
	}
	if strayed(f) {
		return refuse("half_rewound", "it is copied once there is a primary", "%s: the data speaks for nobody", strayedText(f))
	}
	if f.Data.Kind != DataReady {
		return refuse("no_data", "it is copied once there is a primary", "there is no data that could vote: %s", f.Data.describe())
	}
	switch {
	case awaitsEnd(goal, f):
		return plan(step(StepAwaitEnd, "the log of node %s has not ended yet", goal.Called(goal.Upstream.Node)))
	case f.Server.down():
		return start(goal, f, "a vote needs a server in recovery")
	case f.Server.Status == ServerStarting && f.Server.StuckMS > asleepMS:
		return waitFor("inconsistent", "it gets it, or is copied, once there is a primary", lacksLog)
	case f.Server.Status == ServerStarting:
		return wait("the server starts")
	case f.Server.Status == ServerHung:
		return stop(goal, f, "a vote needs a server that answers")
	case !f.Server.Recovery:
		return stop(goal, f, "a voter does not serve")
	case !f.Files.Written || !f.Files.Effective:
		return plan(configure(goal, f, "a voter receives from nobody"))
	case f.Server.Receiver:
		return plan(step(StepEndReceiver, "the receiver outlived the reload"))
	case !f.Server.Final && f.Server.Stale:
		return stop(goal, f, "replay pauses on parameters that take effect only at a start")
	case !f.Server.Final:
		return wait("the server still reads its own log")
	}
	return nil
}

// unusable refuses data that is not ours to touch; nil when there is no such objection.
func unusable(goal Goal, f Facts) []Step {
	switch {
	case f.Data.Kind == DataForeign:
		return refuse("foreign_data", "move the directory away, or give another --pgdata", "the data directory is not this group's: %s", f.Data.Text)
	case f.Data.Kind == DataReady && goal.SystemID != 0 && f.Data.SystemID != 0 && f.Data.SystemID != goal.SystemID && f.Memory.Busy != BusyInit:
		return refuse("other_system", "move the directory away, or give another --pgdata",
			"the data directory has system identifier %d, the group has %d", f.Data.SystemID, goal.SystemID)
	}
	return nil
}

// finishSwap goes on with an exchange of directories that was interrupted: it must be finished before anything looks at the data.
func finishSwap(goal Goal, f Facts) []Step {
	if f.Memory.Busy != BusySwap {
		return nil
	}
	if !f.Server.down() {
		return stop(goal, f, "the directory is being exchanged")
	}
	if f.Copy.Complete || f.Data.Kind == DataReady {
		return plan(step(StepSwap, "an exchange of the directories was interrupted"))
	}
	return nil
}

// describe says in words what kind of data there is.
func (d DataFacts) describe() string {
	if d.Text != "" {
		return d.Text
	}
	return "it is " + string(d.Kind)
}
