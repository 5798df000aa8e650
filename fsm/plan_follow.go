package fsm

import "fmt"

// planFollow is catchingup, secondary, wait_maintenance and fast_forward: a standby of the goal's upstream, made so by the cheapest rung of the
// rejoin ladder that works: stream, rewind, copy. A node in fast_forward is a voter and stays on the first rung: its data is never replaced.
func planFollow(goal Goal, f Facts) []Step {
	if goal.Upstream == nil {
		return refuse("incomplete_goal", "the monitor is of another version", "the goal %s names no upstream", goal.State)
	}
	if steps := unusable(goal, f); steps != nil {
		return steps
	}
	if steps := finishSwap(goal, f); steps != nil {
		return steps
	}
	if f.Upstream != nil && goal.SystemID != 0 && f.Upstream.SystemID != goal.SystemID {
		return refuse("other_upstream", "correct the host or port of the upstream",
			"the upstream %s:%d has system identifier %d, the group has %d", goal.Upstream.Host, goal.Upstream.Port, f.Upstream.SystemID, goal.SystemID)
	}
	if f.Server.readWrite() {
		return stop(goal, f, fmt.Sprintf("the goal is %s", goal.State))
	}
	if why := mustCopy(goal, f); why != "" {
		return followCopy(goal, f, why)
	}
	switch {
	case f.Server.Status == ServerStarting:
		return followStarting(goal, f)
	case f.Server.Status == ServerHung:
		return serveHung(goal, f)
	case f.Memory.Rung == RungRewind:
		return followRewind(goal, f, f.Memory.Why)
	case f.Server.down():
		return followStopped(goal, f)
	}
	return followRunning(goal, f)
}

// mustCopy says why the data cannot be kept; "" when it can, as far as is known.
func mustCopy(goal Goal, f Facts) string {
	switch {
	case f.Data.Kind == DataAbsent:
		return "there is no data yet"
	case f.Data.Kind == DataDamaged:
		return "the data is damaged: " + f.Data.describe()
	case f.Memory.Busy == BusyInit:
		return "the data was not initialised completely"
	case f.Memory.Busy == BusyRewind:
		return "a rewind was interrupted"
	case f.Memory.Rung == RungCopy:
		return "a cheaper way did not work: " + f.Memory.Why
	case f.Memory.Generation < goal.MinGeneration:
		return "a rebuild was asked for"
	case strayed(f):
		return strayedText(f)
	}
	if p, ok := stray(goal, f); ok {
		if f.Upstream.Lineage.has(p.Timeline) {
			return fmt.Sprintf("a promotion to timeline %d was begun here, and the upstream's timeline of that number is another promotion's (S3)", p.Timeline)
		}
		return fmt.Sprintf("a promotion to timeline %d was begun here that the upstream does not have (S3)", p.Timeline)
	}
	return ""
}

// strayed reports whether data that was rewound went over to a history that never had the end of its source's log, which it needs to be consistent:
// PostgreSQL looks for that at a start only, and lets a server that is on its way there go over unseen.
func strayed(f Facts) bool {
	p, l := f.Memory.Rewound, f.Data.Lineage
	known := len(l) > 1 || len(l) == 1 && l[0].Timeline == 1 // or its history file is missing
	return p.LSN != 0 && known && !l.Reaches(p.Timeline, p.LSN)
}

func strayedText(f Facts) string {
	p := f.Memory.Rewound
	return fmt.Sprintf("the data was rewound, and needs the log up to %v on timeline %d, which is not in its history", p.LSN, p.Timeline)
}

// stray returns a promotion begun on this data that is not in the upstream's lineage: PostgreSQL cannot see such a divergence when another server
// made a timeline of the same number, so the data is copied (S3). Nothing is known while the upstream has not answered, or has not reached
// the timeline that it is to have.
func stray(goal Goal, f Facts) (Promotion, bool) {
	if !settledUpstream(goal, f) {
		return Promotion{}, false
	}
	for _, p := range f.Memory.Promotions {
		if !reigned(goal, p) || !f.Upstream.Lineage.has(p.Timeline) {
			return p, true
		}
	}
	return Promotion{}, false
}

// accounted reports whether every promotion begun here is known to be in the upstream's history, which need not be a primary yet. A voter's history
// is judged by the monitor, which compares positions by epoch (S6).
func accounted(goal Goal, f Facts) bool {
	if len(f.Memory.Promotions) == 0 || goal.State == StateFastForward {
		return true
	}
	if f.Upstream == nil {
		return false
	}
	for _, p := range f.Memory.Promotions {
		if !reigned(goal, p) || !f.Upstream.Lineage.has(p.Timeline) {
			return false
		}
	}
	return true
}

