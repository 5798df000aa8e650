package explore

// kind names an event.
type kind uint8

// The events. Those up to evTimer are what a world without faults does; a budget bounds the others, except that what is cut or
// down may always come back.
const (
	evObey     kind = iota // keeper a takes the goal that the monitor has for it
	evStep                 // keeper a does the next step of its plan, or its server goes on by itself
	evReport               // keeper a reports
	evReceive              // standby a connects, and receives all WAL that its upstream has
	evReply                // the upstream of standby a hears how much a has flushed
	evSilence              // the monitor has not heard of node a, which it cannot hear, for so long
	evLost                 // server a has not heard of standby b, which is not connected, for so long
	evTimer                // a timer on node a ends: patience with the gate, a drain's deadline, a standby that gets nowhere
	evPatience             // the monitor's timers end
	evReturn               // host a comes back
	evHeal                 // the link between a and b is whole again; b < 0 stands for the monitor
	evLate                 // the delayed report of node a arrives; if b is 1, not for the last time
	evThaw                 // host a goes on where it was frozen
	evWake                 // keeper a goes on where it was frozen
	evGoOn                 // server a goes on where it was hung
	evRoom                 // the disk of node a takes the state file again
	evArrive               // the delayed goal of node a arrives
	evBackup               // the monitor's memory is saved
	evCommit               // a client commits on node a
	evKill                 // server a crashes
	evOff                  // host a goes off
	evKeeper               // keeper a is killed and started again
	evCut                  // the link between a and b is cut; b < 0 stands for the monitor
	evMonitor              // the monitor is killed and started again: its ages restart, and its reports are gone if b is 1
	evDelay                // the present report of node a will be late
	evMid                  // host a goes off in the middle of work on its data
	evDisk                 // node a loses its data directory; once on a path, so that a copy is left
	evSlow                 // the monitor takes node a for silent although it is not
	evStale                // keeper a is told a goal once more that it has obeyed before: a message that took long, or came twice
	evFreeze               // host a is frozen: its processes stop where they are, its connections stay
	evCutOne               // the way from a to b is cut, and not the way back; < 0 stands for the monitor
	evDoze                 // keeper a is frozen in the middle of what it does; its server goes on
	evHang                 // server a hangs, in the way b; its keeper goes on
	evFull                 // the disk of node a refuses the state file
	evStarve               // the upstream of node a removes log without which a, just rewound, cannot serve
	evHold                 // the present goal of node a will be late
	evRestore              // the monitor is restored from its backup; see restore for b
	evReplace              // the monitor is lost, and replaced by one that knows nothing
	evFailover             // perform failover
	evPromote              // perform promotion: of node a
	evMaintain             // enable maintenance --allow-failover on node a
	evBack                 // disable maintenance on node a
	evQuorum               // set node replication-quorum: the other value, on node a
	evPriority             // set node candidate-priority: 0, or 50 again, on node a
	evNumber               // set formation number-sync-standbys: a
	evDrop                 // drop node a
	evHandOver             // the keeper of a asks to be relieved
	evForce                // perform failover --allow-data-loss
	evRebuild              // perform rebuild of node a
	evStrike               // drop node a --force
	evAdd                  // create node a again after it was dropped, or hand it over to a monitor that does not know it
	evPause                // pause, or resume
	evKinds
)

// event is one thing that happens.
type event struct {
	kind kind
	a, b int8
}

// faulty reports whether the event takes from the budget of faults.
func (k kind) faulty() bool { return k >= evKill && k < evFailover }

// timed reports whether the event is the end of a timer, or of what a message or a process waited for.
func (k kind) timed() bool { return k >= evSilence && k < evBackup }

// free reports whether the event may happen whatever a search is bounded to.
func (k kind) free() bool { return k < evReturn || k == evCommit }

// events appends all that might happen in the world; apply tells which of them really can.
func (w *World) events(list []event) []event {
	for i := range int8(w.n) {
		for k := evObey; k <= evReply; k++ {
			if !w.opt.Prompt || k != evObey && k != evReport {
				list = append(list, event{k, i, 0})
			}
		}
	}
	for i := range int8(w.n) {
		list = append(list, event{evSilence, i, 0}, event{evTimer, i, 0}, event{evReturn, i, 0}, event{evLate, i, 0}, event{evThaw, i, 0}, event{evHeal, i, monitor})
		if w.commits < w.opt.Commits {
			list = append(list, event{evCommit, i, 0})
		}
		for j := range int8(w.n) {
			if j != i {
				list = append(list, event{evLost, i, j})
			}
			if j > i {
				list = append(list, event{evHeal, i, j})
			}
		}
	}
	list = append(list, event{evPatience, 0, 0})
	if w.opt.Every {
		list = w.rareEnds(list)
	}
	if w.faults > 0 {
		list = w.faultEvents(list)
	}
	if w.commands > 0 {
		list = w.commandEvents(list)
	}
	return w.opt.bounded(list)
}

// rareEnds appends the ends of the rarer faults, and what must come before some.
func (w *World) rareEnds(list []event) []event {
	for i := range int8(w.n) {
		list = append(list, event{evWake, i, 0}, event{evGoOn, i, 0}, event{evRoom, i, 0}, event{evArrive, i, 0}, event{evLate, i, 1})
	}
	if w.faults > 0 {
		list = append(list, event{evBackup, 0, 0})
	}
	return list
}

