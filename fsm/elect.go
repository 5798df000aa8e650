package fsm

import (
	"slices"
	"time"
)

// forwardPatience is how long a fast_forward may take before the most advanced voter is chosen as it is.
const forwardPatience = 10 * time.Second

// forcedPatience is how long an election with consent to a loss waits for nodes that were heard.
const forcedPatience = 5 * time.Second

// elect begins an election. A planned one drains the primary first; any other asks for votes at once.
func (d *decider) elect(e Election, format string, args ...any) {
	e.Seq, e.Began = d.seq, d.now
	d.g.Election = &e
	d.event("election", 0, format, args...)
	if e.Planned {
		if d.holds() {
			return
		}
		d.phase(PhaseDraining)
		return
	}
	d.askVotes()
}

// attend has the standbys that stream from a primary that is about to hand over vote as soon as they have the end of its log, so that nobody waits for its own
// word. That is of use where their votes cover the record.
func (d *decider) attend() {
	p := d.primary()
	if !d.inPhase(PhaseDraining) || p == nil || !d.g.Record.CoveredBy(d.voices(p)) {
		return
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if s, ok := seenBy(p, n); n.ID == p.ID || d.cannotVote(n) != "" || !ok || !s.Streaming {
			continue
		}
		if n.Goal.State != StateSecondary && n.Goal.State != StateCatchingUp {
			continue
		}
		d.assign(n, StateReportLSN, "its vote is asked for with the end of the log of node %s", p.Name)
		n.Goal.AwaitEnd = true
	}
}

func (d *decider) phase(p Phase) {
	d.g.Election.Phase, d.g.Election.PhaseBegan = p, d.now
	d.wakeAt(d.now.Add(time.Millisecond))
}

// heard returns the nodes other than one whose keepers were heard and whose data could vote, running or not: in an election an old primary is
// started as a voter.
func (d *decider) heard(except *Node) []Member {
	var all []Member
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; (except == nil || n.ID != except.ID) && d.live(n) && hasVoice(n) {
			all = append(all, member(n))
		}
	}
	return all
}

// askVotes begins a round of voting: every node with data is asked under a new stamp, so that no older vote counts (S5). The primary of a serving goal
// is not asked: its keeper restarts it in place meanwhile.
func (d *decider) askVotes() {
	d.phase(PhaseVoting)
	d.g.Election.Candidate, d.g.Election.Source = 0, 0
	p := d.primary()
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if !hasVoice(n) {
			continue
		}
		if p != nil && n.ID == p.ID && (n.Goal.State.Serves() && !d.reigned(n) || n.Goal.State.Drains() || n.Goal.State == StateDemoted) {
			continue
		}
		if d.holder(n) { // it keeps its state, and is told to receive no more
			d.renew(n)
			continue
		}
		d.assign(n, StateReportLSN, "a vote is asked for: %s", d.g.Election.Reason)
		d.renew(n)
	}
}

// reigned reports whether the node's serving goal is a promotion of a later epoch than another configuration's: it was a candidate.
func (d *decider) reigned(n *Node) bool {
	for _, c := range d.g.Record {
		if c.Primary.Node != n.ID {
			return true
		}
	}
	return false
}

func (d *decider) inPhase(p Phase) bool { return d.g.Election != nil && d.g.Election.Phase == p }

// logEnded goes on with a planned election when a standby votes with the end of the old primary's log, which need not have said so itself by then: nobody
// who has voted lets it acknowledge anything (S5), and whoever is chosen has all that it wrote.
func (d *decider) logEnded() bool {
	p := d.primary()
	if !d.inPhase(PhaseDraining) || p == nil {
		return false
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if at, ok := vote(n); ok && n.Goal.AwaitEnd && n.Report.Vote.Ended && d.live(n) {
			d.event("drained", p.ID, "node %s has the end of its log, %v", n.Name, at.LSN)
			d.phase(PhaseVoting)
			return true
		}
	}
	return false
}

