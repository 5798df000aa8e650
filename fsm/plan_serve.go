package fsm

// planServe is single, wait_primary, primary, and stop_replication, which stops short of opening.
func planServe(goal Goal, f Facts) []Step {
	if goal.Configuration == nil {
		return refuse("incomplete_goal", "the monitor is of another version", "the goal %s names no synchronous set", goal.State)
	}
	if steps := unusable(goal, f); steps != nil {
		return steps
	}
	if steps := finishSwap(goal, f); steps != nil {
		return steps
	}
	if steps := serveData(goal, f); steps != nil {
		return steps
	}
	switch f.Server.Status {
	case ServerStarting:
		return wait("the server starts")
	case ServerHung:
		return serveHung(goal, f)
	case ServerRunning:
		if f.Server.Recovery {
			return serveRecovery(goal, f)
		}
		return serveRunning(goal, f)
	default:
		return serveStopped(goal, f)
	}
}

// serveData looks at the data directory before the server: nil when there is data that may serve.
func serveData(goal Goal, f Facts) []Step {
	if f.Memory.Busy == BusyInit || f.Data.Kind == DataAbsent {
		if f.Memory.Busy != BusyInit && (goal.SystemID != 0 || f.Memory.Generation > 0) {
			return refuse("no_data", "the monitor must fail over; see autoctl explain", "the group had data, and this node has none")
		}
		if !f.Server.down() {
			return stop(goal, f, "the directory was not initialised completely")
		}
		return plan(step(StepInitDB, "the first node of its group creates the cluster"))
	}
	if f.Memory.Busy == BusyRewind {
		return refuse("half_rewound", "the monitor must fail over; see autoctl explain", "a rewind was interrupted: the data must not serve")
	}
	if strayed(f) && !f.Server.readWrite() {
		return refuse("half_rewound", "the monitor must fail over; see autoctl explain", "%s: the data must not serve", strayedText(f))
	}
	if f.Data.Kind == DataDamaged && !f.Server.readWrite() {
		return refuse("damaged_data", "the monitor must fail over, or restore the directory from a backup", "the data directory cannot serve: %s", f.Data.describe())
	}
	return nil
}

// serveHung is patient: a loaded machine is not a dead one. The monitor fails over meanwhile if somebody can take over.
func serveHung(goal Goal, f Facts) []Step {
	if f.Server.HungMS > patienceMS(goal) {
		return plan(step(StepStopNow, "the server has not answered for %d ms", f.Server.HungMS))
	}
	return waitFor("server_hung", "it is ended and restarted if that goes on", "the server does not answer new connections")
}

// serveStopped starts the server: read-write when it is on the timeline of its reign, in recovery when it must be promoted first.
func serveStopped(goal Goal, f Facts) []Step {
	if steps := notOurs(goal, f); steps != nil {
		return steps
	}
	if steps := askFirst(goal, f); steps != nil {
		return steps
	}
	if writable(goal, f) {
		return start(goal, f, "the node serves")
	}
	return start(goal, f, "the node is to be promoted")
}

// notOurs refuses a reign that the data cannot have: a timeline that another node was ordered to make, or one that the data has left behind.
func notOurs(goal Goal, f Facts) []Step {
	if goal.Timeline == 0 {
		return nil
	}
	if f.timeline() == goal.Timeline {
		if o, known := goal.Orders.of(goal.Timeline); known && o.Node != goal.Node {
			return refuse("not_our_timeline", "the monitor must order a new timeline", "timeline %d was ordered of node %s", o.Timeline, goal.Called(o.Node))
		}
		return nil
	}
	for _, b := range f.Data.Lineage {
		if b.Timeline == goal.Timeline {
			return refuse("past_timeline", "the monitor must order a new timeline", "the data is on timeline %d and has left timeline %d behind", f.timeline(), goal.Timeline)
		}
	}
	return nil
}