func (w *World) faultEvents(list []event) []event {
	for i := range int8(w.n) {
		list = append(list, event{evKill, i, 0}, event{evOff, i, 0}, event{evKeeper, i, 0}, event{evCut, i, monitor}, event{evDelay, i, 0}, event{evMid, i, 0}, event{evDisk, i, 0}, event{evSlow, i, 0}, event{evStale, i, 0}, event{evFreeze, i, 0})
		for j := i + 1; j < int8(w.n); j++ {
			list = append(list, event{evCut, i, j})
		}
	}
	list = append(list, event{evMonitor, 0, 0}, event{evMonitor, 0, 1})
	if w.opt.Every {
		list = w.rareFaults(list)
	}
	return list
}

func (w *World) rareFaults(list []event) []event {
	for i := range int8(w.n) {
		list = append(list, event{evCutOne, i, monitor}, event{evCutOne, monitor, i}, event{evDoze, i, 0}, event{evFull, i, 0}, event{evHold, i, 0}, event{evStarve, i, 0})
		for how := hungPostmaster; how <= hungStorage; how++ {
			list = append(list, event{evHang, i, int8(how)})
		}
		for j := range int8(w.n) {
			if j != i {
				list = append(list, event{evCutOne, i, j})
			}
		}
	}
	for how := range int8(restores) {
		list = append(list, event{evRestore, 0, how})
	}
	return append(list, event{evReplace, 0, 0})
}

func (w *World) commandEvents(list []event) []event {
	list = append(list, event{evFailover, 0, 0})
	for i := range int8(w.n) {
		list = append(list, event{evPromote, i, 0}, event{evMaintain, i, 0}, event{evBack, i, 0})
		if w.opt.AllCommands {
			list = append(list, event{evQuorum, i, 0}, event{evPriority, i, 0}, event{evNumber, i, 0}, event{evDrop, i, 0}, event{evHandOver, i, 0}, event{evRebuild, i, 0})
		}
		if w.opt.Every {
			list = append(list, event{evStrike, i, 0}, event{evAdd, i, 0})
		}
	}
	if w.opt.AllCommands {
		list = append(list, event{evForce, 0, 0})
	}
	if w.opt.Every {
		list = append(list, event{evPause, 0, 0})
	}
	return list
}

// apply makes the event happen; false when it cannot, or would change nothing.
func (w *World) apply(e event) bool {
	if e.kind.faulty() && !w.disturb() {
		return false
	}
	a, b := int(e.a), int(e.b)
	ok := false
	defer func() { w.resting = unasked }()
	if e.kind.timed() && w.opt.Prompt && !w.idle() && (!w.opt.tries(e) || !w.disturb()) {
		return false
	}
	switch {
	case e.kind <= evReply:
		ok = w.applyNormal(e.kind, a)
	case e.kind <= evCommit:
		ok = w.applyQuiet(e.kind, a, b)
	case e.kind < evFailover:
		ok = w.applyFault(e.kind, a, b)
	default:
		ok = w.applyCommand(e.kind, a)
	}
	if ok {
		w.acknowledge()
		if w.opt.Prompt {
			w.deliver()
		}
	}
	return ok
}

// disturb takes one fault from the budget, if there is one.
func (w *World) disturb() bool {
	if w.faults == 0 || !w.mayOverlap() {
		return false
	}
	w.faults--
	return true
}

// mayOverlap reports whether one more fault or command may come before the group has recovered, and counts it.
func (w *World) mayOverlap() bool {
	if w.opt.Overlap == 0 {
		return true
	}
	w.overlap++
	return w.overlap <= w.opt.Overlap
}

// recovered reports whether the group is in normal service, with nothing going on and nothing left of any fault.
func (w *World) recovered() bool {
	if !w.network.whole() || !w.idle() {
		return false
	}
	for i := range w.n {
		if h := &w.hosts[i]; !h.goes() || h.dozes || h.full || h.hung != awake || h.late != nil || h.held != nil {
			return false
		}
	}
	return w.served() == ""
}

// idle reports whether nothing is left to happen but faults, timers, clients and operators.
func (w *World) idle() bool {
	if w.resting == unasked {
		w.resting = no
		if w.still() {
			w.resting = yes
		}
	}
	return w.resting == yes
}

func (w *World) still() bool {
	for i := range w.n {
		for k := evStep; k <= evReply; k++ {
			next := *w
			if k != evReport && next.applyNormal(k, i) {
				return false
			}
		}
	}
	return true
}

// deliver brings every goal and every report that is news to those who can hear it.
func (w *World) deliver() {
	c := canons.Get().(*canon)
	defer canons.Put(c)
	for range 40 {
		again := false
		for i := range w.n {
			if w.reply(i) {
				w.acknowledge()
			}
			again = w.obey(i) || again
			node, ok := w.peek(i)
			if !w.speaks(i) {
				continue
			}
			if !ok {
				again = w.turnedAway(i) || again
				continue
			}
			if r := w.report(i); node.Report == nil || node.Heard < now || !c.same(w, node.Goal.Stamp, &r, node.Report) {
				again = w.tell(i) || again
			}
		}
		if !again {
			return
		}
	}
	w.breakPromise("P3: the monitor and the keepers answer each other without an end")
}
