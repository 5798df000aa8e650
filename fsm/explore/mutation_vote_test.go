package explore

import "github.com/autoctl/autoctl/fsm"

// The mutations of votes (S5, S6), and of what a keeper waits for (S16).

// staleVote: a vote counts although it answers an earlier election's goal (stalevote).
func staleVote(g *fsm.Group) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		if r := n.Report; r != nil && r.Vote != nil && n.Goal.State == fsm.StateReportLSN {
			r.Vote = &fsm.Vote{Stamp: n.Goal.Stamp, Position: r.Vote.Position}
			r.Obeyed = n.Goal.Stamp
		}
	}
}

// lengthOnly: the longest log wins, whatever epoch its end is of (lenonly).
func lengthOnly(g *fsm.Group) {
	for i := range g.Nodes {
		if r := g.Nodes[i].Report; r != nil && r.Vote != nil {
			v := *r.Vote
			v.Position.Epoch = g.Epoch
			r.Vote = &v
		}
	}
}

// planOn is a Plan that sees changed facts.
func planOn(change func(*fsm.Facts)) func(fsm.Goal, fsm.Facts) []fsm.Step {
	return func(goal fsm.Goal, f fsm.Facts) []fsm.Step {
		change(&f)
		return fsm.Plan(goal, f)
	}
}

// noGate: clients are admitted before anybody has confirmed the end of the log.
func noGate(f *fsm.Facts) { f.Server.Confirmed = true }

// patientStart: a server that starts is waited for, however long it gets nowhere.
func patientStart(f *fsm.Facts) {
	if f.Server.Status == fsm.ServerStarting {
		f.Server.StuckMS = 0
	}
}