// lateVoters are the nodes that were to vote with the end of the old primary's log and have not.
func (d *decider) lateVoters() []*Node {
	var late []*Node
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if _, ok := vote(n); n.Goal.State == StateReportLSN && n.Goal.AwaitEnd && (!ok || !n.Report.Vote.Ended) {
			late = append(late, n)
		}
	}
	return late
}

// drained goes on with a planned election when the old primary is down and has said where its log ends: nobody waits for more of it any longer.
func (d *decider) drained() bool {
	p := d.primary()
	if e := d.g.Election; e == nil || !e.Planned || p == nil || p.Report == nil || !p.Goal.State.Drains() {
		return false
	}
	late := d.lateVoters()
	if !d.inPhase(PhaseDraining) && (!d.inPhase(PhaseVoting) || len(late) == 0) {
		return false
	}
	r := p.Report
	if r.Drained == 0 || r.Reached != p.Goal.Stamp || r.State.Serves() {
		d.refuse(p.ID, false, "", "the old primary is still handing over")
		return false
	}
	if d.inPhase(PhaseVoting) {
		for _, n := range late {
			d.renew(n)
		}
		return true
	}
	d.event("drained", p.ID, "its log ends at %v", r.Drained)
	d.askVotes()
	if !d.g.Record.CoveredBy(d.voices(p)) {
		// Only its own last word covers the record. A draining node may start again by its deadline, a demoted one may not.
		d.assign(p, StateDemoted, "only its own vote covers the record")
	}
	return true
}

// voices returns the members that could vote now, without p.
func (d *decider) voices(p *Node) []Member {
	var all []Member
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != p.ID && d.cannotVote(n) == "" {
			all = append(all, member(n))
		}
	}
	return all
}

// drainFailed abandons a planned election whose old primary went back to serving by its deadline, or never stopped, or for whom nobody is left.
func (d *decider) drainFailed() bool {
	e, p := d.g.Election, d.primary()
	if e == nil || !e.Planned || e.Candidate != 0 || p == nil || p.Report == nil || !d.mayAbandon() {
		return false
	}
	deadline := ms(d.g.Settings.DrainDeadlineMS)
	switch {
	case p.Report.Reached == p.Goal.Stamp && p.Report.State.Serves() && d.readWrite(p):
		d.abandon("the old primary serves again by its deadline")
		return true
	case d.live(p) && (p.Report.Server.Status == ServerCrashed || p.Report.Reached == p.Goal.Stamp && p.Report.Server.Status == ServerStopped && p.Report.Drained == 0):
		d.unplan(p, "it crashed while it handed over")
		return true
	case d.live(p) && !d.succession(p):
		d.abandon("nobody can take over any more")
		return true
	case e.Phase == PhaseHolding && d.unheld() != "":
		d.abandon(d.unheld())
		return true
	case d.now.Sub(e.Began) > 3*deadline && d.live(p) && e.Phase == PhaseDraining:
		d.abandon("the old primary did not stop in time")
		return true
	case d.now.Sub(max(p.Heard, e.Began)) > ms(d.g.Settings.NodeLostAfterMS)+deadline:
		d.unplan(p, "it fell silent while it handed over")
		return true
	case d.now.Sub(e.PhaseBegan) > deadline && e.Phase == PhaseVoting && d.live(p):
		d.abandon("no successor was ready in time")
		return true
	}
	d.wakeAt(d.now.Add(time.Second))
	return false
}

// succession reports whether the nodes heard now, with the old primary's last word where only that covers the record, could still end a planned election.
func (d *decider) succession(p *Node) bool {
	all := d.voices(p)
	for i := range d.g.Nodes { // one whose server is on its way up may vote yet: the election's deadlines bound the wait
		if n := &d.g.Nodes[i]; n.ID != p.ID && d.live(n) && hasVoice(n) && n.Goal.State == StateReportLSN && n.Report.Server.Status == ServerStarting {
			all = append(all, member(n))
		}
	}
	if len(all) > 0 && !d.g.Record.CoveredBy(all) {
		if cur, _ := d.g.Record.Current(); cur.K == 0 {
			all = append(all, member(p))
		}
	}
	return d.g.Record.CoveredBy(all)
}

