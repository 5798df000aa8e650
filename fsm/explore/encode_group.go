package explore

import "github.com/autoctl/autoctl/fsm"

func (c *canon) group(w *World) {
	g := &w.group
	c.byte(byte(g.Incarnation), byte(g.NumberSync))
	c.bool(g.Paused, g.Unproven, g.SystemID != 0)
	c.instant(g.Since)
	c.record(g.Record)
	c.bool(g.Election != nil)
	if e := g.Election; e != nil {
		c.bool(e.Planned, e.AllowDataLoss, e.Direct, e.Hold)
		c.byte(byte(e.Preferred), byte(e.Excluded), byte(e.Candidate), byte(e.Source), byte(e.Command))
		c.str(string(e.Phase))
		c.str(e.Reason)
		c.instant(e.PhaseBegan)
	}
	c.byte(byte(len(g.Nodes)))
	for i := range g.Nodes {
		c.node(w, &g.Nodes[i])
	}
	// Last, when it is known which timelines are named at all.
	for _, o := range g.Orders {
		if c.named&(1<<o.Timeline) != 0 || o.Timeline == c.timeline {
			c.tli(o.Timeline)
			c.epochOf(o.Epoch)
			c.byte(byte(o.Node))
		}
	}
}

func (c *canon) instant(i fsm.Instant) {
	switch {
	case i >= now:
		c.byte(1)
	case i >= lost:
		c.byte(2)
	default:
		c.byte(3)
	}
}

func (c *canon) node(w *World, n *fsm.Node) {
	c.byte(byte(n.ID), byte(n.Priority))
	c.least(n.ID, n.MinGeneration)
	c.bool(n.Quorum, n.HasData, n.Maintenance, n.Dropping, n.Forced, n.Leaving != 0, n.Report != nil, n.HoldUntil > now)
	c.instant(n.Heard)
	c.instant(n.Probed)
	c.goal(w, &n.Goal)
	if n.Report != nil {
		c.bool(n.Report.Generation < n.MinGeneration)
		c.report(w, n.Report, n.Goal.Stamp)
	}
}

// least writes the lowest generation that is wanted of a node's data: how much is missing.
func (c *canon) least(n fsm.NodeID, g uint64) {
	c.bool(g > 0)
	c.byte(byte(max(g, c.generation[at(n)]) - c.generation[at(n)]))
}

func (c *canon) goal(w *World, g *fsm.Goal) {
	c.byte(byte(g.Incarnation))
	c.epochOf(g.Epoch)
	c.str(string(g.State))
	c.bool(g.Upstream != nil, g.Configuration != nil)
	if u := g.Upstream; u != nil {
		c.byte(byte(u.Node))
		c.tli(u.Timeline)
		c.position(u.Until)
	}
	if g.Configuration != nil {
		c.configuration(g.Configuration)
	}
	c.tli(g.Timeline)
	c.bool(g.DeadlineMS > 0, g.SystemID != 0, g.AwaitEnd, g.Confirmed)
	if w.opt.Citus {
		c.bool(g.Hold != 0)
		c.held(w, g.Hold)
	}
	if g.Node > 0 {
		c.least(g.Node, g.MinGeneration)
	}
	c.byte(byte(len(g.Peers)))
	for _, p := range g.Peers {
		c.byte(byte(p.Node))
	}
	if x := g.Wishes; x != nil {
		c.byte(byte(x.Priority), byte(x.NumberSync))
		c.bool(x.Quorum, x.Paused)
	}
	c.record(g.Record)
	// The list only grows, so that its length tells which part of the group's it is.
	c.byte(byte(len(w.group.Orders) - len(g.Orders)))
}

// held writes which numbers of hand-overs are that of the present one.
func (c *canon) held(w *World, seqs ...uint64) {
	for _, seq := range seqs {
		c.bool(seq != 0 && w.group.Election != nil && seq == w.group.Election.Seq)
	}
}

// report writes what a report says to a monitor that has given the node that goal.
func (c *canon) report(w *World, r *fsm.Report, goal fsm.Stamp) {
	c.bool(r.Obeyed == goal, r.Reached == goal)
	c.str(string(r.State))
	c.gen(r.Node, r.Generation)
	c.tli(r.Server.Timeline)
	c.lsn(r.Drained)
	c.byte(byte(len(r.Standbys)))
	c.status(r.Server.Status)
	c.bool(r.Server.Recovery, r.Open, r.SystemID != 0, r.PrimarySeenMS == 0, r.PrimarySeenMS < 0, r.CommitAgeMS == 0, r.Vote != nil, r.Problem != nil, r.Refuses)
	if w.opt.Citus {
		c.held(w, r.Held, r.Routed)
	}
	c.position(r.Position)
	if r.Vote != nil {
		c.bool(r.Vote.Stamp == goal)
		if r.Vote.Stamp == goal {
			c.position(r.Vote.Position)
			c.bool(r.Vote.Ended)
		}
	}
	c.upTo(r.Settled)
	for _, s := range r.Standbys {
		c.byte(byte(s.Node))
		c.bool(s.Streaming, s.LostMS > 0)
		if s.Streaming {
			c.byte(byte(s.LagBytes / lsnUnit))
		}
	}
	c.promotions(w, r.Node, r.Promotions)
	if r.Problem != nil {
		c.str(r.Problem.Code)
	}
}

// position writes a position. A server that has only just begun to read its log knows of the first record alone, wherever the
// others are.
func (c *canon) position(p fsm.Position) {
	if p.LSN == lsnUnit && c.base > 0 {
		c.byte(none, none, none)
		return
	}
	c.epochOf(p.Epoch)
	c.lsn(p.LSN)
	c.tli(p.Timeline)
}

func (c *canon) record(r fsm.Record) {
	c.byte(byte(len(r)))
	for i := range r {
		c.configuration(&r[i])
	}
}

func (c *canon) configuration(x *fsm.Configuration) {
	c.place(x.Seq)
	c.epochOf(x.Epoch)
	c.byte(byte(x.Primary.Node), byte(x.K), byte(len(x.Members)))
	c.gen(x.Primary.Node, x.Primary.Generation)
	for _, m := range x.Members {
		c.byte(byte(m.Node))
		c.gen(m.Node, m.Generation)
	}
}

// promotions writes those that some history may lack.
func (c *canon) promotions(w *World, n fsm.NodeID, ps []fsm.Promotion) {
	for _, p := range ps {
		if !c.settledPast(w.group.Orders, n, p) {
			c.epochOf(p.Epoch)
			c.tli(p.Timeline)
			c.lsn(p.Switch)
		}
	}
	c.byte(none)
}
