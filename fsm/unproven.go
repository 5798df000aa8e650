package fsm

// newerIncarnation rises above any incarnation that a node has obeyed: this monitor's data is older than the world (S9).
func (d *decider) newerIncarnation() bool {
	top := uint64(0)
	for _, n := range d.g.Nodes {
		if n.Report != nil && n.Heard >= 0 {
			top = max(top, n.Report.Obeyed.Incarnation)
		}
	}
	if top <= d.g.Incarnation {
		return false
	}
	d.g.Incarnation = top + 1
	d.g.Unproven = true
	d.event("incarnation", 0, "a node has obeyed incarnation %d: this monitor was restored or replaced", top)
	return true
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

// confirm gives a node that was heard a goal of this incarnation that changes nothing about it.
func (d *decider) confirm() bool {
	p := d.primary()
	if !d.g.Unproven || p == nil {
		return false
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Report == nil || n.Heard < 0 || n.Goal.Incarnation == d.g.Incarnation || d.restamp[n.ID] {
			continue
		}
		d.renew(n)
		d.assign(n, d.unchanged(p, n), "it goes on as it is, under incarnation %d", d.g.Incarnation)
		return true
	}
	return false
}

// unchanged returns the goal state under which a node goes on as it is.
func (d *decider) unchanged(p, n *Node) State {
	if n.ID == p.ID {
		return d.servingState()
	}
	switch s := n.Report.State; s {
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

// proved ends the distrust: for every configuration of the record its primary and k of its members have obeyed this incarnation, a set that meets
// every electorate that could have decided anything newer.
func (d *decider) proved() bool {
	if !d.g.Unproven {
		return false
	}
	if len(d.g.Record) == 0 {
		if len(d.g.Nodes) == 0 {
			d.g.Unproven = false
			return true
		}
		d.refuse(0, false, "", "no node has said what the group's record is")
		return false
	}
	for _, c := range d.g.Record {
		if why := d.unconfirmed(c); why != "" {
			d.refuse(c.Primary.Node, false, "bring the nodes of the group back; nothing is promoted or weakened before",
				"the monitor's memory may be old (incarnation %d): %s", d.g.Incarnation, why)
			return false
		}
	}
	d.g.Unproven = false
	d.event("proved", 0, "the record is current under incarnation %d", d.g.Incarnation)
	return true
}

func (d *decider) unconfirmed(c Configuration) string {
	obeys := func(m Member) bool {
		n := d.node(m.Node)
		return n != nil && n.Report != nil && n.Heard >= 0 && n.Report.Obeyed.Incarnation == d.g.Incarnation
	}
	if !obeys(c.Primary) {
		return "its primary has not confirmed the record"
	}
	have := 0
	for _, m := range c.Members {
		if obeys(m) {
			have++
		}
	}
	if have < min(c.K, len(c.Members)) {
		return "too few of its standbys have confirmed the record"
	}
	return ""
}