// unplan turns a planned election into an ordinary one: the old primary gets its serving goal back, as after any crash, and votes decide.
func (d *decider) unplan(p *Node, why string) {
	d.serveAgain(p, why)
	d.g.Election.Planned, d.g.Election.Hold = false, false
	d.askVotes()
}

// resumed abandons an election whose primary is back, before anybody was chosen: it alone covers the record, and no promotion goal exists.
func (d *decider) resumed() bool {
	e, p := d.g.Election, d.primary()
	if !d.inPhase(PhaseVoting) && !d.inPhase(PhaseFastForward) || p == nil || !p.Goal.State.Serves() || d.reigned(p) {
		return false
	}
	if !d.readWrite(p) || p.Report.Obeyed != p.Goal.Stamp || p.Heard <= e.Began || !d.g.Record.CoveredBy([]Member{member(p)}) {
		return false
	}
	if d.failure(p) != "" {
		return false
	}
	d.abandon("the primary is back before anybody was chosen")
	return true
}

// abandon ends an election without a change: the old primary serves under its old configuration and a higher sequence, the voters follow it again.
func (d *decider) abandon(why string) {
	p := d.primary()
	d.event("abandoned", p.ID, "%s", why)
	d.g.Election = nil
	d.serveAgain(p, why)
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID {
			continue
		}
		switch n.Goal.State {
		case StateReportLSN, StateFastForward, StatePreparePromotion, StateDemoted:
			d.assign(n, d.standbyState(p, n), "%s", why)
		default:
		}
	}
	if p.Maintenance {
		p.Maintenance = false
		d.event("command", p.ID, "maintenance given up: %s", why)
	}
	if p.Dropping {
		p.Dropping = false
		d.event("command", p.ID, "drop given up: %s", why)
	}
}

func (d *decider) serveAgain(p *Node, why string) {
	d.assign(p, d.servingState(), "%s", why)
	d.renew(p)
}

// neverStarted takes a configuration out of the record whose primary says, under this election's stamp, that it never began that promotion.
func (d *decider) neverStarted() bool {
	if !d.inPhase(PhaseVoting) {
		return false
	}
	for i, c := range d.g.Record {
		n := d.node(c.Primary.Node)
		if len(d.g.Record) == 1 || i == 0 || n == nil || member(n) != c.Primary || n.Goal.State != StateReportLSN {
			continue
		}
		// It cannot begin any more once it has obeyed this goal; that it votes as well is not needed.
		if n.Report == nil || n.Report.Obeyed != n.Goal.Stamp || began(n.Report, c.Epoch) {
			continue
		}
		d.g.Record = append(d.g.Record[:i:i], d.g.Record[i+1:]...)
		d.event("record", n.ID, "it never began its promotion of epoch %d", c.Epoch)
		return true
	}
	return false
}

func began(r *Report, epoch uint64) bool {
	for _, p := range r.Promotions {
		if p.Epoch == epoch {
			return true
		}
	}
	return r.Position.Epoch >= epoch
}

// joinVote asks nodes that came back or became able to vote while votes are taken.
func (d *decider) joinVote() bool {
	if !d.inPhase(PhaseVoting) {
		return false
	}
	p := d.primary()
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Goal.State == StateReportLSN || d.holder(n) || !hasVoice(n) && !returned(n) || n.Goal.State == StateDemoted && (p == nil || n.ID == p.ID) && !mute(n) {
			continue
		}
		if p != nil && n.ID == p.ID && (n.Goal.State.Serves() && !d.reigned(n) || n.Goal.State.Drains()) {
			continue
		}
		d.renew(n)
		return d.assign(n, StateReportLSN, "a vote is asked for: %s", d.g.Election.Reason)
	}
	return false
}

