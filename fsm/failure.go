package fsm

import (
	"slices"
	"strings"
)

// disabling are the problems with which a keeper says that its data can never serve under the goal that it has.
var disabling = []string{"damaged_data", "no_data", "half_rewound", "foreign_data", "not_our_timeline", "past_timeline"}

// failure says why the primary must be taken for failed; "" while it must not. A stop or restart that was asked for is never
// a failure (H2): a keeper says "stopped" of those, "crashed" of the others. Three views count: the keeper's reports, the monitor's own
// probe, and the standbys' probes; one fresh view vetoes, the standbys' only until node_unreachable_after (S17, S18).
func (d *decider) failure(p *Node) string {
	s := d.g.Settings
	if p.Stopped {
		d.refuse(p.ID, true, "start it again with autoctl run, or let another node take over: autoctl perform failover", "it was stopped, as an operator asked")
		return ""
	}
	if d.live(p) {
		switch r := p.Report; {
		case r.Server.Status == ServerCrashed:
			return "primary_crashed"
		case r.Obeyed == p.Goal.Stamp && r.Problem != nil && slices.Contains(disabling, r.Problem.Code):
			return "primary_damaged"
		case r.Server.Status == ServerRunning && r.CommitAgeMS > s.StorageHungAfterMS:
			return "storage_hung"
		case r.Server.Status != ServerHung:
			return d.slow(p)
		}
	}
	lost := ms(s.NodeLostAfterMS)
	if p.Probed >= 0 && d.now.Sub(p.Probed) <= lost {
		if !d.live(p) && d.now.Sub(d.g.Since) > lost {
			d.refuse(p.ID, true, "start its keeper on "+p.Host+": autoctl run", "its server answers, and its keeper is not heard: the node is unattended")
		}
		d.wakeAt(p.Probed.Add(lost))
		return ""
	}
	heard := p.Heard
	if d.live(p) { // a hung server: its keeper's voice does not speak for it
		heard = p.Probed
	}
	silent := d.age(max(heard, p.Probed))
	if silent <= lost {
		d.wakeAt(d.now.Add(lost - silent))
		return ""
	}
	if by, until := d.vouched(p); by != 0 && silent <= ms(s.NodeUnreachableAfterMS) {
		d.refuse(p.ID, false, "", "the monitor does not reach the primary, but node %s does", d.name(by))
		d.wakeAt(until)
		d.wakeAt(d.now.Add(ms(s.NodeUnreachableAfterMS) - silent))
		return ""
	}
	if d.live(p) {
		return "primary_hung"
	}
	return "primary_silent"
}

// noteStopped remembers of each node whether the last word of its keeper was that it stops its server because somebody asked. It stays
// true however long the node is silent, and when the monitor has lost the report: an operator who wants another primary says so, before or after (H2).
func (d *decider) noteStopped() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		r := n.Report
		if r == nil || n.Stopped == stoppedOnPurpose(r) {
			continue
		}
		n.Stopped = !n.Stopped
		if n.Stopped {
			d.event("stopped", n.ID, "its server is stopped, as an operator asked")
		} else {
			d.event("started", n.ID, "it is no longer stopped as an operator asked")
		}
		return true
	}
	return false
}

// stoppedOnPurpose reports whether a keeper says that it is stopping or has stopped its server because an operator asked.
func stoppedOnPurpose(r *Report) bool {
	return r.Problem != nil && r.Problem.Code == ProblemStopping && (r.Server.Status == ServerStopped || r.Server.Asked)
}

// slow says why a primary whose keeper is heard and whose server is down counts as failed: crash recovery takes unknown time, and a server may not
// start at all. One that was stopped because somebody asked has no problem and is left alone (H2).
func (d *decider) slow(p *Node) string {
	r, patience := p.Report, ms(d.g.Settings.NodeUnreachableAfterMS)
	starting := r.Server.Status == ServerStarting
	failing := (r.Server.Status == ServerStopped || r.Server.Status == ServerAbsent) && r.Problem != nil
	if !starting && !failing {
		return ""
	}
	if starting && r.Server.Asked {
		if d.age(p.Probed) > patience {
			d.refuse(p.ID, true, "look at its log, or let another node take over: autoctl perform failover", "it takes long to stop or start, as somebody asked")
		}
		return ""
	}
	if down := d.age(p.Probed); down <= patience {
		d.wakeAt(d.now.Add(patience - down))
		return ""
	}
	return "primary_down"
}

// vouched returns a standby that has proof, younger than node_lost_after, that the primary lives, and until when the last such proof lasts; 0 for none.
func (d *decider) vouched(p *Node) (by NodeID, until Instant) {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || !d.live(n) || n.Report.PrimarySeenMS < 0 {
			continue
		}
		if lasts := n.Heard.Add(ms(d.g.Settings.NodeLostAfterMS) - ms(n.Report.PrimarySeenMS)); d.now <= lasts && (by == 0 || lasts > until) {
			by, until = n.ID, lasts
		}
	}
	return by, until
}