// askFirst holds back a server that would come up under k = 0, where others exist, until the monitor has confirmed the goal: an operator may have
// forced a promotion elsewhere, and nobody's acknowledgement would stop this one. Without peers nobody can hold a copy of the data.
func askFirst(goal Goal, f Facts) []Step {
	if goal.Configuration.K > 0 || len(goal.Peers) == 0 || f.Fresh {
		return nil
	}
	return waitFor("needs_monitor", "it starts as soon as the monitor answers",
		"without a synchronous standby the server starts only after the monitor has said that nobody else was promoted")
}

// serveRecovery promotes, or restarts in place a former primary that voted and was asked to resume on its own timeline.
func serveRecovery(goal Goal, f Facts) []Step {
	if steps := notOurs(goal, f); steps != nil {
		return steps
	}
	if steps := askFirst(goal, f); steps != nil {
		return steps
	}
	if goal.Timeline == 0 || f.timeline() == goal.Timeline {
		if !ordered(goal) {
			return refuse("not_our_timeline", "the monitor must order a new timeline", "the node is a standby and was ordered no timeline of its own")
		}
		return stop(goal, f, "the node serves again on its own timeline, outside recovery")
	}
	ready := f.Files.Written && f.Files.Effective
	set := configure(goal, f, "the synchronous set is in force before the promotion (S4)")
	switch {
	case !ready && !quiescent(f):
		return plan(set)
	case !ready:
		return append(plan(set), promotion(goal, f)...)
	case f.Server.Receiver:
		return plan(step(StepEndReceiver, "a promoted node receives from nobody"))
	case f.Server.Blocked:
		return plan(step(StepEndBlockers, "client sessions hold up replay"))
	}
	return promotion(goal, f)
}

// quiescent reports whether a standby has come to rest: it has read its whole log, receives nothing and, by its files, will not. Another reload
// changes nothing of that, so that a promotion may follow it without another look.
func quiescent(f Facts) bool {
	return f.Server.Final && !f.Server.Receiver && !f.Server.Blocked && f.Files.Following == 0
}

// promotion is what is left of a promotion once the files are right.
func promotion(goal Goal, f Facts) []Step {
	promote := step(StepPromote, "to timeline %d", goal.Timeline)
	if !f.Memory.Began(promotionOf(goal)) {
		return plan(step(StepBeginPromote, "a promotion is on disk before it begins (S3)"), promote)
	}
	return plan(promote)
}

// ordered reports whether the goal's timeline is one that this node was ordered to make, or began with.
func ordered(goal Goal) bool {
	o, known := goal.Orders.of(goal.Timeline)
	return known && o.Node == goal.Node
}

// serveRunning keeps a read-write server as the goal wants it.
func serveRunning(goal Goal, f Facts) []Step {
	if goal.Timeline != 0 && f.Server.Timeline != goal.Timeline {
		if steps := notOurs(goal, f); steps != nil {
			return steps
		}
		return stop(goal, f, "the node is to be promoted to a new timeline")
	}
	if f.Server.Stale && f.Memory.Settled == 0 && f.Fresh {
		return stop(goal, f, "parameters that replication needs take effect only at a start")
	}
	switch {
	case !f.Files.Written || !f.Files.Effective:
		return plan(configure(goal, f, "the files differ from the goal"))
	case !f.Slots:
		return plan(step(StepSlots, "every peer has its slot"))
	case f.Files.Gate && f.Server.Impatient && goal.State != StateStopReplication:
		return plan(step(StepOpenGate, "clients have waited long enough: the standbys have not confirmed the end of the log"))
	case f.Files.Gate && f.Server.Confirmed && goal.State != StateStopReplication:
		return plan(step(StepOpenGate, "the end of the log is confirmed"))
	case f.Memory.Settled < goal.Configuration.Seq:
		return plan(step(StepSettle, "configuration %d is not settled", goal.Configuration.Seq))
	case f.Files.Gate && goal.State != StateStopReplication:
		return waitFor("gate_closed", "it opens by itself after the group's patience", "clients are kept out until %d standbys have the whole log", goal.Configuration.K)
	}
	return nil
}
