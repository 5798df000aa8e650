package fsm

import (
	"fmt"
	"slices"
	"time"
)

// identified takes the group's system identifier, and the first primary's data generation, from its word.
func (d *decider) identified() bool {
	p := d.primary()
	if p == nil || p.Report == nil || !d.readWrite(p) || p.Report.SystemID == 0 {
		return false
	}
	changed := false
	if d.g.SystemID == 0 {
		d.g.SystemID, changed = p.Report.SystemID, true
	}
	if len(d.g.Record) == 1 && d.g.Record[0].Primary.Generation == 0 && p.Report.Generation != 0 {
		d.g.Record[0].Primary.Generation, changed = p.Report.Generation, true
	}
	return changed
}

// settled drops the configurations that are older than one that its primary says is settled. While the record is not proved, that primary must have obeyed this incarnation: it
// then takes part in nothing that a monitor of before has begun, and nothing that such a monitor could still decide goes by what is dropped.
func (d *decider) settled() bool {
	cur, _ := d.g.Record.Current()
	for i := len(d.g.Record) - 1; i > 0; i-- {
		c := d.g.Record[i]
		n := d.node(c.Primary.Node)
		if n == nil || n.Report == nil || member(n) != c.Primary || n.Report.Settled < c.Seq || c.Epoch != cur.Epoch {
			continue
		}
		if d.g.Unproven && n.Report.Obeyed.Incarnation != d.g.Incarnation {
			continue
		}
		d.event("settled", n.ID, "configuration %d: k = %d of %d members", c.Seq, c.K, len(c.Members))
		d.g.Record = slices.Clone(d.g.Record[i:])
		return true
	}
	return false
}

// firstPrimary makes the first node single, also after the last one of an earlier life of the group has left: epoch and numbers go on, since keepers
// refuse what is older. One that brings data must have said which timeline it is on; numbers above it that were ordered before stay used (S3).
// What a node of the group's past brings may be older than what the one had that has left (P1): see past.
func (d *decider) firstPrimary() bool {
	if len(d.g.Record) > 0 || d.g.Election != nil {
		return false
	}
	if d.g.Kind == KindCitus && d.g.Number > 0 && !d.g.Founded {
		d.refuse(0, false, "autoctl create coordinator", "the formation has no coordinator yet")
		return false
	}
	first, older, why := d.beginners()
	if older != nil && (first == nil || !first.HasData) {
		d.refuse(older.ID, true, "create the node that has left again, with its data; or drop this one too, and create it again: it then begins the group with what it has",
			"%s", why)
		return false
	}
	if first == nil {
		return false
	}
	timeline := Timeline(1)
	if first.HasData {
		if first.Report == nil || max(first.Report.Server.Timeline, first.Report.Position.Timeline) == 0 {
			d.refuse(first.ID, false, "", "it has not said yet which timeline its data is on")
			return false
		}
		timeline = max(first.Report.Server.Timeline, first.Report.Position.Timeline)
	}
	if !first.HasData { // another cluster: its timelines have nothing to do with those of one before
		d.g.Orders = nil
	}
	d.g.Epoch++
	d.g.SystemID = 0 // the first primary says which it is
	d.g.Orders = append(d.g.Orders, Order{Timeline: timeline, Epoch: d.g.Epoch, Node: first.ID})
	d.g.Record = Record{{Seq: d.seq, Epoch: d.g.Epoch, Primary: member(first)}}
	return d.assign(first, d.servingState(), "first node of its group")
}

// beginners returns who may begin the group, one with data before one without, and who may not because of the group's past, and why.
func (d *decider) beginners() (first, older *Node, why string) {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Dropping || n.Maintenance || n.Goal.State == StateDropped || n.Cluster != "" {
			continue
		}
		if past := d.past(n); past != "" {
			if older == nil || n.HasData {
				older, why = n, past
			}
			continue
		}
		if first == nil || n.HasData && !first.HasData {
			first = n
		}
	}
	return first, older, why
}

