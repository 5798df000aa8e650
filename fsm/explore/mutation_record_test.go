package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// The mutations of the record: what is in it, and until when (S1, S4).

// noJoint: a change replaces the configuration instead of joining it to the one that is still in force (nojoint).
func noJoint(g fsm.Group, at fsm.Instant) fsm.Decision {
	d := fsm.Decide(g, at)
	cur, _ := d.Group.Record.Current()
	d.Group.Record = slices.DeleteFunc(slices.Clone(d.Group.Record), func(c fsm.Configuration) bool { return c.Epoch == cur.Epoch && c.Seq != cur.Seq })
	return d
}

// manySteps: when members leave so that fewer than k remain, k is lowered in the same step (onestep; S1's "drop node").
func manySteps(g fsm.Group, at fsm.Instant) fsm.Decision {
	d := fsm.Decide(g, at)
	cur, ok := d.Group.Record.Current()
	if was, _ := g.Record.Current(); !ok || was.Seq == cur.Seq || len(cur.Members) == 0 || len(cur.Members) >= cur.K {
		return d
	}
	cur.K = len(cur.Members)
	exchange(&d.Group, map[uint64]fsm.Configuration{cur.Seq: cur})
	return d
}

// ignoreK0: a primary without a synchronous standby may be succeeded like any other (ignorek0).
func ignoreK0(g *fsm.Group) map[uint64]fsm.Configuration {
	masks := map[uint64]fsm.Configuration{}
	for _, c := range g.Record {
		if c.K > 0 || !endangered(g) {
			continue
		}
		seq := c.Seq
		for _, n := range g.Nodes {
			if n.ID != c.Primary.Node && n.Report != nil && n.Report.SystemID != 0 {
				c.K++
				c.Members = append(slices.Clone(c.Members), fsm.Member{Node: n.ID, Generation: n.Report.Generation})
				masks[seq] = c
			}
		}
	}
	return masks
}

// minority: one vote is enough for every configuration.
func minority(g *fsm.Group) map[uint64]fsm.Configuration {
	masks := map[uint64]fsm.Configuration{}
	for _, c := range g.Record {
		if g.Election != nil && c.K > 0 && len(c.Members) > c.K {
			c.K = len(c.Members)
			masks[c.Seq] = c
		}
	}
	return masks
}

// fromCatchingUp: a node that no configuration counts on may be promoted as if one did.
func fromCatchingUp(g *fsm.Group) map[uint64]fsm.Configuration {
	masks := map[uint64]fsm.Configuration{}
	for _, c := range g.Record {
		if c.K == 0 || !endangered(g) {
			continue
		}
		for _, n := range g.Nodes {
			m := fsm.Member{Node: n.ID}
			if n.Report == nil || n.Report.SystemID == 0 || n.ID == c.Primary.Node {
				continue
			}
			if m.Generation = n.Report.Generation; slices.Contains(c.Members, m) {
				continue
			}
			c.K++ // one vote more, and not one voter more
			c.Members = append(slices.Clone(c.Members), m)
			masks[c.Seq] = c
		}
	}
	return masks
}

// promoDrop: older configurations leave the record when the candidate says that it is promoted, not when it has settled (promodrop).
func promoDrop(g *fsm.Group) {
	c, _ := g.Record.Current()
	if n := named(g, c.Primary.Node); n != nil && writes(n) && n.Report.Obeyed == n.Goal.Stamp && g.Record[0].Epoch != c.Epoch {
		n.Report.Settled = c.Seq
	}
}

// promoReplace: the candidate's configuration replaces the older ones when it is chosen (promoreplace).
func promoReplace(g fsm.Group, at fsm.Instant) fsm.Decision {
	d := fsm.Decide(g, at)
	cur, _ := d.Group.Record.Current()
	d.Group.Record = slices.DeleteFunc(slices.Clone(d.Group.Record), func(c fsm.Configuration) bool { return c.Epoch != cur.Epoch })
	return d
}

// promoLate: the candidate's configuration counts only when the candidate has said that it is promoted: one that fell silent before is
// forgotten (promolate).
func promoLate(g fsm.Group, at fsm.Instant) fsm.Decision {
	c, _ := g.Record.Current()
	n := named(&g, c.Primary.Node)
	if g.Election == nil || n == nil || len(g.Record) < 2 || g.Record[0].Epoch == c.Epoch || n.Heard >= now || writes(n) {
		return fsm.Decide(g, at)
	}
	g.Record = slices.Clone(g.Record[:len(g.Record)-1])
	e := *g.Election
	e.Phase, e.Candidate = fsm.PhaseVoting, 0
	g.Election = &e
	return fsm.Decide(g, at)
}

// abandonChosen: a former primary that is back is resumed although somebody was told to be promoted (abandonchosen).
func abandonChosen(g fsm.Group, at fsm.Instant) fsm.Decision {
	if g.Election == nil || g.Election.Phase != fsm.PhasePromoting || len(g.Record) < 2 {
		return fsm.Decide(g, at)
	}
	first := g.Record[0]
	g.Nodes = slices.Clone(g.Nodes)
	n := named(&g, first.Primary.Node)
	if n == nil || n.Heard < now || !writes(n) || n.ID == g.Election.Candidate {
		return fsm.Decide(g, at)
	}
	said := n.Report
	r := *said
	r.Obeyed = n.Goal.Stamp
	n.Report = &r
	n.Goal.State = fsm.StatePrimary
	e := *g.Election
	e.Phase, e.Candidate, e.Began = fsm.PhaseVoting, 0, gone
	g.Election, g.Record = &e, fsm.Record{first}
	d := fsm.Decide(g, at)
	d.Group.Nodes = slices.Clone(d.Group.Nodes)
	if n := named(&d.Group, first.Primary.Node); n != nil {
		n.Report = said
	}
	return d
}
