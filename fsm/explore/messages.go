package explore

import "github.com/autoctl/autoctl/fsm"

func (w *World) applyNormal(k kind, a int) bool {
	switch k {
	case evObey:
		return w.obey(a)
	case evStep:
		return w.step(a)
	case evReport:
		return w.tell(a)
	case evReceive:
		return w.receive(a)
	default:
		return w.reply(a)
	}
}

// obey lets the keeper take its goal from the monitor. That the monitor confirms the one it has takes an answer to a report.
func (w *World) obey(n int) bool {
	node, ok := w.peek(n)
	if !ok || !w.listens(n) || node.Goal.State == fsm.StateInit {
		return false
	}
	h := &w.hosts[n]
	news := w.given(n, node.Goal)
	if h.fresh || !w.speaks(n) || h.mem.Goal.Stamp != node.Goal.Stamp {
		return news
	}
	h.fresh = true
	return true
}

// given lets a keeper hear a goal, whenever it was given.
func (w *World) given(n int, goal fsm.Goal) bool {
	h := &w.hosts[n]
	m, news := w.obeyed(h, goal)
	if !news || h.full {
		return false
	}
	alone := goal.State.Serves() && goal.Configuration != nil && goal.Configuration.K == 0 && len(goal.Peers) > 0
	h.fresh = h.fresh && (!alone || h.mem.Goal.State.Serves())
	w.take(h, &m)
	return true
}

// take makes a goal the keeper's own.
func (w *World) take(h *host, m *fsm.Memory) {
	if was := h.mem.Goal; was.State != m.Goal.State || was.Configuration != nil && m.Goal.Configuration != nil && was.Configuration.Seq != m.Goal.Configuration.Seq {
		h.prior = &was
	}
	if h.mem.Reached == h.mem.Goal.Stamp && (h.mem.State.Serves() || h.mem.State == fsm.StateSecondary) {
		h.disk = h.mem
	}
	h.mem = m
	h.crashes, h.checked, h.deadline, h.stuck, h.silent = 0, false, false, false, false
}

// repeat brings a goal once more, or late, and has the keeper act upon it if it does obey.
func (w *World) repeat(n int, goal *fsm.Goal) bool {
	if goal == nil || !w.hosts[n].attends() || !w.given(n, *goal) {
		return false
	}
	w.step(n)
	return true
}

// tell lets the keeper report to the monitor. One that says that it has left, to a monitor that knows of it, ends.
func (w *World) tell(n int) bool {
	if !w.speaks(n) {
		return false
	}
	r := w.report(n)
	row, known := w.row(r.Node)
	knows := known && row.Goal.State == fsm.StateDropped
	if !w.hear(r) {
		return w.turnedAway(n)
	}
	w.hosts[n].left = r.State == fsm.StateDropped && knows && w.listens(n)
	return true
}

// receive connects the WAL receiver of a standby and brings what its upstream has.
func (w *World) receive(n int) bool {
	h := &w.hosts[n]
	if !h.goes() || !h.works() || h.runs {
		return false
	}
	if h.rcv >= 0 {
		return w.flow(n)
	}
	up := int(h.loaded.up)
	if up < 0 || up >= w.n || !w.linked(n, up) || !w.hosts[up].answers() || !streams(w.hosts[up].log, h.log) {
		return false
	}
	h.rcv, h.stuck, h.silent = int8(up), false, false
	if w.opt.breaks(twoNames) {
		w.hosts[up].twin[n] = w.hosts[up].known[n]
	}
	w.hosts[up].known[n] = 0
	w.hosts[up].lost[n] = false
	w.flow(n)
	return true
}

// flow brings all WAL of the upstream that node n is connected to; false when there is none, or it does not come through.
func (w *World) flow(n int) bool {
	h := &w.hosts[n]
	if !w.connected(n) || !w.network.open(int(h.rcv), n) || h.hung == hungStorage {
		return false
	}
	up := w.hosts[h.rcv].log
	if up.len() <= h.log.len() || !streams(up, h.log) {
		return false
	}
	h.log += up[len(h.log):]
	h.read = true
	return true
}

// reply tells the upstream what a standby has flushed. It matters only when a client waits for it.
func (w *World) reply(n int) bool {
	h := &w.hosts[n]
	if !w.connected(n) || !w.network.open(n, int(h.rcv)) || !w.waits(int(h.rcv), h.log.len()) {
		return false
	}
	known := &w.hosts[h.rcv].known[n]
	if int(*known) >= h.log.len() {
		return false
	}
	*known = uint8(h.log.len())
	return true
}
