package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// backup is a monitor's memory as it was once.
type backup struct {
	group    fsm.Group
	departed []fsm.NodeID
}

// save keeps the monitor's memory.
func (w *World) save() bool {
	if w.backup != nil && w.backup.group.Seq == w.group.Seq && w.backup.group.Incarnation == w.group.Incarnation {
		return false
	}
	w.backup = &backup{w.group, w.departed}
	return true
}

// The ways to restore: with the incarnation file, or without it; with the last reports, or without them.
const (
	withoutFile    = 1
	withoutReports = 2
	restores       = 4
)

// restore gives the monitor the memory of its backup. It cannot prove that current, so that it begins a new incarnation, above that in the file beside
// its data, if there is one (S9).
func (w *World) restore(how int) bool {
	b := w.backup
	if b == nil || b.group.Seq == w.group.Seq && b.group.Incarnation == w.group.Incarnation {
		return false
	}
	if len(b.departed) != len(w.departed) {
		w.excused = true // it expects nodes that have left
	}
	w.group, w.departed = b.group, b.departed
	if how&withoutFile != 0 {
		w.group.Incarnation = w.unused(w.group.Incarnation)
	} else {
		w.group.Incarnation = max(w.incarnation, w.group.Incarnation) + 1
	}
	w.group.Unproven, w.group.Election, w.group.Commands = !w.opt.breaks(trusting), nil, nil
	w.restored = true
	w.restartMonitor(how&withoutReports != 0)
	return true
}

// unused is the least incarnation above one that nobody has begun yet: where a monitor does not know which those are, it draws one.
func (w *World) unused(above uint64) uint64 {
	for above++; w.begun&(1<<above) != 0; {
		above++
	}
	return above
}

// replace puts a new monitor into the place of a lost one. Nodes have to be handed over to it.
func (w *World) replace() bool {
	if len(w.group.Nodes) == 0 {
		return false
	}
	g := w.group
	w.group = fsm.Group{Formation: g.Formation, Kind: g.Kind, Database: g.Database, Incarnation: 1, Settings: g.Settings}
	w.departed, w.restored = nil, true
	w.excused = true // nobody may be left who remembers the record
	w.restartMonitor(true)
	return true
}

// add makes a node that was dropped one of the group again, under a new id, or hands one over that the monitor does not know.
func (w *World) add(n int) bool {
	h := &w.hosts[n]
	if _, known := w.peek(n); known || !h.goes() || h.dozes || h.full {
		return false
	}
	if w.network.up&(1<<n)|w.network.down&(1<<n) != 0 || h.mem.Goal.State == fsm.StateDropped && !h.mem.Released {
		return false
	}
	if h.mem.Released || h.mem.State == fsm.StateDropped {
		return w.create(n)
	}
	if (h.mem.Goal.Seq == 0 || h.log == "") && len(w.group.Nodes) == 0 {
		return false // the operator of a new monitor begins with a node that has something to hand over
	}
	w.adopt(n)
	return true
}

// create is what autoctl create postgres does on a node that was dropped.
func (w *World) create(n int) bool {
	h := &w.hosts[n]
	next := h.mem.Node + maxNodes
	if int(next) > lives*maxNodes || h.running() || h.status == fsm.ServerStarting || !slices.ContainsFunc(w.group.Nodes, stays) {
		return false // it would begin another cluster
	}
	m := fsm.Memory{Node: next, Token: h.mem.Token, State: fsm.StateInit, Goal: fsm.Goal{State: fsm.StateInit}, Promotions: h.mem.Promotions}
	if h.log != "" {
		m.Generation, m.Busy = 1, h.mem.Busy
	}
	h.mem, h.left, h.prior, h.held, h.late, h.disk = &m, false, nil, nil, nil, nil
	h.fresh, h.crashes, h.checked, h.deadline, h.stuck, h.silent = false, 0, false, false, false, false
	h.holds, h.routed = 0, 0
	row := w.newRow(next)
	row.HasData = h.log != ""
	w.group.Nodes = append(slices.Clip(w.group.Nodes), row)
	w.react()
	return true
}

// stays reports whether the monitor has heard of a node that is not about to leave.
func stays(n fsm.Node) bool {
	return n.Report != nil && !n.Dropping && n.Goal.State != fsm.StateDropped
}

// adopt is what a monitor does with a node that it does not know and that another one led: it continues what that node remembers (S9).
func (w *World) adopt(n int) {
	h := &w.hosts[n]
	h.left = false // a keeper whose disk refused to remember that it left has ended, too: the operator starts it
	row := w.newRow(h.mem.Node)
	row.HasData = h.log != ""
	if goal := h.mem.Goal; goal.Seq > 0 {
		row.Goal = goal
		if x := goal.Wishes; x != nil {
			row.Priority, row.Quorum = x.Priority, x.Quorum
		}
		w.adoptGroup(goal)
	}
	w.departed = slices.DeleteFunc(slices.Clone(w.departed), func(id fsm.NodeID) bool { return id == row.ID })
	w.group.Nodes = append(slices.Clip(w.group.Nodes), row)
	slices.SortFunc(w.group.Nodes, func(a, b fsm.Node) int { return int(a.ID - b.ID) })
	w.react()
}

// adoptGroup takes the group's past from a goal that another monitor gave.
func (w *World) adoptGroup(goal fsm.Goal) {
	g := &w.group
	above := goal.Epoch > g.Epoch || goal.Epoch == g.Epoch && goal.Seq > g.Seq
	if goal.Incarnation < g.Incarnation && !above {
		return
	}
	if x := goal.Wishes; above && x != nil {
		g.Paused, g.NumberSync = x.Paused, x.NumberSync
	}
	g.Incarnation = w.unused(max(g.Incarnation, goal.Incarnation))
	g.Unproven, g.Election = true, nil
	if g.SystemID == 0 {
		g.SystemID = goal.SystemID
	}
	if !above {
		return
	}
	g.Epoch, g.Seq = goal.Epoch, goal.Seq
	if goal.Record != nil {
		g.Record = goal.Record
	}
	if goal.Orders != nil {
		g.Orders = goal.Orders
	}
}
