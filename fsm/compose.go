package fsm

import "slices"

// compose derives every node's goal from its goal state and the group, gives a new stamp to each whose content changed, and returns those nodes.
func (d *decider) compose() []NodeID {
	var push []NodeID
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.Goal.State == "" || n.Goal.State == StateInit {
			continue
		}
		goal, told := d.goal(n), d.told(n.ID)
		if d.g.Election != nil { // a vote given is not asked for anew because of them
			goal.Wishes, goal.Fellows, goal.Databases = told.Wishes, told.Fellows, told.Databases
		}
		if d.withheld(n) || sameGoal(goal, told) && !d.restamp[n.ID] {
			n.Goal.Stamp = told.Stamp
			continue
		}
		goal.Stamp = d.stamp()
		n.Goal = goal
		push = append(push, n.ID)
	}
	return push
}

// told returns the goal that a node was given before this decision.
func (d *decider) told(id NodeID) Goal {
	for i := range d.was.Nodes {
		if d.was.Nodes[i].ID == id {
			return d.was.Nodes[i].Goal
		}
	}
	return Goal{}
}

// withheld reports whether a node must be told nothing yet: a monitor that cannot prove its data current confirms each node by a rule, once it has
// heard what the node knows (S9).
func (d *decider) withheld(n *Node) bool {
	if cur, _ := d.g.Record.Current(); n.ID != cur.Primary.Node && (n.Goal.State.Serves() || n.Goal.State.Drains()) {
		return true // only the record's primary is told to serve
	}
	return d.g.Unproven && !d.restamp[n.ID] && d.told(n.ID).Incarnation != d.g.Incarnation
}

func (d *decider) goal(n *Node) Goal {
	g := Goal{
		Stamp: n.Goal.Stamp, Node: n.ID, Formation: d.g.Formation, Group: d.g.Number, Kind: d.g.Kind, State: n.Goal.State,
		Orders: d.g.Orders, Peers: d.peers(n), Fellows: d.g.Fellows, Settings: d.g.Settings, Database: d.g.Database, Databases: d.g.Databases, SystemID: d.g.SystemID,
		Wishes: &Wishes{Priority: n.Priority, Quorum: n.Quorum, NumberSync: d.g.NumberSync, Paused: d.g.Paused},
	}
	cur, _ := d.g.Record.Current()
	if e := d.g.Election; e != nil && e.Hold && (n.ID == e.Preferred || g.State.Drains() || g.State == StateReportLSN) {
		g.Hold = e.Seq
	}
	switch s := g.State; {
	case s == StatePreparePromotion:
		if d.inPhase(PhaseHolding) { // it follows until the writes are held
			g.Upstream = d.upstream(d.node(cur.Primary.Node))
			g.Upstream.Timeline = d.timelineOf(cur)
			g.Limits = n.Goal.Limits
		}
	case s.Serves(), s == StateStopReplication, s.Drains():
		g.Configuration = &cur
		g.Timeline = d.timelineOf(cur)
		g.Record = d.g.Record
		g.Confirmed = n.Goal.Confirmed
		if s.Drains() {
			g.DeadlineMS = d.g.Settings.DrainDeadlineMS
		}
	case s == StateFastForward:
		g.Upstream = d.fastForwardFrom(n)
	case s.Follows():
		d.following(&g, n, cur)
		if n.MinGeneration > 0 && !d.inRecord(n.ID) {
			g.MinGeneration = n.MinGeneration
		}
	case n.Goal.AwaitEnd:
		g.AwaitEnd = true
		d.following(&g, n, cur)
	}
	return g
}

// following adds whom a node follows to its goal: the primary of the configuration.
func (d *decider) following(g *Goal, n *Node, cur Configuration) {
	g.Upstream = d.upstream(d.node(cur.Primary.Node))
	g.Upstream.Timeline = d.timelineOf(cur)
	g.Limits = n.Goal.Limits
	if p := d.primary(); p != nil && p.Report != nil && p.Report.Limits != (Limits{}) {
		g.Limits = p.Report.Limits
	}
}

func (d *decider) upstream(n *Node) *Upstream {
	if n == nil {
		return &Upstream{}
	}
	return &Upstream{Node: n.ID, Host: n.Host, Port: n.Port}
}

func (d *decider) fastForwardFrom(n *Node) *Upstream {
	if d.g.Election == nil { // forgotten with a monitor's memory: it goes on as it is until it is confirmed
		return n.Goal.Upstream
	}
	source := d.node(d.g.Election.Source)
	u := d.upstream(source)
	if source != nil && source.Report != nil {
		u.Until = source.Report.Position
		if v := source.Report.Vote; v != nil {
			u.Until = v.Position
		}
		u.Timeline = u.Until.Timeline
	}
	return u
}

// timelineOf returns the timeline ordered for the reign that a configuration belongs to.
func (d *decider) timelineOf(c Configuration) Timeline {
	for _, o := range slices.Backward(d.g.Orders) {
		if o.Epoch == c.Epoch && o.Node == c.Primary.Node {
			return o.Timeline
		}
	}
	return 0
}

func (d *decider) peers(n *Node) []Peer {
	var peers []Peer
	for _, p := range d.g.Nodes {
		if p.ID != n.ID && p.Goal.State != StateDropped {
			peers = append(peers, Peer{Node: p.ID, Name: p.Name, Host: p.Host, Port: p.Port, Token: p.Token})
		}
	}
	return peers
}

// sameGoal compares contents; stamps are not part of them.
func sameGoal(a, b Goal) bool {
	return a.Node == b.Node && a.State == b.State && a.Timeline == b.Timeline && a.DeadlineMS == b.DeadlineMS &&
		a.MinGeneration == b.MinGeneration && a.AwaitEnd == b.AwaitEnd && a.Confirmed == b.Confirmed && a.Settings == b.Settings && a.Database == b.Database && a.SystemID == b.SystemID &&
		a.Kind == b.Kind && a.Hold == b.Hold && a.Limits == b.Limits && samePointer(a.Upstream, b.Upstream) && samePointer(a.Wishes, b.Wishes) && sameConfiguration(a.Configuration, b.Configuration) &&
		slices.EqualFunc(a.Record, b.Record, func(x, y Configuration) bool { return sameConfiguration(&x, &y) }) &&
		slices.Equal(a.Orders, b.Orders) && slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Fellows, b.Fellows) && slices.Equal(a.Databases, b.Databases)
}

func samePointer[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func sameConfiguration(a, b *Configuration) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Seq == b.Seq && a.Epoch == b.Epoch && a.Primary == b.Primary && a.K == b.K && slices.Equal(a.Members, b.Members)
}
