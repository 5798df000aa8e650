package fsm

import "slices"

// newerIncarnation rises above any incarnation that a node has obeyed: this monitor's data is older than the world (S9). So it is where a node has
// obeyed a goal of the same incarnation that this monitor never gave: goals are stored before they are told.
func (d *decider) newerIncarnation() bool {
	top, foreign := uint64(0), false
	for _, n := range d.g.Nodes {
		if n.Report != nil && n.Heard >= 0 {
			top = max(top, n.Report.Obeyed.Incarnation)
			foreign = foreign || n.Report.Obeyed.Incarnation == d.g.Incarnation && d.beyond(&n)
		}
	}
	if top < d.g.Incarnation || top == d.g.Incarnation && !foreign {
		return false
	}
	d.g.Incarnation = top + 1
	d.g.Unproven = true
	d.event("incarnation", 0, "a node has obeyed incarnation %d: this monitor was restored or replaced", top)
	return true
}

// beyond reports whether the node has obeyed a goal that is newer than what this monitor remembers to have told it.
func (d *decider) beyond(n *Node) bool {
	return n.Report != nil && n.Heard >= 0 && n.Report.Obeyed.Compare(d.told(n.ID).Stamp) > 0
}

// retell gives a node its goal anew that was heard only after the record was proved, and obeyed what this monitor does not remember.
func (d *decider) retell() bool {
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if !d.beyond(n) || d.restamp[n.ID] || n.Goal.State == StateInit || n.Goal.State == "" {
			continue
		}
		d.renew(n)
		d.event("retold", n.ID, "it has obeyed %v, which this monitor does not remember", n.Report.Obeyed)
		if p := d.primary(); p != nil && p.ID != n.ID {
			switch n.Report.State {
			case StateMaintenance, StateDropped: // what an operator did to it holds
				n.Dropping = n.Dropping || n.Report.State == StateDropped
				d.assign(n, d.unchanged(p, n), "as it was before this monitor was restored")
			default:
			}
		}
		return true
	}
	return false
}

// learn takes over the newest record that a node remembers, and every number above ours.
func (d *decider) learn() bool {
	if !d.g.Unproven {
		return false
	}
	changed := false
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Report == nil || n.Heard < 0 {
			continue
		}
		r := n.Report
		if newer(r.Record, d.g.Record) {
			d.g.Record, changed = append(Record(nil), r.Record...), true
			d.event("learned", n.ID, "its record is newer: epoch %d, sequence %d", r.Record[len(r.Record)-1].Epoch, r.Record[len(r.Record)-1].Seq)
			d.g.Election = nil
			d.fence()
		}
		if d.mergeOrders(r.Orders) {
			changed = true
		}
		top := r.Obeyed.Epoch
		if cur, ok := d.g.Record.Current(); ok {
			top = max(top, cur.Epoch)
		}
		if top > d.g.Epoch {
			d.g.Epoch, changed = top, true
		}
		if d.g.SystemID == 0 && r.SystemID != 0 && len(r.Record) > 0 {
			d.g.SystemID, changed = r.SystemID, true
		}
	}
	return changed
}

// fence stops nodes that were confirmed as serving before a newer record was found: it names another primary.
func (d *decider) fence() {
	cur, _ := d.g.Record.Current()
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.ID != cur.Primary.Node && n.Goal.State.Serves() {
			d.assign(n, StateDemoted, "node %s serves by a newer record", d.name(cur.Primary.Node))
		}
	}
}

// recall takes from the primary, as long as it has obeyed nothing of this incarnation or refuses its goal for that, the configurations of its present reign that this
// monitor does not remember: commits may have been acknowledged under each (S9). Until they are in the record, it does not go on under it.
func (d *decider) recall() bool {
	p := d.primary()
	cur, _ := d.g.Record.Current()
	if p == nil || p.Report == nil || p.Heard < 0 {
		return false
	}
	if p.Report.Obeyed.Incarnation >= d.g.Incarnation && !p.Report.Refuses {
		return false
	}
	changed := false
	for _, c := range p.Report.Record.inForce(p.Report.Settled) {
		if c.Epoch != cur.Epoch || c.Primary != cur.Primary || d.g.Record.holds(c) {
			continue
		}
		at := slices.IndexFunc(d.g.Record, func(o Configuration) bool { return o.Epoch == c.Epoch && o.Seq > c.Seq })
		if at < 0 {
			at = len(d.g.Record)
		}
		d.g.Record, changed = slices.Insert(slices.Clone(d.g.Record), at, c), true
		d.event("learned", p.ID, "configuration %d is not in this monitor's memory", c.Seq)
	}
	if cur, _ = d.g.Record.Current(); changed && !d.g.Record[:len(d.g.Record)-1].admits(cur) { // ours was made without knowledge of them (S1)
		join := d.g.Record.join(cur)
		join.Seq = d.seq
		d.g.Record = d.g.Record.with(join)
	}
	return changed
}