// primaryFailed starts an election when the primary has failed and somebody can be promoted now. Where nobody can, the
// primary's keeper restarts it in place under its unchanged goal.
func (d *decider) primaryFailed() bool {
	p := d.primary()
	if p == nil && len(d.g.Record) > 0 && d.g.Election == nil {
		d.refuse(0, true, "autoctl perform failover --allow-data-loss", "the node that served was dropped, and nobody else is known to hold all that it acknowledged")
	}
	if p == nil || d.g.Election != nil || !p.Goal.State.Serves() {
		return false
	}
	reason := d.failure(p)
	if reason == "" {
		if d.live(p) {
			d.wakeAt(p.Heard.Add(ms(d.g.Settings.NodeLostAfterMS)))
		}
		return false
	}
	if why, ok := d.promotable(p, 0); !ok {
		d.refuseElection(p, reason, why)
		return false
	}
	if d.poisoned() {
		d.refuse(p.ID, false, "autoctl perform failover", "the group has had %d unplanned failovers lately; the primary is restarted in place", len(d.g.Unplanned))
		return false
	}
	d.g.Unplanned = append(d.g.Unplanned, d.now)
	d.elect(Election{Reason: reason}, "node %s: %s", p.Name, inWords(reason))
	return true
}

// deposed stops a primary of an earlier reign that serves still, and that only a monitor of before knew as such: another has served after it (P2).
func (d *decider) deposed() bool {
	if d.primary() != nil || len(d.g.Record) == 0 || d.g.Election != nil {
		return false
	}
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; (n.Goal.State.Serves() || n.Goal.State.Drains()) && !n.Dropping {
			return d.assign(n, StateDemoted, "another node was primary after it")
		}
	}
	return false
}

func (d *decider) refuseElection(p *Node, reason string, why map[string]string) {
	cur, _ := d.g.Record.Current()
	human := !d.live(p) || reason == "primary_damaged" // neither comes back by itself
	if cur.K == 0 {
		d.refuse(p.ID, human, d.lastResort(p, "bring the node back", "accept the loss of what only it has"),
			"%s; commits were acknowledged by it alone, so that only it may serve", inWords(reason))
		return
	}
	if why["votes"] == "" {
		d.refuse(p.ID, human, "autoctl set node candidate-priority, or autoctl perform promotion --name NODE", "%s; nobody may be elected: %s", inWords(reason), join(why))
		return
	}
	d.refuse(p.ID, human, d.lastResort(p, "bring a standby or the primary back", "accept a loss"),
		"%s; nobody can be promoted without risking acknowledged commits: %s", inWords(reason), join(why))
}

// lastResort says what an operator can do where nobody may be promoted: it names a forced failover only where one would be begun, and where nobody is
// there to be elected, how to give the group up.
func (d *decider) lastResort(p *Node, first, second string) string {
	if d.electable(p, 0) {
		return first + ", or " + second + ": autoctl perform failover --allow-data-loss"
	}
	var drops []string
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != p.ID {
			drops = append(drops, "autoctl drop node --force --name "+n.Name)
		}
	}
	drops = append(drops, "autoctl drop node --force --name "+p.Name)
	return first + "; nobody else is there to take over, and a group that is lost for good is given up by: " + strings.Join(drops, ", then ")
}

// electable reports whether somebody, or the preferred node, could be elected if an operator accepted a loss.
func (d *decider) electable(p *Node, preferred NodeID) bool {
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != p.ID && d.cannotVote(n) == "" && (preferred == 0 || preferred == n.ID) {
			return true
		}
	}
	return false
}

// poisoned reports whether the group has used up its unplanned failovers for the present window.
func (d *decider) poisoned() bool {
	window := ms(d.g.Settings.FailoverWindowMS)
	recent := d.g.Unplanned[:0:0]
	for _, at := range d.g.Unplanned {
		if d.now.Sub(at) < window {
			recent = append(recent, at)
		}
	}
	d.g.Unplanned = recent
	if int64(len(recent)) < d.g.Settings.FailoverLimit {
		return false
	}
	d.wakeAt(recent[0].Add(window))
	return true
}

// promotable reports whether the nodes heard now cover the record without p and one of them may be elected; why tells, by node, what is missing. A
// preferred node may have priority 0.
func (d *decider) promotable(p *Node, preferred NodeID) (why map[string]string, ok bool) {
	why = map[string]string{}
	var voters []Member
	candidates := 0
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID {
			continue
		}
		if reason := d.cannotVote(n); reason != "" {
			why[n.Name] = reason
			continue
		}
		voters = append(voters, member(n))
		if reason := cannotLead(n, preferred); reason != "" {
			why[n.Name] = reason
			continue
		}
		if preferred == 0 || n.ID == preferred {
			candidates++
		}
	}
	if !d.g.Record.CoveredBy(voters) {
		why["votes"] = "needed: " + d.missing(voters)
		return why, false
	}
	return why, candidates > 0
}

func (d *decider) cannotVote(n *Node) string {
	switch {
	case n.Goal.State == StateMaintenance:
		return "is in maintenance"
	case n.Goal.State == StateDropped:
		return "is dropped"
	case n.Report == nil || n.Heard < 0:
		return "has not been heard"
	case !d.live(n):
		return "is silent"
	case !hasVoice(n):
		return "has no data yet"
	case !running(n):
		return "its server is " + string(n.Report.Server.Status)
	case !n.Report.Server.Recovery:
		return "is not a standby"
	}
	return ""
}

// cannotLead says why a node that may vote may not be elected. One that operators want out of the group has a voice until no configuration names it.
func cannotLead(n *Node, preferred NodeID) string {
	if n.Maintenance {
		return "is to be in maintenance"
	}
	if n.Dropping {
		return "is being dropped"
	}
	if n.Cluster != "" {
		return "is a read replica"
	}
	if n.Priority == 0 && n.ID != preferred {
		return "has candidate priority 0"
	}
	return ""
}
