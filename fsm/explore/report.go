package explore

import (
	"errors"

	"github.com/autoctl/autoctl/fsm"
)

// long is an age beyond every timeout, in ms.
const long = 1 << 40

// report is what the keeper of node n would say now.
func (w *World) report(n int) fsm.Report {
	h := &w.hosts[n]
	m := h.mem
	r := fsm.Report{
		Node: m.Node, Token: m.Token, Obeyed: m.Goal.Stamp, Reached: m.Reached, State: m.State, Generation: m.Generation,
		Server: fsm.Server{Status: h.status}, Settled: m.Settled, Drained: m.Drained, Promotions: m.Promotions,
		PrimarySeenMS: -1, CommitAgeMS: -1, Record: m.Goal.Record, Orders: m.Goal.Orders,
	}
	r.Held, r.Routed = h.holds, h.routed
	if h.log != "" {
		r.SystemID = systemID
		r.Position = h.position(h.log.len())
	}
	if h.running() {
		r.Server.Recovery, r.Server.Timeline = !h.runs, h.log.timeline()
		r.Position = h.position(h.knows())
	}
	if h.serves() {
		r.Open = !h.loaded.gate
		r.CommitAgeMS = 0
		r.Standbys = w.standbys(n)
	} else if h.running() {
		r.PrimarySeenMS = w.primarySeen(n)
	}
	plan := w.plan(n)
	if v, ok := w.vote(n, plan); ok {
		r.Vote = &v
	}
	for _, s := range plan {
		if s.Problem != nil && r.Problem == nil {
			r.Problem = s.Problem
		}
	}
	if node, ok := w.peek(n); ok && w.listens(n) {
		if next := *m; errors.Is(next.Obey(node.Goal), fsm.ErrForgotten) {
			r.Refuses = true
		}
	}
	return r
}

// vote is the node's word in the election whose goal it has reached.
func (w *World) vote(n int, plan []fsm.Step) (fsm.Vote, bool) {
	h := &w.hosts[n]
	state := h.mem.Goal.State
	if state == fsm.StatePreparePromotion && h.mem.Goal.Upstream == nil { // it holds the writes
		state = fsm.StateReportLSN
	}
	if w.opt.breaks(notStopped) && state == fsm.StateReportLSN && h.running() {
		return fsm.Vote{Stamp: h.mem.Goal.Stamp, Position: h.position(h.log.len())}, true
	}
	if state != fsm.StateReportLSN && state != fsm.StateDemoted || h.mem.Reached != h.mem.Goal.Stamp || len(plan) > 0 {
		return fsm.Vote{}, false
	}
	if state == fsm.StateReportLSN {
		return fsm.Vote{Stamp: h.mem.Goal.Stamp, Position: h.position(h.knows()), Ended: h.log[:2*h.knows()].ended()}, h.running()
	}
	if h.mem.Drained == 0 || !h.clean {
		return fsm.Vote{}, false
	}
	return fsm.Vote{Stamp: h.mem.Goal.Stamp, Position: h.position(h.log.len())}, true
}

// standbys is what a serving node sees of the others.
func (w *World) standbys(n int) []fsm.Standby {
	h := &w.hosts[n]
	var out []fsm.Standby
	for i := range w.n {
		if i == n {
			continue
		}
		s := fsm.Standby{Node: w.hosts[i].mem.Node, Flush: lsnAt(int(h.known[i]))}
		if w.streaming(i) && int(w.hosts[i].rcv) == n {
			s.Streaming = true
			s.Flush = w.hosts[i].log.lsn()
		}
		if h.log.lsn() > s.Flush {
			s.LagBytes = int64(h.log.lsn() - s.Flush)
		}
		if h.lost[i] {
			s.LostMS = long
		}
		out = append(out, s)
	}
	return out
}

// primarySeen is the age of a standby's last proof that the primary of the group lives.
func (w *World) primarySeen(n int) int64 {
	for i := range w.n {
		if i != n && w.hosts[i].serves() && w.hosts[i].works() && w.linked(i, n) && w.follows(n, i) {
			return 0
		}
	}
	return long
}

// follows reports whether the goal or the record that n knows names i as its primary.
func (w *World) follows(n, i int) bool {
	g := w.hosts[n].mem.Goal
	if g.Upstream != nil {
		return at(g.Upstream.Node) == i
	}
	return true
}