func newer(a, b Record) bool {
	x, ok := a.Current()
	if !ok {
		return false
	}
	y, ok := b.Current()
	return !ok || x.Epoch > y.Epoch || x.Epoch == y.Epoch && x.Seq > y.Seq
}

func (d *decider) mergeOrders(theirs Orders) bool {
	changed := false
	for _, o := range theirs {
		known := false
		for _, mine := range d.g.Orders {
			known = known || mine == o
		}
		if known {
			continue
		}
		at := len(d.g.Orders)
		for at > 0 && d.g.Orders[at-1].Epoch > o.Epoch {
			at--
		}
		d.g.Orders = append(d.g.Orders[:at:at], append(Orders{o}, d.g.Orders[at:]...)...)
		changed = true
	}
	return changed
}

// confirm gives a node that was heard a goal of this incarnation that changes nothing about it. An election that this monitor remembers is forgotten
// first: it may have ended long ago, and is begun anew where nobody serves.
func (d *decider) confirm() bool {
	p := d.primary()
	if !d.g.Unproven || p == nil {
		return false
	}
	if d.g.Election != nil {
		d.g.Election, p.Maintenance, p.Dropping = nil, false, false
		d.event("abandoned", p.ID, "this monitor cannot know how the election ended")
		return true
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Report == nil || n.Heard < 0 || n.Goal.Incarnation == d.g.Incarnation || d.restamp[n.ID] {
			continue
		}
		if missing := d.unheard(); missing != "" && d.suspect(n) {
			human := d.now.Sub(d.g.Since) > ms(d.g.Settings.NodeLostAfterMS) // its keeper may have ended, when it was dropped
			d.refuse(n.ID, human, "bring node "+missing+" back: autoctl run, or accept a loss: autoctl perform failover --allow-data-loss",
				"it took part in an election that this monitor does not remember, and node %s may have won it", missing)
			continue
		}
		d.renew(n)
		d.assign(n, d.unchanged(p, n), "it goes on as it is, under incarnation %d", d.g.Incarnation)
		return true
	}
	return false
}

// suspect reports whether a node may have helped to elect somebody of whom nobody heard remembers anything: it obeyed what this monitor does not
// remember, and stands as one does who has voted, or knows an epoch later than the record. Its word for the record would meet that election and not stop it.
func (d *decider) suspect(n *Node) bool {
	r := n.Report
	if r.Obeyed.Compare(n.Goal.Stamp) <= 0 {
		return false
	}
	if cur, _ := d.g.Record.Current(); r.Obeyed.Epoch > cur.Epoch {
		return true
	}
	switch r.State {
	case StateReportLSN, StateFastForward, StatePreparePromotion, StateDemoted, StateDraining, StatePrepareMaintenance, StateDropped:
		return true
	default:
		return false
	}
}

// unheard names a node that may hold data and has not been heard in this life of the monitor; "" when there is none.
func (d *decider) unheard() string {
	for _, n := range d.g.Nodes {
		switch n.Goal.State {
		case "", StateInit, StateWaitStandby, StateDropped:
			continue
		default:
			if n.Report == nil || n.Heard < 0 {
				return n.Name
			}
		}
	}
	return ""
}

// unchanged returns the goal state under which a node goes on as it is. One that was neither serving nor following is promoted by nobody here: it
// stays down, or says how far its log goes.
func (d *decider) unchanged(p, n *Node) State {
	r := n.Report
	if n.ID == p.ID {
		switch {
		case r.State.Serves(), r.State == StateInit, running(n) && !r.Server.Recovery:
			return d.servingState()
		case r.State == StateDemoted, r.State.Drains():
			return StateDemoted
		case r.State == StateDropped:
			return StateDropped
		default:
			return StateReportLSN
		}
	}
	switch s := r.State; s {
	case StateMaintenance, StateWaitMaintenance:
		n.Maintenance = true
		return StateMaintenance
	case StateDropped, StateWaitStandby, StateDemoted:
		return s
	case StateInit:
		return StateWaitStandby
	default:
		return d.standbyState(p, n)
	}
}

