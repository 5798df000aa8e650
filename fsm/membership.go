package fsm

import (
	"slices"
	"time"
)

// calm is how long a member must have stayed since its last hold-off for its comings and goings to be forgotten.
const calm = 10 * time.Minute

// membership makes one change to the synchronous set when the last one has settled: only additions, or only removals, or only k; from and to k = 0
// everything at once, because only its primary covers such a configuration. Weaker first: additions before a higher k, a lower k before removals.
// A set that nobody is left to settle is changed all the same, or the group would wait for it for ever (P3); so is the first of a reign.
func (d *decider) membership() bool {
	p := d.primary()
	if p == nil || d.g.Election != nil || !d.readWrite(p) || !p.Goal.State.Serves() {
		return false
	}
	cur, _ := d.g.Record.Current()
	settled := len(d.g.Record) == 1
	if p.Report.Obeyed != p.Goal.Stamp || member(p) != cur.Primary || !settled && len(d.g.Record.reign(cur)) > 1 && !d.forsaken(p, cur) {
		return d.unsettled(p, cur)
	}
	// A member that is gone makes the next election impossible: it leaves first where enough remain (S19).
	if d.removal(p, cur, max(1, d.g.NumberSync)) {
		return true
	}
	if settled || d.forsaken(p, cur) {
		if fresh := d.joiners(p, cur); len(fresh) > 0 && d.admit(p, cur, fresh) {
			return true
		}
	}
	if d.removal(p, cur, 0) {
		return true
	}
	if !settled && !d.forsaken(p, cur) {
		return d.unsettled(p, cur)
	}
	want := max(1, d.g.NumberSync)
	switch {
	case cur.K > 0 && len(cur.Members) == 0 && d.g.NumberSync == 0:
		return d.configure(p, cur, 0, nil, "nobody is left to wait for, and number_sync_standbys is 0")
	case cur.K > want:
		return d.configure(p, cur, want, cur.Members, "number_sync_standbys is %d", d.g.NumberSync)
	case !settled:
		return d.unsettled(p, cur)
	case cur.K > len(cur.Members):
		d.refuse(p.ID, false, "bring a standby back, or lower the number: autoctl set formation number-sync-standbys",
			"number_sync_standbys is %d and %d standbys are in step: writes wait", d.g.NumberSync, len(cur.Members))
	case cur.K == 0 && d.servingState() == StateWaitPrimary:
		hint := d.quorumHint(p)
		d.refuse(p.ID, hint != "", hint, "no quorum standby is in step: commits are not protected, and nobody may be promoted without it")
	case cur.K > 0 && cur.K < want && len(cur.Members) >= want:
		return d.configure(p, cur, want, cur.Members, "number_sync_standbys is %d", d.g.NumberSync)
	case cur.K > 0 && cur.K < want:
		d.refuse(p.ID, false, "", "number_sync_standbys is %d, and only %d standbys are in step", d.g.NumberSync, len(cur.Members))
	}
	return false
}

// quorumHint says what an operator can do where no standby may become a member as things are; "" where one may.
func (d *decider) quorumHint(p *Node) string {
	hint := ""
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		switch {
		case n.ID == p.ID || n.Dropping:
		case n.Maintenance && n.Quorum:
			hint = "autoctl disable maintenance --name " + n.Name
		case !n.Quorum:
			if hint == "" {
				hint = "autoctl set node replication-quorum true --name " + n.Name
			}
		default:
			return ""
		}
	}
	return hint
}

// unsettled says why nothing changes while older configurations may still be in force; false.
func (d *decider) unsettled(p *Node, cur Configuration) bool {
	switch {
	case len(d.g.Record) < 2:
	case d.forsaken(p, cur):
		d.refuse(p.ID, false, "bring a standby of it back, or lower the number: autoctl set formation number-sync-standbys 0",
			"configuration %d is not settled yet, and too few of its standbys are left to settle it: writes wait", cur.Seq)
	default:
		d.refuse(p.ID, false, "", "configuration %d is not settled yet", cur.Seq)
	}
	return false
}

// forsaken reports whether a configuration waits for more members than are left, as the primary sees it.
func (d *decider) forsaken(p *Node, cur Configuration) bool {
	left := 0
	for _, m := range cur.Members {
		if n := d.node(m.Node); n != nil && member(n) == m && !d.lost(p, n) {
			left++
		}
	}
	return left < cur.K && cur.K <= len(cur.Members)
}

// joiners returns the standbys that may become members and are none, in their present data generation.
func (d *decider) joiners(p *Node, cur Configuration) []Member {
	var out []Member
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || !n.Quorum || d.leaves(n) || !d.standby(n) || !d.inStep(p, n) || slices.Contains(cur.Members, member(n)) {
			continue
		}
		if !n.Goal.State.Follows() || n.Report.Obeyed != n.Goal.Stamp {
			continue
		}
		if n.HoldUntil > d.now {
			d.refuse(n.ID, false, "", "it came and went; it is taken back in %v", n.HoldUntil.Sub(d.now).Round(time.Millisecond))
			d.wakeAt(n.HoldUntil)
			continue
		}
		out = append(out, member(n))
	}
	return out
}