// past says why a node that belongs to the group's earlier life does not begin it anew; "" for one that may.
func (d *decider) past(n *Node) string {
	waited := n.Goal.State == StateWaitStandby && d.g.SystemID != 0
	switch {
	case waited && !n.HasData:
		return "it was created to follow a node that has left, and has no data"
	case !n.HasData:
	case waited, d.settledIn(*n) && !n.Goal.State.Serves():
		return "it followed a node that has left, and its own data may be older"
	case d.settledIn(*n) && len(d.g.Orders) > 0:
		// A former monitor knew it as the primary, and since then another was.
		i := len(d.g.Orders) - 1
		for i > 0 && d.g.Orders[i].Node == 0 { // kept free for what nobody remembers
			i--
		}
		if o := d.g.Orders[i]; o.Node != 0 && o.Node != n.ID && o.Epoch > n.Goal.Epoch {
			return fmt.Sprintf("node %s, which has left, was made primary after it, and its own data may be older", d.name(o.Node))
		}
	}
	return ""
}

// servingState is what the primary is called: single when alone, wait_primary without protection, primary with it.
func (d *decider) servingState() State {
	cur, _ := d.g.Record.Current()
	if cur.K > 0 {
		return StatePrimary
	}
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != cur.Primary.Node && n.Goal.State != StateDropped && !n.Dropping && n.Cluster == "" {
			return StateWaitPrimary
		}
	}
	return StateSingle
}

// standbyState is what a standby of p is called: secondary when it is a member, or may never be one and is in step.
func (d *decider) standbyState(p, n *Node) State {
	cur, _ := d.g.Record.Current()
	if slices.ContainsFunc(cur.Members, func(m Member) bool { return m.Node == n.ID && m == member(n) }) {
		return StateSecondary
	}
	if !n.Quorum && d.near(p, n) && d.standby(n) {
		return StateSecondary
	}
	return StateCatchingUp
}

// roles gives the primary and the standbys the states that the record says.
func (d *decider) roles() bool {
	p := d.primary()
	if p == nil || d.g.Election != nil {
		return false
	}
	cur, _ := d.g.Record.Current()
	if s := d.servingState(); p.Goal.State.Serves() && d.assign(p, s, "k = %d of %d members", cur.K, len(cur.Members)) {
		return true
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || n.Goal.State != StateCatchingUp && n.Goal.State != StateSecondary {
			continue
		}
		if n.Report == nil || p.Report == nil {
			continue // the monitor has just started: nobody has spoken yet, which is no news of anybody
		}
		if d.assign(n, d.standbyState(p, n), "as the primary sees it") {
			return true
		}
	}
	return false
}

func (d *decider) newNodes() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if (n.Goal.State == "" || n.Goal.State == StateInit) && len(d.g.Record) > 0 {
			if !n.HasData && d.ending() {
				d.refuse(n.ID, false, "where one of them never comes back: autoctl drop node --force", "the nodes of before are being dropped: it begins the group anew when they have left")
				continue
			}
			return d.assign(n, StateWaitStandby, "registered")
		}
	}
	return false
}

// ending reports whether everybody who has had a part in the group is being dropped.
func (d *decider) ending() bool {
	return !slices.ContainsFunc(d.g.Nodes, func(n Node) bool {
		return n.Goal.State != "" && n.Goal.State != StateInit && n.Goal.State != StateDropped && !n.Dropping
	})
}

// createStandbys lets a node be created as soon as the primary has reached a goal that lists it: it is in pg_hba.conf and has its slot.
func (d *decider) createStandbys() bool {
	p := d.primary()
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Goal.State != StateWaitStandby || p == nil || n.ID == p.ID || d.g.Election != nil {
			continue
		}
		listed := slices.ContainsFunc(p.Goal.Peers, func(q Peer) bool { return q.Node == n.ID && q.Host == n.Host && q.Port == n.Port })
		// A member was admitted before this monitor was restored, and the primary may be waiting for it.
		if !d.readWrite(p) || !listed || p.Report.Reached != p.Goal.Stamp && !d.inRecord(n.ID) {
			d.refuse(n.ID, false, "", "the primary does not admit it yet")
			continue
		}
		return d.assign(n, StateCatchingUp, "the primary admits it")
	}
	return false
}

// follow brings every node that has nothing else to do under the primary, once that serves.
func (d *decider) follow() bool {
	p := d.primary()
	if p == nil || d.g.Election != nil || !p.Goal.State.Serves() {
		return false
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || n.Dropping || n.Maintenance {
			continue
		}
		switch s := n.Goal.State; {
		case s == StateMaintenance, s == StateWaitMaintenance, s == StateReportLSN, s == StateFastForward:
			return d.assign(n, StateCatchingUp, "follows node %s", p.Name)
		case s == StateDemoted, s.Drains(), s.Serves():
			if demoted, stops := d.stopsFirst(p, n); demoted {
				return true
			} else if stops {
				continue
			}
			if !d.readWrite(p) {
				d.refuse(n.ID, false, "", "it follows as soon as node %s serves", p.Name)
				if s.Serves() || s.Drains() {
					return d.assign(n, StateDemoted, "node %s serves", p.Name)
				}
				continue
			}
			return d.assign(n, StateCatchingUp, "follows node %s", p.Name)
		}
	}
	return false
}