// interrupted begins an election where the record's primary has another goal than to serve: the one that was under way was forgotten with the memory.
func (d *decider) interrupted() bool {
	p := d.primary()
	if p == nil || d.g.Election != nil || p.Goal.State.Serves() || p.Goal.State == StateDropped || p.Goal.State == StateInit || p.Goal.State == "" {
		return false
	}
	d.elect(Election{Reason: "interrupted"}, "the record's primary does not serve, and an election was forgotten")
	return true
}

// proved ends the distrust: for every configuration of the record its primary and k of its members have obeyed this incarnation, a set that meets
// every electorate that could have decided anything newer.
func (d *decider) proved() bool {
	if !d.g.Unproven {
		return false
	}
	if len(d.g.Record) == 0 {
		if !slices.ContainsFunc(d.g.Nodes, func(n Node) bool { return n.Report == nil || n.Heard < 0 || n.Report.Obeyed.Seq > 0 }) {
			d.g.Unproven = false
			return true
		}
		unheard := slices.ContainsFunc(d.g.Nodes, func(n Node) bool { return n.Report == nil || n.Heard < 0 })
		d.refuse(0, !unheard, "hand the group's other nodes over to this monitor (autoctl enable monitor), or accept a loss: autoctl perform failover --allow-data-loss",
			"no node has said what the group's record is")
		return false
	}
	for _, c := range d.g.Record {
		if why := d.unconfirmed(c); why != "" {
			d.refuse(c.Primary.Node, d.deserted(c), "bring the nodes of the group back, or, if they are lost for good: autoctl perform failover --allow-data-loss",
				"the monitor's memory may be old (incarnation %d): %s", d.g.Incarnation, why)
			return false
		}
	}
	d.g.Unproven = false
	d.event("proved", 0, "the record is current under incarnation %d", d.g.Incarnation)
	return true
}

// deserted reports whether the nodes that are heard are too few to confirm the configuration.
func (d *decider) deserted(c Configuration) bool {
	there := func(m Member) bool {
		n := d.node(m.Node)
		return n != nil && d.live(n)
	}
	have := 0
	for _, m := range c.Members {
		if there(m) {
			have++
		}
	}
	return !there(c.Primary) || have < min(c.K, len(c.Members)) && d.now.Sub(d.g.Since) > ms(d.g.Settings.NodeLostAfterMS)
}

func (d *decider) unconfirmed(c Configuration) string {
	obeys := func(m Member) bool {
		n := d.node(m.Node)
		return n != nil && n.Report != nil && n.Heard >= 0 && n.Report.Obeyed.Incarnation == d.g.Incarnation
	}
	if p := d.node(c.Primary.Node); !obeys(c.Primary) && (p == nil || !left(p, c)) {
		return "its primary has not confirmed the record"
	}
	have := 0
	for _, m := range c.Members {
		if n := d.node(m.Node); obeys(m) || n != nil && left(n, c) {
			have++
		}
	}
	if have < min(c.K, len(c.Members)) {
		return "too few of its standbys have confirmed the record"
	}
	return ""
}

// left reports whether a node of a configuration has left the group without a part in anything newer than the configuration: it obeys nobody any more, and neither acknowledges nor votes. A vote that
// it gave before it was dropped elected nobody, or it would have been told so under a later epoch: one that is told to go has no voice from then on.
func left(n *Node, c Configuration) bool {
	r := n.Report
	return r != nil && n.Heard >= 0 && r.State == StateDropped && r.Reached == r.Obeyed && r.Obeyed.Epoch <= c.Epoch
}

// reserve is how many epochs and timelines are left free when an operator overrules the distrust: nodes that were not heard may have used them.
const reserve = 16

// overrule ends the distrust because an operator wants a failover and consents to a loss, if that failover can begin. Where nobody can take over from
// a primary that serves, it is the primary that is meant: who could have been promoted in its place is lost.
func (d *decider) overrule(e Election, target NodeID) Answer {
	d.g.Unproven = false
	a := d.failover(e, target)
	if p := d.primary(); a.Outcome != OutcomeAccepted && p != nil && (target == 0 || target == p.ID) && d.readWrite(p) {
		a = accepted("node %s goes on as the primary: what others may have acknowledged is lost", p.Name)
	}
	if a.Outcome != OutcomeAccepted {
		d.g.Unproven = true
		return a
	}
	top := d.nextTimeline() - 1
	d.g.Epoch += reserve
	d.g.Orders = append(d.g.Orders, Order{Timeline: top + reserve, Epoch: d.g.Epoch})
	d.event("data_loss", 0, "an operator accepts that nodes that were not heard may have served since this monitor's memory was saved")
	return a
}
