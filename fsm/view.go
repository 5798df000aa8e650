package fsm

import (
	"slices"
	"time"
)

func (d *decider) node(id NodeID) *Node {
	for i := range d.g.Nodes {
		if d.g.Nodes[i].ID == id {
			return &d.g.Nodes[i]
		}
	}
	return nil
}

// primary returns the node that the newest configuration names; nil before the first, or when it was forgotten.
func (d *decider) primary() *Node {
	cur, ok := d.g.Record.Current()
	if !ok {
		return nil
	}
	return d.node(cur.Primary.Node)
}

// age returns how long ago an instant was, never longer than this life of the monitor; -1 counts from its start.
func (d *decider) age(at Instant) time.Duration {
	return d.now.Sub(max(at, d.g.Since))
}

// live reports whether the node's keeper was heard within node_lost_after, in this life of the monitor.
func (d *decider) live(n *Node) bool {
	return n.Report != nil && n.Heard >= 0 && d.now.Sub(n.Heard) <= ms(d.g.Settings.NodeLostAfterMS)
}

func member(n *Node) Member {
	m := Member{Node: n.ID}
	if n.Report != nil {
		m.Generation = n.Report.Generation
	}
	return m
}

func running(n *Node) bool { return n.Report != nil && n.Report.Server.Status == ServerRunning }

// readWrite reports whether the node was heard to run outside recovery, on the timeline that it was told.
func (d *decider) readWrite(n *Node) bool {
	if n == nil || !d.live(n) || !running(n) || n.Report.Server.Recovery {
		return false
	}
	return n.Goal.Timeline == 0 || n.Report.Server.Timeline == 0 || n.Report.Server.Timeline == n.Goal.Timeline
}

// standby reports whether the node was heard to run in recovery.
func (d *decider) standby(n *Node) bool {
	return d.live(n) && running(n) && n.Report.Server.Recovery
}

// hasVoice reports whether the node has data that could vote: it took part in the group and is not the operator's.
func hasVoice(n *Node) bool {
	if n.Report == nil || n.Report.SystemID == 0 {
		return false
	}
	switch n.Goal.State {
	case "", StateInit, StateWaitStandby, StateMaintenance, StateDropped:
		return false
	default:
	}
	switch n.Report.State {
	case StateInit, StateWaitStandby, StateDropped, StateMaintenance:
		return n.Report.Position.LSN > 0 && running(n)
	default:
		return true
	}
}

// inRecord reports whether any configuration names the node, in any generation.
func (d *decider) inRecord(id NodeID) bool {
	for _, c := range d.g.Record {
		if c.Primary.Node == id || slices.ContainsFunc(c.Members, func(m Member) bool { return m.Node == id }) {
			return true
		}
	}
	return false
}

// vote returns the node's vote in the present election, if it has cast one: it quotes the stamp of the goal that asked for it (S5). A demoted node
// that stopped cleanly is a voter as well: it cannot come up read-write before it hears a newer goal.
func vote(n *Node) (Position, bool) {
	r := n.Report
	if r == nil {
		return Position{}, false
	}
	switch n.Goal.State {
	case StateReportLSN, StatePreparePromotion:
		if r.Vote != nil && r.Vote.Stamp == n.Goal.Stamp && r.Obeyed == n.Goal.Stamp {
			return r.Vote.Position, true
		}
	case StateDemoted:
		if r.Drained != 0 && r.SystemID != 0 && r.Server.Status == ServerStopped && r.Reached == n.Goal.Stamp && r.Obeyed == n.Goal.Stamp && r.State == StateDemoted {
			return Position{Epoch: r.Position.Epoch, Timeline: r.Position.Timeline, LSN: r.Drained}, true
		}
	default:
	}
	return Position{}, false
}

// seenBy returns how the serving node sees a standby; false when it does not list it.
func seenBy(p, n *Node) (Standby, bool) {
	if p == nil || p.Report == nil {
		return Standby{}, false
	}
	for _, s := range p.Report.Standbys {
		if s.Node == n.ID {
			return s, true
		}
	}
	return Standby{}, false
}

// hiccupMS is for how long a standby that streams may stand still while there is something to flush: it is busy, not lost.
const hiccupMS = 1000

// keepsUp is near for a hand-over: a standby that stands still for a moment is waited for, and the primary serves again by its deadline if that was in vain.
func (d *decider) keepsUp(p, n *Node) bool {
	s, ok := seenBy(p, n)
	return ok && s.Streaming && s.LostMS < hiccupMS && s.LagBytes < d.g.Settings.CatchupBytes
}

// near reports whether the primary sees the standby streaming and nearly level.
func (d *decider) near(p, n *Node) bool {
	s, _ := seenBy(p, n)
	return s.LostMS == 0 && d.keepsUp(p, n)
}
