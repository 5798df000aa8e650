package explore

import "github.com/autoctl/autoctl/fsm"

func (w *World) applyFault(k kind, a, b int) bool {
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
		if h.down || h.frozen || !h.fresh && h.crashes == 0 && !h.checked && !h.deadline && !h.patience {
			return false
		}
		w.forget(h)
		h.fresh, h.crashes, h.checked, h.deadline, h.stuck, h.silent = false, 0, false, false, false, false
	case evCut:
		return w.cut(a, b)
	case evMonitor:
		w.restartMonitor(b == 1)
	case evDelay:
		if h.late != nil || h.down || !w.hears(a) {
			return false
		}
		r := w.report(a)
		h.late = &r
	case evMid:
		return !h.down && !h.frozen && w.interrupt(a)
	case evDisk:
		if w.diskLost || h.log == "" {
			return false
		}
		w.halt(a, fsm.ServerAbsent)
		w.diskLost, w.excused, h.log, h.control, h.clean = true, true, "", 0, false
	case evStale:
		return w.repeat(a)
	case evFreeze:
		ok := !h.down && !h.frozen
		h.frozen = true
		return ok
	default: // evSlow
		return w.hears(a) && w.silence(a)
	}
	return true
}

// thaw lets a frozen host go on.
func (w *World) thaw(n int) {
	h := &w.hosts[n]
	h.frozen = false
	for i := range w.n { // what still streams is seen to stream again
		if up := int(w.hosts[i].rcv); w.streaming(i) && (i == n || up == n) {
			w.hosts[up].lost[i] = false
		}
	}
}

// off turns a host off.
func (w *World) off(n int) {
	h := &w.hosts[n]
	w.halt(n, fsm.ServerStopped)
	h.down, h.frozen, h.rcv = true, false, -1
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

func (w *World) cut(a, b int) bool {
	if b < 0 {
		ok := w.cutMonitor&(1<<a) == 0
		w.cutMonitor |= 1 << a
		return ok
	}
	if w.cutPeers&pair(a, b) != 0 {
		return false
	}
	w.cutPeers |= pair(a, b)
	for _, i := range []int{a, b} {
		if other := a + b - i; int(w.hosts[i].rcv) == other {
			w.hosts[i].rcv = -1
		}
	}
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