// returned reports whether an operator gave the node back while an election was under way.
func returned(n *Node) bool {
	return n.Goal.State == StateMaintenance && !n.Maintenance && n.Report != nil && n.Report.SystemID != 0
}

// mute reports whether a demoted node is down and has no last word: it was not stopped in order, so that only a start tells how far its log goes.
func mute(n *Node) bool {
	r := n.Report
	return r != nil && r.Reached == n.Goal.Stamp && r.State == StateDemoted && r.Drained == 0
}

// elected ends the election when the candidate runs outside recovery on the timeline that it was ordered.
func (d *decider) elected() bool {
	if !d.inPhase(PhasePromoting) {
		return false
	}
	c := d.node(d.g.Election.Candidate)
	if c == nil || !d.readWrite(c) || c.Report.Server.Timeline != c.Goal.Timeline {
		return false
	}
	if d.g.Election.Hold {
		if !d.routed(c) {
			return false
		}
		d.releaseOld(c)
	}
	d.event("elected", c.ID, "it runs read-write on timeline %d, %d ms after the election began", c.Goal.Timeline, d.now.Sub(d.g.Election.Began).Milliseconds())
	d.g.Election = nil
	return true
}

// stuck reports whether a candidate that is heard will not serve by itself soon: votes taken anew are safe at any time, and cost one.
func (d *decider) stuck(c *Node) bool {
	switch s := c.Report.Server.Status; {
	case s == ServerCrashed, s == ServerAbsent:
		return true
	case c.Report.Obeyed == c.Goal.Stamp && c.Report.Problem != nil && slices.Contains(disabling, c.Report.Problem.Code):
		return true
	default:
		return s != ServerRunning && s != ServerStarting && d.now.Sub(d.g.Election.PhaseBegan) > ms(d.g.Settings.NodeUnreachableAfterMS)
	}
}

// candidateLost takes the votes anew when the candidate failed before it served. Its configuration is in the record, so it must be covered too.
func (d *decider) candidateLost() bool {
	if !d.inPhase(PhasePromoting) {
		return false
	}
	e := d.g.Election
	c := d.node(e.Candidate)
	if c == nil || d.live(c) && !d.stuck(c) {
		d.wakeAt(d.now.Add(ms(d.g.Settings.NodeLostAfterMS)))
		return false
	}
	if c.Heard < e.PhaseBegan && d.now.Sub(e.PhaseBegan) <= ms(d.g.Settings.NodeLostAfterMS) {
		d.wakeAt(e.PhaseBegan.Add(ms(d.g.Settings.NodeLostAfterMS)))
		return false
	}
	// A candidate that lives and has lost its data can still say that it never began, which is all that its configuration waits for.
	empty := d.live(c) && c.Report.Server.Status == ServerAbsent
	if heard := d.heard(c); !empty && !d.g.Record.CoveredBy(heard) {
		d.refuse(c.ID, !d.live(c), "bring node "+c.Name+" back, or accept a loss: autoctl perform failover --allow-data-loss",
			"the candidate failed before it served, and the others cannot do without it; needed: %s", d.missing(heard))
		return false
	}
	d.event("candidate_lost", c.ID, "it failed before it served")
	e.Hold = false
	d.askVotes()
	if empty {
		d.assign(c, StateReportLSN, "it is asked whether it began its promotion")
		d.renew(c)
	}
	for i := range d.g.Nodes { // the old primary is a voter like any other now
		if n := &d.g.Nodes[i]; n.Goal.State == StateDemoted && hasVoice(n) {
			d.assign(n, StateReportLSN, "a vote is asked for: the candidate failed")
			d.renew(n)
		}
	}
	return true
}