// reigned reports whether the group ordered exactly this promotion, of this node or of the one that it was before it was dropped and created again, or
// began anew with what this node made of it.
func reigned(goal Goal, p Promotion) bool {
	o, known := goal.Orders.of(p.Timeline)
	by := p.Node
	if by == 0 {
		by = goal.Node
	}
	return known && (o.Node == by && o.Epoch == p.Epoch || o.Node == goal.Node && o.Epoch > p.Epoch)
}

func (l Lineage) has(tli Timeline) bool {
	for _, b := range l {
		if b.Timeline == tli {
			return true
		}
	}
	return false
}

// settledUpstream reports whether the upstream has answered and is what the goal says that it is, or will be: a primary on the goal's timeline.
// Nothing that cannot be undone is decided before.
func settledUpstream(goal Goal, f Facts) bool {
	u := f.Upstream
	return u != nil && u.Primary && (goal.Upstream.Timeline == 0 || u.Lineage.Current() == goal.Upstream.Timeline)
}

// ask returns the wait that has the upstream asked, or, when it was asked in vain, one that a human should see.
func ask(goal Goal, f Facts, why string) []Step {
	if f.Upstream == nil && !f.Silent {
		s := step(StepWait, "%s: ask the upstream", why)
		s.Ask = true
		return plan(s)
	}
	if f.Upstream == nil {
		because := "does not answer"
		if f.SilentWhy != "" {
			because = "cannot be asked: " + f.SilentWhy
		}
		hint := "it goes on when the upstream answers"
		if f.Password {
			hint = "auth.password_file must name a file with the same password on every node of the formation: autoctl config get auth.password_file"
		}
		return waitFor("upstream_unreachable", hint, "%s: node %s at %s:%d %s",
			why, goal.Called(goal.Upstream.Node), goal.Upstream.Host, goal.Upstream.Port, because)
	}
	return waitFor("upstream_not_ready", "it goes on when the upstream serves", "%s: node %s is not a primary on timeline %d yet",
		why, goal.Called(goal.Upstream.Node), goal.Upstream.Timeline)
}

// followStopped starts a standby, or sees that its history has left the upstream's.
func followStopped(goal Goal, f Facts) []Step {
	if goal.State != StateFastForward && f.Upstream == nil && (!f.Silent || !f.Data.StandbySignal) {
		return ask(goal, f, "whether the data still belongs to the upstream is not known")
	}
	if !accounted(goal, f) {
		return ask(goal, f, "whether the upstream has the promotions made here is not known")
	}
	// The end of a stopped log is not always known, so what the upstream still has of its continuation is judged once it runs.
	if goal.State != StateFastForward && settledUpstream(goal, f) && !f.Upstream.Lineage.Contains(f.Data.Lineage, f.end()) {
		return diverged(f)
	}
	return start(goal, f, "the node follows")
}

// asleepMS is how long a starting server that reads nothing new is left alone: its log may be about to come.
const asleepMS = 2000

// lacksLog is what is said of one.
const lacksLog = "the server waits for log without which it cannot serve"

// followStarting waits for a server that replays its way to where it can serve. One that was rewound gets there only with log from its upstream, which may
// have removed it meanwhile, or have been replaced by a node that never had it; no session can tell, so the upstream is asked. A rewind needs data
// that were shut down in order, which these can never be: they are copied.
func followStarting(goal Goal, f Facts) []Step {
	switch {
	case f.Server.StuckMS <= asleepMS, !f.Data.StandbySignal: // one that was started to serve recovers by its own log, and ends with a long checkpoint
		return wait("the server starts")
	case goal.State == StateFastForward:
		return waitFor("not_streaming", "the monitor chooses another source", lacksLog)
	case !settledUpstream(goal, f):
		return ask(goal, f, lacksLog)
	case !f.Upstream.Lineage.Contains(f.Data.Lineage, f.end()):
		return plan(climb(RungCopy, "%s, and the upstream's history has left it at %v on timeline %d", lacksLog, f.end(), f.Data.Lineage.Current()))
	case f.Upstream.LostSlot:
		return plan(climb(RungCopy, "%s, and the upstream no longer has it", lacksLog))
	case f.Files.Following != goal.Upstream.Node:
		return stop(goal, f, lacksLog+": it asks another node for it")
	case f.Server.StuckMS <= 3*patienceMS(goal): // a receiver that was cut off begins again with its segment, over a link that may be slow
		return wait("%s", lacksLog)
	case f.Memory.Tried != RungCopy:
		return plan(climb(RungCopy, "%s, although the upstream answers", lacksLog))
	}
	return waitFor("stuck", "see the server's log", "%s, even after a copy", lacksLog)
}

