package explore

import (
	"slices"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// decideOn is a Decide that sees a changed snapshot.
func decideOn(change func(*fsm.Group)) func(fsm.Group, fsm.Instant) fsm.Decision {
	return func(g fsm.Group, at fsm.Instant) fsm.Decision {
		g.Nodes = slices.Clone(g.Nodes)
		g.Record = slices.Clone(g.Record)
		for i := range g.Nodes {
			if g.Nodes[i].Report != nil {
				r := *g.Nodes[i].Report
				g.Nodes[i].Report = &r
			}
		}
		change(&g)
		return fsm.Decide(g, at)
	}
}

// ignoreK0: a primary without a synchronous standby may be succeeded like any other (S4).
func ignoreK0(g fsm.Group, at fsm.Instant) fsm.Decision {
	changed := map[uint64]fsm.Configuration{}
	g.Record = slices.Clone(g.Record)
	for i := range g.Record {
		c := g.Record[i]
		if c.K > 0 {
			continue
		}
		changed[c.Seq] = c
		for _, n := range g.Nodes {
			if n.ID != c.Primary.Node && n.Report != nil && n.Report.SystemID != 0 {
				g.Record[i].K = 1
				g.Record[i].Members = append(slices.Clone(g.Record[i].Members), fsm.Member{Node: n.ID, Generation: n.Report.Generation})
			}
		}
	}
	d := fsm.Decide(g, at)
	d.Group.Record = slices.Clone(d.Group.Record)
	for i, c := range d.Group.Record {
		if was, ok := changed[c.Seq]; ok {
			d.Group.Record[i] = was
		}
	}
	return d
}

// promoDrop: the record is replaced when the candidate says that it is promoted, not when it has settled (S4).
func promoDrop(g *fsm.Group) {
	c, ok := g.Record.Current()
	if !ok {
		return
	}
	for i := range g.Nodes {
		r := g.Nodes[i].Report
		if g.Nodes[i].ID == c.Primary.Node && r != nil && r.Server.Status == fsm.ServerRunning && !r.Server.Recovery && r.Obeyed == g.Nodes[i].Goal.Stamp {
			r.Settled = c.Seq
		}
	}
}

// promoLate: the candidate's configuration counts only when the candidate says that it is promoted (S4).
func promoLate(g fsm.Group, at fsm.Instant) fsm.Decision {
	c, ok := g.Record.Current()
	if !ok || len(g.Record) < 2 || c.Epoch == g.Record[0].Epoch {
		return fsm.Decide(g, at)
	}
	for _, n := range g.Nodes {
		if n.ID == c.Primary.Node && n.Report != nil && n.Report.Server.Status == fsm.ServerRunning && !n.Report.Server.Recovery {
			return fsm.Decide(g, at)
		}
	}
	g.Record = slices.Clone(g.Record)
	g.Record[len(g.Record)-1] = g.Record[0]
	g.Record[len(g.Record)-1].Seq, g.Record[len(g.Record)-1].Epoch = c.Seq, c.Epoch
	d := fsm.Decide(g, at)
	d.Group.Record = slices.Clone(d.Group.Record)
	for i := range d.Group.Record {
		if d.Group.Record[i].Seq == c.Seq && d.Group.Record[i].Epoch == c.Epoch {
			d.Group.Record[i] = c
		}
	}
	return d
}

// minority: one vote is enough for every configuration.
func minority(g fsm.Group, at fsm.Instant) fsm.Decision {
	ks := map[uint64]int{}
	g.Record = slices.Clone(g.Record)
	if g.Election != nil {
		for i := range g.Record {
			if c := g.Record[i]; c.K > 0 && len(c.Members) > c.K {
				ks[c.Seq] = c.K
				g.Record[i].K = len(c.Members)
			}
		}
	}
	d := fsm.Decide(g, at)
	d.Group.Record = slices.Clone(d.Group.Record)
	for i, c := range d.Group.Record {
		if k, ok := ks[c.Seq]; ok {
			d.Group.Record[i].K = k
		}
	}
	return d
}

// TestMutations breaks one rule at a time: the search must find out.
func TestMutations(t *testing.T) {
	cases := []struct {
		name  string
		wrong Options
	}{
		{"minority", Options{Nodes: 3, decide: minority}},
		{"notstopped", Options{Nodes: 3, broken: notStopped}},
		{"ignorek0", Options{Nodes: 2, decide: ignoreK0}},
		{"promodrop", Options{Nodes: 3, decide: decideOn(promoDrop)}},
		{"promolate", Options{Nodes: 3, decide: promoLate}},
	}
	if raceEnabled {
		cases = cases[:1] // the others take a minute
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := hunt(c.wrong)
			t.Logf("%s, after %d steps", r.Violation, r.States)
			if r.Violation == "" {
				t.Errorf("nothing was found")
			}
		})
	}
}

// hunt walks until P1 or P2 is broken.
func hunt(o Options) Result {
	var total Result
	for seed := uint64(1); seed <= 6 && total.Violation == ""; seed++ {
		o.Nodes, o.Faults, o.Commits, o.Commands, o.Promotions = max(o.Nodes, 2), 6, 4, 2, 6
		r := Walks(o, seed, 4000, 120)
		r.States += total.States
		total = r
	}
	return total
}
