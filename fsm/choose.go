package fsm

import (
	"cmp"
	"slices"
	"time"
)

// ballot is one vote as the election counts it.
type ballot struct {
	node *Node
	at   Position
}

// ballots returns the votes of the present election. A candidate in fast_forward keeps the vote that it cast: it can only have more since.
func (d *decider) ballots() []ballot {
	var all []ballot
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if at, ok := vote(n); ok {
			all = append(all, ballot{n, at})
		} else if n.Goal.State == StateFastForward && n.Report != nil && d.g.Election.Candidate == n.ID {
			all = append(all, ballot{n, n.Report.Position})
		}
	}
	return all
}

func voters(all []ballot) []Member {
	var ms []Member
	for _, b := range all {
		ms = append(ms, member(b.node))
	}
	return ms
}

// suffice reports whether the votes cover the record: what is left of it after the newest epoch that a voter's log is of. See [Record.since].
func (d *decider) suffice(all []ballot) bool { return d.owed(all).CoveredBy(voters(all)) }

// owed is that part of the record; all of it where the record does not know of that epoch, as that of a monitor that was restored may not.
func (d *decider) owed(all []ballot) Record {
	epoch := uint64(0)
	for _, b := range all {
		epoch = max(epoch, b.at.Epoch)
	}
	if rest := d.g.Record.since(epoch); len(rest) > 0 {
		return rest
	}
	return d.g.Record
}

// covered reports whether the votes suffice: they cover the record, or an operator consented to a loss.
func (d *decider) covered(all []ballot) bool {
	if d.suffice(all) {
		return true
	}
	return d.g.Election.AllowDataLoss && len(all) > 0
}

// choose elects as soon as the votes cover the record and nobody who was heard is still expected to vote.
func (d *decider) choose() bool {
	if !d.inPhase(PhaseVoting) {
		return false
	}
	all := d.counted(d.ballots())
	if !d.covered(all) {
		d.refuse(0, d.hopeless(), "bring a node back, or accept a loss: autoctl perform failover --allow-data-loss",
			"the votes do not cover the record: %s", d.missingFrom(d.owed(all), voters(all)))
		return false
	}
	if d.pending(all) {
		return false
	}
	top := slices.MaxFunc(all, func(a, b ballot) int { return a.at.Compare(b.at) })
	best, ok := d.best(all)
	if !ok {
		if d.wakeVoter(d.ballots()) {
			return true
		}
		d.refuse(0, true, "autoctl set node candidate-priority, or autoctl perform promotion --name NODE", "nobody who voted may be elected")
		return false
	}
	if best.at.Compare(top.at) < 0 {
		return d.behind(best, top)
	}
	if d.short(best) {
		return false
	}
	d.promote(best.node, all)
	return true
}

// counted leaves out votes that would only be waited for. Whoever fell silent since takes its vote along, and so does a stopped old primary, where the
// others cover the record: nobody could fetch from it what it has, and nothing of that was acknowledged. With consent to a loss the silent are left out anyway.
func (d *decider) counted(all []ballot) []ballot {
	heard := slices.DeleteFunc(slices.Clone(all), func(b ballot) bool { return !d.live(b.node) })
	up := slices.DeleteFunc(slices.Clone(heard), func(b ballot) bool { return b.node.Goal.State == StateDemoted })
	switch {
	case d.suffice(up):
		return up
	case d.g.Election.AllowDataLoss && len(heard) > 0:
		return heard
	}
	return all
}

// wakeVoter starts a stopped voter, in recovery, where nobody else may be elected.
func (d *decider) wakeVoter(all []ballot) bool {
	for _, b := range all {
		n := b.node
		if n.Goal.State != StateDemoted || n.ID == d.g.Election.Excluded || !d.live(n) || cannotLead(n, d.g.Election.Preferred) != "" {
			continue
		}
		d.renew(n)
		return d.assign(n, StateReportLSN, "nobody else who voted may be elected")
	}
	return false
}

// hopeless reports whether nobody who could still vote was heard.
func (d *decider) hopeless() bool {
	return !d.g.Record.CoveredBy(d.heard(nil))
}

// heirPatience is how long a planned election waits, at least, for the vote of a node that would be preferred to all who have voted.
const heirPatience = 1500 * time.Millisecond

// pending reports whether a node that was heard may still vote within the election's patience. A planned election has more of it with an heir: the
// operator's wish is worth a longer pause.
func (d *decider) pending(all []ballot) bool {
	e := d.g.Election
	patience := ms(d.g.Settings.ElectionPatienceMS)
	if !d.suffice(all) {
		patience = forcedPatience
	}
	best, some := d.best(all)
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if _, voted := vote(n); n.Goal.State != StateReportLSN && !d.holder(n) || voted || !d.live(n) || !d.standby(n) && n.Report.Server.Status != ServerStarting {
			continue
		}
		until := e.PhaseBegan.Add(patience)
		if e.Planned && some && d.mayLead(n) && d.prefers(n, best.node) < 0 {
			until = e.PhaseBegan.Add(max(patience, heirPatience))
		}
		if d.now < until {
			d.wakeAt(until)
			return true
		}
	}
	return false
}

