package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

func (w *World) applyQuiet(k kind, a, b int) bool {
	h := &w.hosts[a]
	switch k {
	case evSilence:
		return w.silence(a, false)
	case evLost:
		return w.lose(a, b)
	case evTimer:
		return w.timer(a)
	case evPatience:
		return w.patience()
	case evReturn:
		ok := h.down
		h.down = false
		if w.opt.breaks(staleConf) && ok && h.log != "" {
			h.status = fsm.ServerStarting
		}
		return ok
	case evHeal:
		return w.heal(a, b)
	case evThaw:
		return w.thaw(a)
	case evWake:
		return w.wake(a)
	case evGoOn:
		return w.goOn(a)
	case evRoom:
		ok := h.full
		h.full = false
		return ok
	case evLate:
		r := h.late
		if b == 0 {
			h.late = nil
		}
		return r != nil && w.hear(*r)
	case evArrive:
		goal := h.held
		h.held = nil
		return w.repeat(a, goal)
	case evBackup:
		return w.save()
	default:
		return w.write(a)
	}
}

// silence lets the monitor's views of a node that it does not hear, or whose server it does not reach, grow old, in two stages; slow, although it does.
func (w *World) silence(n int, slow bool) bool {
	node, ok := w.node(n)
	if !ok {
		return false
	}
	mute, dark := slow || !w.speaks(n), slow || !w.probes(n)
	if !mute && !(dark && w.opt.Every) {
		return false
	}
	was := *node
	switch since := w.group.Since; {
	case mute && node.Heard >= now || dark && node.Probed >= now || since >= now:
		w.group.Since = gone
		age(node, mute, dark, lost)
		if since < now && node.Heard == was.Heard && node.Probed == was.Probed {
			return false
		}
	default:
		age(node, mute, dark, gone)
		if node.Heard == was.Heard && node.Probed == was.Probed {
			return false
		}
	}
	w.react()
	return true
}

// age lets the monitor's views of a node be as old as that.
func age(n *fsm.Node, heard, probed bool, as fsm.Instant) {
	if heard {
		n.Heard = min(n.Heard, as)
	}
	if probed {
		n.Probed = min(n.Probed, as)
	}
}

// lose lets a server take a standby that is not connected for lost.
func (w *World) lose(n, standby int) bool {
	h := &w.hosts[n]
	if !h.serves() || h.lost[standby] || w.streaming(standby) && int(w.hosts[standby].rcv) == n {
		return false
	}
	h.lost[standby] = true
	return true
}

// timer ends whatever timer runs on a node.
func (w *World) timer(n int) bool {
	h := &w.hosts[n]
	if h.down {
		return false
	}
	old := *h
	dropped := w.opt.Every && w.deaf(n)
	state := h.mem.Goal.State
	if h.serves() && h.loaded.gate {
		h.patience = true
	}
	if state.Drains() && h.status == fsm.ServerStopped {
		h.deadline = true
	}
	if state.Follows() && (h.running() && !h.runs && h.rcv < 0 || h.status == fsm.ServerStarting && h.starved) {
		h.stuck = true
	}
	if h.running() && !h.answers() {
		h.weary = true
	}
	return dropped || old.patience != h.patience || old.deadline != h.deadline || old.stuck != h.stuck || old.weary != h.weary
}

// patience ends the timers of the monitor.
func (w *World) patience() bool {
	e := w.group.Election
	held := slices.ContainsFunc(w.group.Nodes, func(n fsm.Node) bool { return n.HoldUntil > now })
	if !held && w.group.Since < now && (e == nil || e.PhaseBegan < now && e.Began < now) {
		return false
	}
	w.group.Since = gone
	w.group.Nodes = slices.Clone(w.group.Nodes)
	for i := range w.group.Nodes {
		w.group.Nodes[i].HoldUntil = 0
	}
	if e != nil {
		copied := *e
		copied.Began, copied.PhaseBegan = gone, gone
		w.group.Election = &copied
	}
	w.react()
	return true
}

// write lets a client commit.
func (w *World) write(n int) bool {
	h := &w.hosts[n]
	if !h.serves() || !h.goes() || !h.works() || h.hung == hungStorage || h.loaded.gate && h.started || w.commits >= maxCommits {
		return false
	}
	w.commits++
	h.log = h.log.add(h.log.timeline(), byte(w.commits))
	return true
}