// inStep is near, and says of a standby that streams how far it is behind: positions alone wake nobody.
func (d *decider) inStep(p, n *Node) bool {
	if d.near(p, n) {
		return true
	}
	if s, ok := seenBy(p, n); ok && s.Streaming && s.LostMS == 0 && d.live(p) {
		d.refuse(n.ID, false, "", "it streams, %d MiB behind; it counts from %d MiB on", s.LagBytes>>20, d.g.Settings.CatchupBytes>>20)
		d.wakeAt(d.now.Add(time.Second))
	}
	return false
}

func (d *decider) admit(p *Node, cur Configuration, fresh []Member) bool {
	if cur.K == 0 {
		k := min(max(1, d.g.NumberSync), len(fresh))
		return d.configure(p, cur, k, fresh, "in step: %s", d.called(fresh))
	}
	return d.configure(p, cur, cur.K, append(slices.Clone(cur.Members), fresh...), "in step: %s", d.called(fresh))
}

// leaves reports whether an operator, or the node itself, wants it out of the record.
func (d *decider) leaves(n *Node) bool {
	return n.Maintenance || n.Dropping || n.Leaving != 0 || n.MinGeneration > 0 && n.Report != nil && n.Report.Generation < n.MinGeneration
}

// removal takes out members that are lost as the primary sees it, down to max(N, 1) of them and with N = 0 to none, and those that must go whatever remains:
// with N ≥ 1 and too few left, writes wait. It does nothing where fewer than least would remain.
func (d *decider) removal(p *Node, cur Configuration, least int) bool {
	var must, lost, keep []Member
	for _, m := range cur.Members {
		n := d.node(m.Node)
		switch {
		case n == nil || !n.Quorum || d.leaves(n) || n.Report != nil && n.Report.Generation != m.Generation:
			must = append(must, m)
		case d.lost(p, n):
			lost = append(lost, m)
		default:
			keep = append(keep, m)
		}
	}
	if len(must) > 0 && len(keep)+len(lost) >= least {
		return d.shrink(p, cur, append(keep, lost...), must)
	}
	if len(lost) == 0 || len(must) > 0 || len(keep) < least {
		return false
	}
	floor := max(1, d.g.NumberSync)
	for len(keep) < floor && len(lost) > 0 && (d.g.NumberSync > 0 || len(keep) > 0) {
		keep, lost = append(keep, lost[0]), lost[1:]
	}
	if len(lost) == 0 {
		d.refuse(p.ID, false, "bring a standby back, or lower the number: autoctl set formation number-sync-standbys", "number_sync_standbys is %d: writes wait for the lost standby", d.g.NumberSync)
		return false
	}
	if !d.shrink(p, cur, keep, lost) {
		return false
	}
	d.holdOff(lost)
	return true
}

// holdOff has members that were lost, and are in the record no more, come back later each time.
func (d *decider) holdOff(lost []Member) {
	now, _ := d.g.Record.Current()
	for _, m := range lost {
		if slices.Contains(now.Members, m) {
			continue // they leave with a later change
		}
		n := d.node(m.Node)
		if n.HoldUntil > 0 && d.now.Sub(n.HoldUntil) > calm {
			n.Returns = 0
		}
		n.Returns++
		n.HoldUntil = d.now.Add(ms(d.g.Settings.RejoinHoldMS) << min(n.Returns-1, 5))
		d.event("lost", n.ID, "the primary has not had its word for %d ms", d.g.Settings.ReplicationStallMS)
	}
}

// lost reports whether the primary sees the standby gone, or its flush position standing still, for replication_stall_after (S17).
func (d *decider) lost(p, n *Node) bool {
	s, ok := seenBy(p, n)
	stall := d.g.Settings.ReplicationStallMS
	if !ok || s.LostMS == 0 {
		return false
	}
	if s.LostMS < stall {
		d.wakeAt(d.now.Add(ms(stall - s.LostMS)))
		return false
	}
	return true
}

func (d *decider) shrink(p *Node, cur Configuration, keep, gone []Member) bool {
	switch {
	case len(keep) == 0 && d.g.NumberSync == 0:
		return d.configure(p, cur, 0, nil, "no standby is left: commits are not protected any more")
	case cur.K > max(1, d.g.NumberSync):
		return d.configure(p, cur, max(1, d.g.NumberSync), cur.Members, "k is lowered before members leave")
	}
	return d.configure(p, cur, cur.K, keep, "%s leaves", d.called(gone))
}

// configure appends a configuration, or, where older ones that are not settled stand in the way of it, first the weakest of them all.
func (d *decider) configure(p *Node, cur Configuration, k int, members []Member, format string, args ...any) bool {
	if k == 0 {
		members = nil
	}
	slices.SortFunc(members, byNode)
	next := Configuration{Seq: d.seq, Epoch: cur.Epoch, Primary: cur.Primary, K: k, Members: members}
	if !d.g.Record.admits(next) {
		next = d.g.Record.join(next)
	}
	if cur.same(next) {
		return false
	}
	d.g.Record = d.g.Record.with(next)
	d.event("record", p.ID, format, args...)
	return true
}