// prefers compares two nodes by the operator's choice, then by whether the monitor's probe reaches them, then by priority: negative when a comes first.
// One that the probe does not reach may still be elected: it may be the only one, and clients may reach it.
func (d *decider) prefers(a, b *Node) int {
	switch e := d.g.Election; {
	case a.ID == b.ID:
		return 0
	case a.ID == e.Preferred:
		return -1
	case b.ID == e.Preferred:
		return 1
	}
	return cmp.Or(cmp.Compare(d.reach(a), d.reach(b)), cmp.Compare(b.Priority, a.Priority))
}

// outOfReach reports whether the monitor's probe reaches the primary and not a node that might follow it: clients would not reach it either. Where the
// probe reaches neither, it says nothing about the node.
func (d *decider) outOfReach(p, n *Node) bool {
	return d.unprobed(n) && p != nil && !d.unprobed(p)
}

// reach orders those that the monitor's probe reaches before the others.
func (d *decider) reach(n *Node) int {
	if d.unprobed(n) {
		return 1
	}
	return 0
}

// mayLead reports whether a node may be elected in the present election.
func (d *decider) mayLead(n *Node) bool {
	e := d.g.Election
	switch {
	case n.Goal.State != StateReportLSN && n.Goal.State != StateFastForward && !d.holder(n), n.ID == e.Excluded, n.Maintenance, n.Dropping, !d.live(n):
		return false
	}
	return n.Cluster == "" && (cannotLead(n, e.Preferred) == "" || e.AllowDataLoss)
}

// best returns whom to prefer among the voters: the operator's choice, then reach, then priority, then position, then the lowest id. With Direct set, position
// comes first: fetching was tried in vain.
func (d *decider) best(all []ballot) (ballot, bool) {
	e := d.g.Election
	eligible := slices.DeleteFunc(slices.Clone(all), func(b ballot) bool {
		return !d.mayLead(b.node)
	})
	if len(eligible) == 0 {
		return ballot{}, false
	}
	return slices.MinFunc(eligible, func(a, b ballot) int {
		if e.Direct {
			if c := b.at.Compare(a.at); c != 0 {
				return c
			}
		}
		return cmp.Or(d.prefers(a.node, b.node), b.at.Compare(a.at), cmp.Compare(a.node.ID, b.node.ID))
	}), true
}

// behind handles a preferred candidate that lacks what another voter has: it fetches it, unless only a stopped primary has it.
func (d *decider) behind(best, top ballot) bool {
	e := d.g.Election
	if top.node.Goal.State != StateReportLSN || !d.standby(top.node) {
		if e.Planned && d.mayAbandon() {
			d.abandon("no candidate has the whole log of the old primary")
			return true
		}
		if top.node.Goal.State != StateDemoted || !hasVoice(top.node) {
			d.refuse(best.node.ID, false, "", "waits for node %s, which has more of the log and does not run", top.node.Name)
			return false
		}
		d.renew(top.node)
		return d.assign(top.node, StateReportLSN, "its log is needed: it is the most advanced")
	}
	if e.Direct {
		d.refuse(0, true, "autoctl set node candidate-priority "+top.node.Name, "only node %s has the whole log, and it may not be elected", top.node.Name)
		return false
	}
	e.Candidate, e.Source = best.node.ID, top.node.ID
	d.phase(PhaseFastForward)
	d.assign(best.node, StateFastForward, "preferred, and behind node %s: %v of %v", top.node.Name, best.at.LSN, top.at.LSN)
	d.renew(best.node)
	return true
}

// mayAbandon reports whether the old primary may simply go on: no later configuration than its own is in the record.
func (d *decider) mayAbandon() bool {
	p := d.primary()
	if p == nil || d.reigned(p) {
		return false
	}
	return p.Goal.State.Drains() || p.Goal.State == StateDemoted
}

// short abandons a planned election whose best candidate lacks the end of the old primary's log.
func (d *decider) short(best ballot) bool {
	p := d.primary()
	if !d.g.Election.Planned || p == nil || p.Report == nil || p.Report.Drained == 0 || p.Report.SystemID == 0 || !d.mayAbandon() {
		return false
	}
	if best.at.LSN >= p.Report.Drained {
		return false
	}
	d.refuse(best.node.ID, false, "", "the candidate has %v, the old primary's log ends at %v", best.at.LSN, p.Report.Drained)
	return true
}

// fastForwarded promotes the preferred candidate when it has what its source has, if the votes still cover the record.
func (d *decider) fastForwarded() bool {
	if !d.inPhase(PhaseFastForward) {
		return false
	}
	c := d.node(d.g.Election.Candidate)
	if c == nil || c.Report == nil || !d.live(c) || c.Report.Obeyed != c.Goal.Stamp || c.Goal.Upstream == nil {
		return false
	}
	if c.Report.Position.Compare(c.Goal.Upstream.Until) < 0 || c.Goal.Upstream.Until == (Position{}) {
		return false
	}
	all := d.ballots()
	if !d.covered(all) {
		return false
	}
	d.promote(c, all)
	return true
}

