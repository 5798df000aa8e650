package fsm

import (
	"cmp"
	"slices"
	"time"
)

// A planned hand-over of a group of a Citus formation loses no statement of other nodes' clients (design section 9): the old primary goes on answering while the group's
// writes are held on every node of the formation, by the keeper of the node that is to take over. Then the votes are taken, which is what makes it safe: the members that
// voted acknowledge nothing to the old primary any more. The new primary's keeper sends the held writes to it; only then the old primary is stopped.

// holds begins a hand-over with the writes held, where one is possible: in a group whose standbys cover the record without the primary's own word.
func (d *decider) holds() bool {
	e, p := d.g.Election, d.primary()
	cur, _ := d.g.Record.Current()
	if d.g.Kind != KindCitus || cur.K == 0 || p == nil || !d.g.Record.CoveredBy(d.voices(p)) {
		return false
	}
	heir := d.heir(p)
	if heir == nil {
		return false
	}
	e.Hold, e.Preferred = true, heir.ID
	d.phase(PhaseHolding)
	d.assign(heir, StatePreparePromotion, "it is to take over: the group's writes are held first")
	return true
}

// heir is who is to take over from a primary that serves: whom the operator named, else the one that the election would prefer.
func (d *decider) heir(p *Node) *Node {
	var best *Node
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || n.ID == d.g.Election.Excluded || n.Goal.State != StateSecondary || d.cannotVote(n) != "" || cannotLead(n, d.g.Election.Preferred) != "" || !d.keepsUp(p, n) {
			continue
		}
		if best == nil || cmp.Or(d.prefers(n, best), cmp.Compare(n.ID, best.ID)) < 0 {
			best = n
		}
	}
	return best
}

// holder reports whether the node holds the group's writes in the present election, and votes without another state.
func (d *decider) holder(n *Node) bool {
	return d.g.Election != nil && d.g.Election.Hold && n.ID == d.g.Election.Preferred && n.Goal.State == StatePreparePromotion
}

// held goes on with a hand-over once the writes are held, and the node that is to take over has all that was written before.
func (d *decider) held() bool {
	if !d.inPhase(PhaseHolding) {
		return false
	}
	n := d.node(d.g.Election.Preferred)
	if n == nil || n.Report == nil || n.Report.Obeyed != n.Goal.Stamp || n.Report.Held != d.g.Election.Seq {
		d.refuse(d.g.Election.Preferred, false, "", "the group's writes are not held yet")
		return false
	}
	d.event("held", n.ID, "the group's writes are held")
	d.askVotes()
	return true
}

// unheld says why a hand-over is given up before the votes: who was to hold the writes cannot, or takes too long; "" while it may.
func (d *decider) unheld() string {
	n := d.node(d.g.Election.Preferred)
	switch {
	case n == nil || !d.live(n):
		return "who was to take over is silent"
	case n.Report.Obeyed == n.Goal.Stamp && n.Report.Problem != nil && n.Report.Problem.Code == CodeNotHeld:
		return n.Report.Problem.Text
	case d.now.Sub(d.g.Election.Began) > d.holdPatience():
		return "the group's writes could not be held in time"
	}
	return ""
}

// holdPatience is for how long the writes may be in the getting: who holds them gives transactions twice the grace, and 3 s to end.
func (d *decider) holdPatience() time.Duration {
	return max(2*ms(d.g.Settings.DrainDeadlineMS), 2*ms(d.g.Settings.CitusGraceMS)+10*time.Second)
}

// CodeNotHeld is the code of a problem that says why a group's writes cannot be held.
const CodeNotHeld = "not_held"

// routed reports whether the old primary may be stopped: the held writes, and readers, go to the new one, and what the old one was doing for other nodes has ended, or that takes
// longer than it is worth. It is given the grace of transactions.
func (d *decider) routed(c *Node) bool {
	e := d.g.Election
	patience := ms(d.g.Settings.CitusGraceMS) + ms(d.g.Settings.DrainDeadlineMS)/2
	old := slices.IndexFunc(d.g.Nodes, func(n Node) bool { return n.Goal.State.Drains() && d.readWrite(&n) })
	if c.Report.Routed == e.Seq || old < 0 || d.now.Sub(e.PhaseBegan) > patience {
		return true
	}
	d.refuse(c.ID, false, "", "the group's statements are not sent to it yet")
	d.wakeAt(e.PhaseBegan.Add(patience))
	return false
}

// releaseOld ends the service of an old primary that went on answering, whatever an operator wants of it next.
func (d *decider) releaseOld(c *Node) {
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != c.ID && n.Goal.State.Drains() {
			d.assign(n, StateDemoted, "node %s serves", c.Name)
		}
	}
}

// stopsFirst reports whether a former primary of a Citus formation has to say that it has stopped before it follows p, and whether it was told to only now: it is ended
// at once, before anything else (design section 9).
func (d *decider) stopsFirst(p, n *Node) (demoted, stops bool) {
	if d.g.Kind != KindCitus || !d.readWrite(n) && (n.Goal.State != StateDemoted || !d.live(n) || n.Report.Reached == n.Goal.Stamp) {
		return false, false
	}
	d.refuse(n.ID, false, "", "it follows as soon as it has stopped")
	return d.assign(n, StateDemoted, "node %s serves", p.Name), true
}
