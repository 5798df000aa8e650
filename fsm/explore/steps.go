package explore

import (
	"math/bits"
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// remember changes the keeper's memory of a node, durably, unless the disk refuses it.
func (h *host) remember(change func(*fsm.Memory)) {
	if h.full {
		return
	}
	m := *h.mem
	change(&m)
	h.mem = &m
}

// step does the next thing on node n that needs nobody else: the first step of the plan, or, while the plan waits, what
// PostgreSQL does by itself. Merged, it goes on with the steps that nobody else can tell apart. It reports whether anything happened.
func (w *World) step(n int) bool {
	if !w.stepOnce(n) {
		return false
	}
	for range 8 {
		if !w.opt.Merge || !w.quiet(n) || !w.stepOnce(n) {
			break
		}
	}
	return true
}

// quiet reports whether the next step of the node is nobody else's business: its order among theirs cannot matter.
func (w *World) quiet(n int) bool {
	h := &w.hosts[n]
	if w.opt.Every && h.mem.Tried == fsm.RungRewind && !h.running() {
		return false // what the upstream removes before it is up matters
	}
	plan := w.plan(n)
	if len(plan) == 0 || plan[0].Kind == fsm.StepWait {
		// The server comes up by itself; that it serves is somebody's business.
		return h.status == fsm.ServerStarting && h.files.standby && !h.starved || h.running() && !h.runs && !h.read
	}
	switch plan[0].Kind {
	case fsm.StepConfigure:
		return !h.running()
	case fsm.StepStart:
		return plan[0].Files.Standby
	case fsm.StepSlots, fsm.StepEndRemains, fsm.StepEndBlockers, fsm.StepRecover, fsm.StepLadder, fsm.StepCheckpoint, fsm.StepOpenGate:
		return true
	default:
		return false
	}
}

func (w *World) stepOnce(n int) bool {
	h := &w.hosts[n]
	if !h.goes() || h.mem.Goal.State == fsm.StateInit {
		return false
	}
	if !h.attends() {
		return w.settleDown(n)
	}
	for {
		plan := w.plan(n)
		if len(plan) == 0 {
			return w.arrive(n) || w.settleDown(n)
		}
		s := plan[0]
		if s.Kind == fsm.StepWait {
			if s.Ask && !h.silent && w.facts(n).Upstream == nil {
				h.silent = true
				continue
			}
			return w.settleDown(n)
		}
		if !w.do(n, s) {
			return w.settleDown(n)
		}
		if len(w.plan(n)) == 0 {
			w.arrive(n)
		}
		return true
	}
}

// arrive records that the goal is reached, once.
func (w *World) arrive(n int) bool {
	h := &w.hosts[n]
	if h.mem.Reached == h.mem.Goal.Stamp && h.mem.State == h.mem.Effective(h.mem.Goal).State {
		return false
	}
	passes := h.mem.Goal.State == fsm.StateReportLSN || h.mem.Goal.State.Drains()
	if h.full && !passes {
		return false
	}
	m := *h.mem // a goal that a failover passes through does not wait for the disk
	m.Arrive()
	h.mem = &m
	return true
}

// settleDown does what PostgreSQL does by itself while the keeper waits.
func (w *World) settleDown(n int) bool {
	h := &w.hosts[n]
	switch {
	case h.running() && !h.works():
		return false
	case h.status == fsm.ServerStarting && h.starved:
		return false
	case h.status == fsm.ServerStarting:
		w.up(n)
	case h.running() && !h.runs && !h.read:
		h.read = true
	case h.rcv >= 0 && h.rcv != h.loaded.up:
		h.rcv = -1
	case h.serves() && h.control != h.log.timeline():
		h.control = h.log.timeline()
	case h.attends() && w.handOver(n):
	case w.streaming(n) && h.control != h.log.timeline() && w.hosts[h.rcv].control == h.log.timeline():
		h.control = h.log.timeline() // a restartpoint at the upstream's checkpoint
	default:
		return false
	}
	return true
}

// do carries out one step of a plan; false when it cannot be done now, or not any more: the plan may be of long ago.
func (w *World) do(n int, s fsm.Step) bool {
	h := &w.hosts[n]
	goal := h.mem.Effective(h.mem.Goal)
	if h.full && needsMemory(s.Kind) || !h.fits(s.Kind) {
		return false
	}
	switch s.Kind {
	case fsm.StepConfigure:
		w.configure(n, filesOf(*s.Files))
	case fsm.StepStart:
		w.configure(n, filesOf(*s.Files))
		h.remember((*fsm.Memory).Started)
		h.status = fsm.ServerStarting
	case fsm.StepStopFast:
		w.stopFast(n)
	case fsm.StepStopNow:
		w.halt(n, fsm.ServerStopped)
		h.remember(func(m *fsm.Memory) { m.Stopped(0) })
	case fsm.StepCheckpoint:
		h.checked, h.control = true, h.log.timeline()
	case fsm.StepEndReceiver:
		h.rcv = -1
	case fsm.StepBeginPromote:
		if !w.opt.breaks(sameTimeline) {
			h.remember(func(m *fsm.Memory) { m.BeginPromote(goal, h.log.lsn()) })
		} else if !w.promote(n, h.log.timeline()+1) {
			return false
		}
	case fsm.StepPromote:
		return w.promote(n, goal.Timeline)
	case fsm.StepSettle:
		return w.settle(n, goal)
	case fsm.StepOpenGate:
		h.files.gate, h.loaded.gate = false, false
		if !h.patience {
			w.show(n)
		}
	case fsm.StepRefuse, fsm.StepAwaitEnd:
		return false // it ends by itself, or never
	default:
		return w.doData(n, s)
	}
	return true
}

// needsMemory reports whether a step is not taken unless it is written down.
func needsMemory(k fsm.StepKind) bool {
	switch k {
	case fsm.StepConfigure, fsm.StepCheckpoint, fsm.StepEndReceiver, fsm.StepEndBlockers, fsm.StepEndRemains, fsm.StepSlots, fsm.StepPromote, fsm.StepOpenGate, fsm.StepRecover:
		return false
	default:
		return true
	}
}

// fits reports whether the server is as the step supposes.
func (h *host) fits(k fsm.StepKind) bool {
	switch k {
	case fsm.StepStopFast, fsm.StepStopNow:
		return h.running() && (h.answers() || k == fsm.StepStopNow) || h.status == fsm.ServerStarting
	case fsm.StepCheckpoint, fsm.StepOpenGate, fsm.StepSettle:
		return h.serves() && h.answers() && h.hung != hungStorage
	case fsm.StepBeginPromote, fsm.StepPromote:
		return h.answers() && h.hung != hungStorage && !h.runs
	case fsm.StepStart, fsm.StepRecover, fsm.StepRewind:
		return h.log != "" && !h.running() && h.status != fsm.ServerStarting // a keeper that was frozen may find that its data are gone
	case fsm.StepSwap, fsm.StepInitDB:
		return !h.running() && h.status != fsm.ServerStarting
	case fsm.StepEndReceiver:
		return h.works()
	default:
		return true
	}
}

// doData carries out the steps that work on data and memory.
func (w *World) doData(n int, s fsm.Step) bool {
	h := &w.hosts[n]
	switch s.Kind {
	case fsm.StepInitDB:
		h.remember((*fsm.Memory).BeginInit)
		h.log, h.control, h.clean, h.status = wal("").add(1, 0), 1, true, fsm.ServerStopped
		h.remember((*fsm.Memory).EndWork)
	case fsm.StepRecover:
		if h.starved {
			h.remember(func(m *fsm.Memory) { m.Climb(fsm.RungCopy, "") })
			return true
		}
		if h.ruled {
			h.log = h.log.add(h.log.timeline(), 0)
		}
		h.clean, h.control = true, h.log.timeline()
	case fsm.StepRewind:
		return w.rewind(n)
	case fsm.StepCopy:
		f := w.facts(n)
		if f.Upstream == nil {
			return false
		}
		h.remember((*fsm.Memory).BeginCopy)
		h.copied = w.hosts[at(f.Upstream.Node)].log
		h.remember((*fsm.Memory).EndWork)
	case fsm.StepSwap:
		w.work(h, func(m *fsm.Memory) { m.BeginSwap(m.Goal) })
		h.log, h.copied = h.copied, ""
		h.control, h.clean, h.ruled, h.starved, h.status = h.log.timeline(), false, false, false, fsm.ServerStopped
		h.remember((*fsm.Memory).EndWork)
	case fsm.StepLadder:
		h.remember(func(m *fsm.Memory) { m.Climb(s.Rung, "") })
	case fsm.StepResume:
		h.remember(func(m *fsm.Memory) { m.Resumed = m.Goal.Stamp })
	case fsm.StepRelease:
		h.remember(func(m *fsm.Memory) { m.Released = true })
	default: // end_remains, end_blockers, slots: nothing in this world
	}
	return true
}

// configure writes the files, and lets a running server reload them: in its own time.
func (w *World) configure(n int, f files) {
	h := &w.hosts[n]
	if f != h.files {
		h.before, h.files = h.files, f
	}
	if h.answers() {
		h.reload()
	}
}

// reload lets a server see its files.
func (h *host) reload() {
	h.loaded = h.files
	h.force = h.force.add(h.files)
}

// up ends the start of a server.
func (w *World) up(n int) {
	h := &w.hosts[n]
	h.status, h.loaded, h.clean = fsm.ServerRunning, h.files, false
	h.runs, h.read, h.rcv = !h.files.standby, false, -1
	h.ruled = h.runs
	h.own, h.started = h.log.len(), true
	h.known = [maxNodes]uint8{}
	h.force = force{k: closed}.add(h.files)
	if h.runs {
		w.crown(n, w.ruling(n), false)
		if !h.files.gate {
			w.show(n)
		}
	}
}

// halt ends a server, cleanly or not, and its connections.
func (w *World) halt(n int, as fsm.ServerStatus) {
	h := &w.hosts[n]
	if h.log == "" {
		return
	}
	h.status, h.runs, h.rcv, h.read, h.fresh = as, false, -1, false, false
	h.patience, h.started, h.own = false, false, 0
	h.hung, h.weary = awake, false
	h.known, h.twin, h.lost = [maxNodes]uint8{}, [maxNodes]uint8{}, [maxNodes]bool{}
	h.loaded, h.force = files{}, force{}
	for i := range w.n {
		if int(w.hosts[i].rcv) == n {
			w.hosts[i].rcv = -1
		}
	}
}

// stopFast is a fast shutdown: the shutdown record reaches every standby that is connected.
func (w *World) stopFast(n int) {
	h := &w.hosts[n]
	if !h.serves() {
		w.halt(n, fsm.ServerStopped)
		h.remember(func(m *fsm.Memory) { m.Stopped(0) })
		h.clean = true
		return
	}
	h.log = h.log.add(h.log.timeline(), 0)
	h.control = h.log.timeline()
	for i := range w.n {
		if w.streaming(i) && int(w.hosts[i].rcv) == n {
			w.flow(i)
		}
	}
	w.halt(n, fsm.ServerStopped)
	h.clean = true
	h.remember(func(m *fsm.Memory) { m.Stopped(h.log.lsn()) })
}

// promote ends recovery on a new timeline.
func (w *World) promote(n int, tli fsm.Timeline) bool {
	h := &w.hosts[n]
	if !h.running() || h.runs {
		return false
	}
	h.runs, h.read, h.rcv, h.started, h.ruled = true, true, -1, false, true
	h.files.standby, h.loaded.standby = false, false
	h.log = h.log.add(tli, 0)
	h.own = h.log.len()
	if w.opt.breaks(sameTimeline) {
		h.reign = h.mem.Goal.Epoch
	}
	if !w.opt.breaks(sameTimeline) || w.made.Epoch(tli) == 0 {
		w.make(h.mem.Goal, tli)
	}
	w.crown(n, w.ruling(n), true)
	if !h.loaded.gate {
		w.show(n)
	}
	return true
}

// make notes a timeline that was made, in the epoch that the keeper was told.
func (w *World) make(goal fsm.Goal, tli fsm.Timeline) {
	epoch := goal.Orders.Epoch(tli)
	if epoch == 0 {
		epoch = goal.Epoch
	}
	w.made = append(slices.Clip(w.made), fsm.Order{Timeline: tli, Epoch: epoch, Node: goal.Node})
	w.top = max(w.top, epoch)
}

// settle waits until nothing but the goal's configuration is in force, and k members hold all that was written before.
func (w *World) settle(n int, goal fsm.Goal) bool {
	h := &w.hosts[n]
	if !h.serves() || goal.Configuration == nil {
		return false
	}
	k := int(h.loaded.k)
	if k < 0 {
		return false
	}
	// With fewer members than k nobody can acknowledge, and only the primary covers: there is nothing to wait for.
	met := k <= bits.OnesCount16(h.loaded.members)
	if k > 0 && met && !w.opt.breaks(noFlush) && w.holders(n, h.loaded, h.log.len()) < k {
		return false
	}
	for i := range w.n {
		if w.streaming(i) && int(w.hosts[i].rcv) == n && h.loaded.members&bit(w.hosts[i].mem.Node) != 0 && k > 0 && !w.opt.breaks(noFlush) {
			h.known[i] = uint8(w.hosts[i].log.len())
		}
	}
	w.reloaded(h)
	h.remember(func(m *fsm.Memory) { m.Settled = goal.Configuration.Seq })
	return true
}

// reloaded ends a reload: nothing but the loaded set is in force.
func (w *World) reloaded(h *host) {
	old := h.force
	h.force = force{k: closed}.add(h.loaded)
	if w.opt.breaks(noCheckpointer) && old.k == 0 {
		h.force.k = 0 // nobody waits until the checkpointer has seen that there is a set at all (S2)
	}
	if w.opt.breaks(noWalsenders) && old.k > 0 && h.loaded.k > 0 {
		h.force = old
	}
}

// rewind makes the node's log that of its upstream, if PostgreSQL sees a reason to.
func (w *World) rewind(n int) bool {
	h := &w.hosts[n]
	f := w.facts(n)
	if f.Upstream == nil || h.status == fsm.ServerRunning {
		return false
	}
	src := &w.hosts[at(f.Upstream.Node)]
	w.work(h, (*fsm.Memory).BeginRewind)
	if h.control != src.control {
		h.log, h.control, h.clean, h.ruled = src.log, src.log.timeline(), false, false
	}
	h.remember((*fsm.Memory).EndWork)
	return true
}