// sourceLost takes the votes anew when a fast_forward cannot end: its source takes its vote along.
func (d *decider) sourceLost() bool {
	e := d.g.Election
	if !d.inPhase(PhaseFastForward) {
		return false
	}
	c, s := d.node(e.Candidate), d.node(e.Source)
	late := d.now.Sub(e.PhaseBegan) > forwardPatience
	if c != nil && s != nil && d.live(c) && d.standby(s) && !late {
		d.wakeAt(e.PhaseBegan.Add(forwardPatience + time.Millisecond))
		return false
	}
	d.event("source_lost", e.Source, "the candidate could not fetch what it lacks")
	if late {
		e.Direct = true
	}
	d.askVotes()
	return true
}

// promote is the choice. The candidate's configuration is in the record before it hears of it (S4): k ≥ 1 over the survivors where a second node
// voted; with nobody else, k = 0 for number_sync_standbys 0, and writes wait otherwise. The timeline is above any seen or ordered (S3).
func (d *decider) promote(c *Node, all []ballot) {
	e, old := d.g.Election, d.primary()
	forced := e.AllowDataLoss && !d.suffice(all)
	d.g.Epoch++
	order := Order{Timeline: d.nextTimeline(), Epoch: d.g.Epoch, Node: c.ID}
	d.g.Orders = append(d.g.Orders, order)
	conf := Configuration{Seq: d.seq, Epoch: d.g.Epoch, Primary: member(c), Members: d.survivors(c, all)}
	if len(conf.Members) > 0 || d.g.NumberSync > 0 {
		conf.K = max(1, d.g.NumberSync)
	}
	if forced {
		d.event("data_loss", c.ID, "an operator accepted that commits may be lost: the votes did not cover the record")
		d.g.Record = nil
	}
	d.g.Record = append(d.g.Record, conf)
	e.Candidate = c.ID
	d.phase(PhasePromoting)
	d.assign(c, d.servingState(), "elected with %d votes, at %v of epoch %d", len(all), c.Report.Position.LSN, c.Report.Position.Epoch)
	d.renew(c)
	// After an accepted loss with fewer survivors than k nobody is elected without this node's word, so that what its clients see is not lost.
	c.Goal.Confirmed = replicated(c, conf, all) || forced && len(conf.Members) < conf.K
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		switch {
		case n.ID == c.ID:
		case e.Hold && n.Goal.State.Drains(): // it answers readers until the writes go to its successor
		case old != nil && n.ID == old.ID && n.Goal.State != StateReportLSN, n.Goal.State.Serves(), n.Goal.State.Drains():
			d.assign(n, StateDemoted, "node %s takes over", c.Name)
		case n.Goal.State == StateReportLSN, n.Goal.State == StateFastForward, n.Goal.State == StatePreparePromotion, n.Goal.State == StateSecondary, n.Goal.State == StateCatchingUp:
			d.assign(n, d.standbyState(c, n), "node %s takes over", c.Name)
		}
	}
}

// replicated reports whether, by the votes, k members of a candidate's configuration hold its whole log.
func replicated(c *Node, conf Configuration, all []ballot) bool {
	end, have := Position{}, 0
	for _, b := range all {
		if b.node.ID == c.ID {
			end = b.at
		}
	}
	for _, b := range all {
		if b.node.ID != c.ID && slices.Contains(conf.Members, member(b.node)) && b.at.Compare(end) >= 0 {
			have++
		}
	}
	return conf.K > 0 && have >= conf.K && end != Position{}
}

func (d *decider) nextTimeline() Timeline {
	var top Timeline
	for _, o := range d.g.Orders {
		top = max(top, o.Timeline)
	}
	for _, n := range d.g.Nodes {
		if n.Report == nil {
			continue
		}
		top = max(top, n.Report.Server.Timeline, n.Report.Position.Timeline)
		for _, p := range n.Report.Promotions {
			top = max(top, p.Timeline)
		}
	}
	return top + 1
}

// survivors returns the members of a candidate's first configuration: the other voters that may be members and are nearly level.
func (d *decider) survivors(c *Node, all []ballot) []Member {
	var out []Member
	for _, b := range all {
		n := b.node
		if n.ID == c.ID || !n.Quorum || n.Maintenance || n.Dropping || n.Goal.State != StateReportLSN || !d.standby(n) {
			continue
		}
		at := c.Report.Position
		if b.at.Epoch == at.Epoch && int64(at.LSN)-int64(b.at.LSN) < d.g.Settings.CatchupBytes || b.at.Compare(at) == 0 {
			out = append(out, member(n))
		}
	}
	return out
}
