package explore

import "github.com/autoctl/autoctl/fsm"

// handOver is what a keeper of a Citus formation does of a planned hand-over besides its plan: it holds the group's writes on the other nodes, and waits for what the old
// primary has written; once it serves it sends the writes on. Clients that write to the group directly are held by nobody, and go on.
func (w *World) handOver(n int) bool {
	h := &w.hosts[n]
	goal := h.mem.Goal
	switch {
	case !w.opt.Citus || goal.Hold == 0:
		return false
	case goal.State == fsm.StatePreparePromotion && goal.Upstream != nil && h.holds != goal.Hold && w.level(n, at(goal.Upstream.Node)):
		h.holds = goal.Hold
		return true
	case goal.State.Serves() && h.serves() && !h.loaded.gate && h.routed != goal.Hold:
		h.routed = goal.Hold
		return true
	}
	return false
}

// level reports whether node n can ask another how far its log reaches, and has all of it.
func (w *World) level(n, old int) bool {
	src := &w.hosts[old]
	return w.linked(n, old) && src.answers() && src.goes() && w.hosts[n].log == src.log
}
