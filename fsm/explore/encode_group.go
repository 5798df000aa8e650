package explore

import "github.com/autoctl/autoctl/fsm"

func (c *canon) group(w *World) {
	g := &w.group
	c.byte(byte(g.Incarnation), byte(g.Epoch), byte(g.NumberSync), byte(g.SystemID))
	c.bool(g.Paused, g.Unproven)
	c.instant(g.Since)
	c.record(g.Record)
	c.orders(g.Orders)
	c.bool(g.Election != nil)
	if e := g.Election; e != nil {
		c.bool(e.Planned, e.AllowDataLoss, e.Direct)
		c.byte(byte(e.Preferred), byte(e.Excluded), byte(e.Candidate), byte(e.Source), byte(e.Command))
		c.str(string(e.Phase))
		c.str(e.Reason)
		c.instant(e.PhaseBegan)
	}
	c.byte(byte(len(g.Nodes)))
	for i := range g.Nodes {
		c.node(&g.Nodes[i])
	}
}

func (c *canon) instant(i fsm.Instant) {
	switch {
	case i < 0:
		c.byte(0)
	case i >= now:
		c.byte(1)
	case i >= lost:
		c.byte(2)
	default:
		c.byte(3)
	}
}

func (c *canon) node(n *fsm.Node) {
	c.byte(byte(n.ID), byte(n.Priority), byte(n.MinGeneration))
	c.bool(n.Quorum, n.HasData, n.Maintenance, n.Dropping, n.Forced, n.Leaving != 0, n.Report != nil, n.HoldUntil > now)
	c.instant(n.Heard)
	c.instant(n.Probed)
	c.goal(&n.Goal)
	if n.Report != nil {
		c.report(n.Report, n.Goal.Stamp)
	}
}

func (c *canon) goal(g *fsm.Goal) {
	c.byte(byte(g.Incarnation), byte(g.Epoch))
	c.str(string(g.State))
	c.bool(g.Upstream != nil, g.Configuration != nil)
	if u := g.Upstream; u != nil {
		c.byte(byte(u.Node), byte(u.Timeline))
		c.position(u.Until)
	}
	if g.Configuration != nil {
		c.configuration(g.Configuration)
	}
	c.byte(byte(g.Timeline), byte(g.MinGeneration), byte(len(g.Peers)))
	c.bool(g.DeadlineMS > 0, g.SystemID != 0)
	for _, p := range g.Peers {
		c.byte(byte(p.Node))
	}
	c.record(g.Record)
	c.orders(g.Orders)
}

// report writes what a report says to a monitor that has given the node that goal.
func (c *canon) report(r *fsm.Report, goal fsm.Stamp) {
	c.bool(r.Obeyed == goal, r.Reached == goal)
	c.str(string(r.State))
	c.byte(byte(r.Generation), byte(r.Server.Timeline), byte(r.Drained/lsnUnit), byte(len(r.Standbys)))
	c.status(r.Server.Status)
	c.bool(r.Server.Recovery, r.Open, r.SystemID != 0, r.PrimarySeenMS == 0, r.PrimarySeenMS < 0, r.CommitAgeMS == 0, r.Vote != nil, r.Problem != nil)
	c.position(r.Position)
	if r.Vote != nil {
		c.bool(r.Vote.Stamp == goal)
		if r.Vote.Stamp == goal {
			c.position(r.Vote.Position)
		}
	}
	c.upTo(r.Settled)
	for _, s := range r.Standbys {
		c.byte(byte(s.Node), byte(s.Flush/lsnUnit), byte(s.LagBytes/lsnUnit))
		c.bool(s.Streaming, s.LostMS > 0)
	}
	c.promotions(r.Promotions)
	if r.Problem != nil {
		c.str(r.Problem.Code)
	}
}

func (c *canon) position(p fsm.Position) {
	c.byte(byte(p.Epoch), byte(p.LSN/lsnUnit), byte(p.Timeline))
}

func (c *canon) record(r fsm.Record) {
	c.byte(byte(len(r)))
	for i := range r {
		c.configuration(&r[i])
	}
}

func (c *canon) configuration(x *fsm.Configuration) {
	c.place(x.Seq)
	c.byte(byte(x.Epoch), byte(x.Primary.Node), byte(x.Primary.Generation), byte(x.K), byte(len(x.Members)))
	for _, m := range x.Members {
		c.byte(byte(m.Node), byte(m.Generation))
	}
}

func (c *canon) orders(o fsm.Orders) {
	c.byte(byte(len(o)))
	for _, x := range o {
		c.byte(byte(x.Timeline), byte(x.Epoch), byte(x.Node))
	}
}

func (c *canon) promotions(ps []fsm.Promotion) {
	c.byte(byte(len(ps)))
	for _, p := range ps {
		c.byte(byte(p.Epoch), byte(p.Timeline), byte(p.Switch/lsnUnit))
	}
}