// followRunning points a running standby at its upstream, by a reload alone, and sees whether it streams.
func followRunning(goal Goal, f Facts) []Step {
	if f.Files.Following != goal.Upstream.Node && !accounted(goal, f) {
		return ask(goal, f, "whether the upstream has the promotions made here is not known")
	}
	switch {
	case !f.Files.Written || !f.Files.Effective:
		return plan(configure(goal, f, "follow node "+goal.Called(goal.Upstream.Node)))
	case f.Server.Stale && goal.State != StateFastForward:
		return stop(goal, f, "parameters that a standby must match take effect only at a start")
	case goal.State == StateFastForward && f.Server.Position.Compare(goal.Upstream.Until) >= 0:
		return nil
	case !f.Slots && goal.State != StateFastForward:
		return plan(step(StepSlots, "every peer has its slot"))
	case f.Server.Streaming && goal.State != StateFastForward:
		return nil
	case f.Server.Streaming:
		return wait("the log of node %s arrives", goal.Called(goal.Upstream.Node))
	case goal.State == StateFastForward:
		return waitFor("not_streaming", "the monitor chooses another source", "node %s does not send its log", goal.Called(goal.Upstream.Node))
	case !settledUpstream(goal, f):
		return ask(goal, f, "the log does not arrive")
	case !f.Upstream.Lineage.Contains(f.Data.Lineage, f.end()):
		return diverged(f)
	case f.Upstream.LostSlot:
		return plan(climb(RungCopy, "the upstream no longer has the log that this node needs"))
	case f.Server.StuckMS > patienceMS(goal):
		return stuck(f)
	}
	return wait("the log is about to arrive")
}

func climb(rung Rung, format string, args ...any) Step {
	s := step(StepLadder, format, args...)
	s.Rung = rung
	return s
}

// diverged climbs to a rewind, or to a copy when a rewind from the same upstream has not helped.
func diverged(f Facts) []Step {
	why := fmt.Sprintf("the log here, which ends at %v on timeline %d, is not part of the upstream's history", f.end(), f.Data.Lineage.Current())
	if f.Memory.Tried != RungStream {
		return plan(climb(RungCopy, "%s, even after a %s", why, f.Memory.Tried))
	}
	return plan(climb(RungRewind, "%s", why))
}

// stuck leaves a rung on which PostgreSQL says nothing is wrong and nothing moves (the last resort against a dead end, P3).
func stuck(f Facts) []Step {
	why := fmt.Sprintf("nothing has arrived for %d ms, although the upstream answers", f.Server.StuckMS)
	switch f.Memory.Tried {
	case RungStream:
		return plan(climb(RungRewind, "%s", why))
	case RungRewind:
		return plan(climb(RungCopy, "%s", why))
	default:
		return waitFor("stuck", "see the server's log", "%s, even after a copy", why)
	}
}

// followRewind rewinds: a stopped, cleanly shut down directory, against a primary whose control file already shows its timeline (S22).
func followRewind(goal Goal, f Facts, why string) []Step {
	if goal.State == StateFastForward {
		return waitFor("not_streaming", "the monitor chooses another source", "%s, and a voter is not rewound", why)
	}
	if !settledUpstream(goal, f) {
		return ask(goal, f, why)
	}
	if f.Upstream.ControlTimeline != f.Upstream.Lineage.Current() {
		return wait("the upstream has not written the first checkpoint of timeline %d yet", f.Upstream.Lineage.Current())
	}
	if !f.Server.down() {
		return stop(goal, f, why)
	}
	rewind := step(StepRewind, "%s", why)
	if !f.Data.Clean {
		return plan(step(StepRecover, "a rewind needs a directory that was shut down"), rewind)
	}
	return plan(rewind)
}

// followCopy copies beside the data and exchanges the two when the copy is complete (P6).
func followCopy(goal Goal, f Facts, why string) []Step {
	if goal.State == StateFastForward {
		return waitFor("not_streaming", "the monitor chooses another source", "%s, and a voter is not replaced", why)
	}
	if !f.Server.down() {
		return stop(goal, f, why)
	}
	if f.Copy.Complete {
		return plan(step(StepSwap, "%s; the copy is complete", why))
	}
	if f.Upstream == nil {
		return ask(goal, f, why)
	}
	if !f.Copy.Room {
		return waitFor("no_room", "make room beside the data directory", "%s; a copy needs %s beside the data directory and %s are free",
			why, SizeText(f.Copy.Needed), SizeText(f.Copy.Free))
	}
	return plan(step(StepCopy, "%s", why), step(StepSwap, "the copy is complete"))
}
