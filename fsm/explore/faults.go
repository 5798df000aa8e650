package explore

import "github.com/autoctl/autoctl/fsm"

func (w *World) applyFault(k kind, a, b int) bool {
	switch k {
	case evCut:
		return w.cut(a, b)
	case evCutOne:
		return w.network.cut(a, b)
	case evMonitor:
		w.restartMonitor(b == 1)
		return true
	case evRestore:
		return w.restore(b)
	case evReplace:
		return w.replace()
	case evSlow:
		return w.speaks(a) && w.silence(a, true)
	case evStale:
		return w.repeat(a, w.hosts[a].prior)
	case evDelay, evHold:
		return w.delay(k, a)
	case evFreeze, evDoze, evHang, evFull:
		return w.stand(k, a, hang(b))
	default:
		return w.fail(k, a)
	}
}

// fail ends what ran on a node, or takes its data.
func (w *World) fail(k kind, a int) bool {
	h := &w.hosts[a]
	switch k {
	case evKill:
		if h.status != fsm.ServerRunning && h.status != fsm.ServerStarting {
			return false
		}
		w.halt(a, fsm.ServerCrashed)
	case evOff:
		if h.down {
			return false
		}
		w.off(a)
	case evKeeper:
		if !h.goes() || h.left || !h.dozes && !h.fresh && h.crashes == 0 && !h.checked && !h.deadline && !h.patience {
			return false
		}
		w.forget(h)
		h.fresh, h.crashes, h.checked, h.deadline, h.stuck, h.silent = false, 0, false, false, false, false
		h.holds, h.routed = 0, 0
		h.dozes, h.begun = false, nil
	case evStarve:
		if h.starved || h.down || h.running() || h.log == "" || h.mem.Tried != fsm.RungRewind {
			return false
		}
		h.starved = true
	case evMid:
		return h.attends() && w.interrupt(a)
	default: // evDisk
		if w.diskLost || h.log == "" {
			return false
		}
		w.halt(a, fsm.ServerAbsent)
		w.diskLost, w.excused, h.log, h.control, h.clean, h.starved = true, true, "", 0, false, false
		h.status = fsm.ServerAbsent
	}
	return true
}

// delay catches what a keeper says, or what it is about to be told.
func (w *World) delay(k kind, a int) bool {
	h := &w.hosts[a]
	if k == evDelay {
		if h.late != nil || !w.speaks(a) {
			return false
		}
		r := w.report(a)
		h.late = &r
		return true
	}
	node, ok := w.peek(a)
	if h.held != nil || !ok || !w.listens(a) || node.Goal.State == fsm.StateInit || node.Goal.Compare(h.mem.Goal.Stamp) <= 0 {
		return false
	}
	goal := node.Goal
	h.held = &goal
	return true
}

// stand has something on a node stand still.
func (w *World) stand(k kind, a int, how hang) bool {
	h := &w.hosts[a]
	was := *h
	if !h.goes() {
		return false
	}
	switch k {
	case evFreeze:
		h.frozen = true
		if w.opt.Every {
			w.interruptPlan(a)
		}
	case evDoze:
		if !h.attends() {
			return false
		}
		w.interruptPlan(a)
		h.dozes = true
	case evHang:
		if !h.running() || h.hung != awake {
			return false
		}
		h.hung = how
	default: // evFull
		h.full = true
	}
	return was.frozen != h.frozen || was.dozes != h.dozes || was.hung != h.hung || was.full != h.full
}

// interruptPlan freezes a keeper between a decision and the deed.
func (w *World) interruptPlan(n int) {
	h := &w.hosts[n]
	h.begun = nil
	if plan := w.plan(n); !h.left && len(plan) > 0 && plan[0].Kind != fsm.StepWait && plan[0].Kind != fsm.StepRefuse {
		h.begun = &plan[0]
	}
}

// resume has a keeper do what it had begun.
func (w *World) resume(n int) {
	h := &w.hosts[n]
	s := h.begun
	h.begun = nil
	if s != nil && h.attends() {
		w.do(n, *s)
	}
}

// thaw lets a frozen host go on.
func (w *World) thaw(n int) bool {
	h := &w.hosts[n]
	if !h.frozen {
		return false
	}
	h.frozen = false
	w.seen(n)
	w.resume(n)
	return true
}

// wake lets a frozen keeper go on.
func (w *World) wake(n int) bool {
	h := &w.hosts[n]
	if !h.dozes || !h.goes() {
		return false
	}
	h.dozes = false
	w.resume(n)
	return true
}

// goOn lets a hung server go on: what waited for it happens now.
func (w *World) goOn(n int) bool {
	h := &w.hosts[n]
	if h.hung == awake || !h.goes() {
		return false
	}
	h.hung, h.weary = awake, false
	if h.running() && !h.sameLoaded() {
		h.reload()
	}
	w.seen(n)
	return true
}

// off turns a host off.
func (w *World) off(n int) {
	h := &w.hosts[n]
	w.halt(n, fsm.ServerStopped)
	h.down, h.frozen, h.dozes, h.begun, h.rcv = true, false, false, nil, -1
	h.crashes, h.checked, h.deadline, h.stuck, h.silent = 0, false, false, false, false
	w.forget(h)
	if w.opt.breaks(staleConf) {
		standby := h.files.standby // a file of its own
		h.files = h.before
		h.files.standby = standby
	}
	for i := range w.n {
		if int(w.hosts[i].rcv) == n {
			w.hosts[i].rcv = -1
		}
	}
}

// forget ends a keeper, which remembers what is on disk: everything.
func (w *World) forget(h *host) {
	if w.opt.breaks(forgetful) && h.disk != nil {
		h.mem = h.disk
	}
}

// interrupt turns a host off while its keeper works on the data: the work is marked as begun, and not done.
func (w *World) interrupt(n int) bool {
	plan := w.plan(n)
	if len(plan) == 0 {
		return false
	}
	h := &w.hosts[n]
	switch plan[0].Kind {
	case fsm.StepRewind:
		w.work(h, (*fsm.Memory).BeginRewind)
		h.clean = false
	case fsm.StepSwap:
		w.work(h, func(m *fsm.Memory) { m.BeginSwap(m.Goal) })
		h.log, h.control, h.clean = "", 0, false
	case fsm.StepCopy:
		h.remember((*fsm.Memory).BeginCopy)
	default:
		return false
	}
	w.off(n)
	return true
}

func (w *World) restartMonitor(forgetful bool) {
	nodes := make([]fsm.Node, len(w.group.Nodes))
	copy(nodes, w.group.Nodes)
	for i := range nodes {
		nodes[i].Heard, nodes[i].Probed = never, never
		if forgetful {
			nodes[i].Report = nil
		}
	}
	w.group.Nodes = nodes
	w.group.Since = now
	w.react()
}
