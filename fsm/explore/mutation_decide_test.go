package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// wrongDecide is a Decide with something wrong.
type wrongDecide = func(fsm.Group, fsm.Instant) fsm.Decision

// decideOn is a Decide that sees changed reports; what is stored of them is right.
func decideOn(change func(*fsm.Group)) wrongDecide {
	return func(g fsm.Group, at fsm.Instant) fsm.Decision {
		said := map[fsm.NodeID]*fsm.Report{}
		g.Nodes = slices.Clone(g.Nodes)
		for i := range g.Nodes {
			if r := g.Nodes[i].Report; r != nil {
				said[g.Nodes[i].ID] = r
				copied := *r
				g.Nodes[i].Report = &copied
			}
		}
		change(&g)
		d := fsm.Decide(g, at)
		for i := range d.Group.Nodes {
			d.Group.Nodes[i].Report = said[d.Group.Nodes[i].ID]
		}
		return d
	}
}

// decideWith is a Decide that takes some configurations for others; what is stored and told of them is right.
func decideWith(wrong func(*fsm.Group) map[uint64]fsm.Configuration) wrongDecide {
	return func(g fsm.Group, at fsm.Instant) fsm.Decision {
		masks := wrong(&g)
		if len(masks) == 0 {
			return fsm.Decide(g, at)
		}
		right := map[uint64]fsm.Configuration{}
		for _, c := range g.Record {
			if _, ok := masks[c.Seq]; ok {
				right[c.Seq] = c
			}
		}
		g.Nodes = slices.Clone(g.Nodes)
		exchange(&g, masks)
		d := fsm.Decide(g, at)
		exchange(&d.Group, right)
		return d
	}
}

// exchange replaces configurations by sequence number, in the record and in the goals.
func exchange(g *fsm.Group, by map[uint64]fsm.Configuration) {
	swap := func(r fsm.Record) fsm.Record {
		r = slices.Clone(r)
		for i := range r {
			if c, ok := by[r[i].Seq]; ok {
				r[i] = c
			}
		}
		return r
	}
	g.Record = swap(g.Record)
	for i := range g.Nodes {
		goal := &g.Nodes[i].Goal
		goal.Record = swap(goal.Record)
		if goal.Configuration == nil {
			continue
		}
		if c, ok := by[goal.Configuration.Seq]; ok {
			goal.Configuration = &c
		}
	}
}

// endangered reports whether an election is under way, or the primary seems to have failed.
func endangered(g *fsm.Group) bool {
	c, ok := g.Record.Current()
	if !ok || g.Election != nil {
		return ok
	}
	for i := range g.Nodes {
		if n := &g.Nodes[i]; n.ID == c.Primary.Node && n.Report != nil {
			return n.Heard < now || n.Report.Server.Status == fsm.ServerCrashed
		}
	}
	return false
}

// named returns the monitor's row of a node; nil when it has none, or no report.
func named(g *fsm.Group, id fsm.NodeID) *fsm.Node {
	for i := range g.Nodes {
		if g.Nodes[i].ID == id && g.Nodes[i].Report != nil {
			return &g.Nodes[i]
		}
	}
	return nil
}

// writes reports whether the node was heard to run outside recovery, on the timeline that it was told.
func writes(n *fsm.Node) bool {
	s := n.Report.Server
	return s.Status == fsm.ServerRunning && !s.Recovery && (n.Goal.Timeline == 0 || s.Timeline == n.Goal.Timeline)
}

// primaryAlone: a restored monitor takes its record for current as soon as the record's primary has confirmed it (S9).
func primaryAlone(g fsm.Group, at fsm.Instant) fsm.Decision {
	d := fsm.Decide(g, at)
	c, ok := d.Group.Record.Current()
	if !ok || !d.Group.Unproven {
		return d
	}
	if n := named(&d.Group, c.Primary.Node); n == nil || n.Heard < 0 || n.Report.Obeyed.Incarnation != d.Group.Incarnation {
		return d
	}
	d.Group.Unproven = false
	return fsm.Decide(d.Group, at)
}