// maintain moves a node to maintenance, out of the record first: what an operator does to it must not be counted on.
func (d *decider) maintain() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if !n.Maintenance || n.Dropping || n.Goal.State == StateMaintenance || d.g.Election != nil {
			continue
		}
		if p := d.primary(); p != nil && p.ID == n.ID {
			continue
		}
		if !d.inRecord(n.ID) && harmless(n) {
			return d.assign(n, StateMaintenance, "asked by an operator; no configuration names it")
		}
		if n.Goal.State.Follows() {
			if d.assign(n, StateWaitMaintenance, "asked by an operator; it leaves the record first") {
				return true
			}
		}
		if !d.inRecord(n.ID) {
			d.refuse(n.ID, false, "", "it has not said yet that it does not serve")
			continue
		}
		d.refuse(n.ID, false, "", "a configuration of the record still names it")
	}
	return false
}

// harmless reports whether the node has obeyed its goal, which is not to serve, and does not: in maintenance nobody would stop it (P2).
func harmless(n *Node) bool {
	r := n.Report
	return r != nil && r.Obeyed == n.Goal.Stamp && (r.Server.Recovery || r.Server.Status == ServerStopped || r.Server.Status == ServerCrashed || r.Server.Status == ServerAbsent)
}

// dropNodes moves a node that is to leave to dropped, out of the record first; the last node of a group at once.
func (d *decider) dropNodes() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if !n.Dropping || n.Goal.State == StateDropped || d.g.Election != nil && !d.alone(n) {
			continue
		}
		if !d.inRecord(n.ID) || d.alone(n) {
			return d.assign(n, StateDropped, "asked by an operator")
		}
		d.refuse(n.ID, false, "", "a configuration of the record still names it")
	}
	return false
}

func (d *decider) alone(n *Node) bool {
	return !slices.ContainsFunc(d.g.Nodes, func(o Node) bool { return o.ID != n.ID && !o.Dropping && o.Goal.State != StateDropped })
}

// forgetDropped forgets nodes that have left. With the last one that had a part in its service the group is as new, but for its numbers.
func (d *decider) forgetDropped() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		gone := n.Goal.State == StateDropped && n.Report != nil && n.Report.State == StateDropped
		forced := n.Forced && n.Dropping && !d.live(n) && (!d.inRecord(n.ID) || d.alone(n))
		if !gone && !forced {
			if n.Forced && n.Dropping && d.live(n) {
				// It may just have been stopped: it is forgotten once it counts as silent.
				d.wakeAt(n.Heard.Add(ms(d.g.Settings.NodeLostAfterMS) + time.Millisecond))
			}
			continue
		}
		d.event("forgotten", n.ID, "node %s has left", n.Name)
		d.forget = append(d.forget, n.ID)
		d.g.Nodes = append(d.g.Nodes[:i:i], d.g.Nodes[i+1:]...)
		if !slices.ContainsFunc(d.g.Nodes, d.settledIn) {
			d.g.Record, d.g.Election = nil, nil
			if len(d.g.Nodes) == 0 {
				d.g.SystemID = 0
			}
		}
		return true
	}
	return false
}

// settledIn reports whether the node has had a part in the group's service: one that only registered has not.
func (d *decider) settledIn(n Node) bool {
	return d.inRecord(n.ID) || n.Goal.State != "" && n.Goal.State != StateInit && n.Goal.State != StateWaitStandby
}

// left answers a standby that asked to be relieved, as soon as no configuration counts on it.
func (d *decider) left() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Leaving == 0 || d.inRecord(n.ID) {
			continue
		}
		d.answers = append(d.answers, Answer{Command: n.Leaving, Outcome: OutcomeDone, Text: "no commit waits for node " + n.Name + " any more"})
		n.Leaving = 0
		n.HoldUntil = d.now.Add(ms(d.g.Settings.NodeLostAfterMS))
		return true
	}
	return false
}
