package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// past writes what makes a difference where a monitor may have, or have had, an older memory: what it saved, and every number and list that somebody may
// compare with another's, which nobody does as long as there was only one past. Sequence numbers are written by rank.
func (c *canon) past(w *World) {
	c.bool(w.restored, w.backup != nil)
	c.byte(byte(w.incarnation), byte(w.begun), byte(w.begun>>8))
	seqs := c.seqs(w)
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	each := func(seq uint64) {
		i, _ := slices.BinarySearch(seqs, seq)
		c.byte(byte(i))
	}
	c.numbers(&w.group, each)
	for i := range w.n {
		h := &w.hosts[i]
		c.memoryNumbers(h.mem, each)
		if h.late != nil {
			c.reportNumbers(h.late, each)
		}
		if h.held != nil {
			c.goalNumbers(h.held, each)
		}
	}
	for _, id := range w.departed {
		c.byte(byte(id))
	}
	if w.backup == nil {
		return
	}
	saved := World{opt: w.opt, n: w.n, group: w.backup.group}
	c.refs = saved.group.Record
	c.group(&saved)
	c.numbers(&saved.group, each)
	c.byte(byte(len(w.backup.departed)))
}

// seqs collects all sequence numbers of the world.
func (c *canon) seqs(w *World) []uint64 {
	var all []uint64
	note := func(seq uint64) { all = append(all, seq) }
	end := len(c.buf)
	c.numbers(&w.group, note)
	for i := range w.n {
		h := &w.hosts[i]
		c.memoryNumbers(h.mem, note)
		if h.late != nil {
			c.reportNumbers(h.late, note)
		}
		if h.held != nil {
			c.goalNumbers(h.held, note)
		}
	}
	if w.backup != nil {
		c.numbers(&w.backup.group, note)
	}
	c.buf = c.buf[:end]
	return all
}

func (c *canon) numbers(g *fsm.Group, each func(uint64)) {
	each(g.Seq)
	c.byte(byte(g.Incarnation), byte(c.epoch-g.Epoch))
	c.recordNumbers(g.Record, each)
	c.orders(g.Orders)
	for i := range g.Nodes {
		n := &g.Nodes[i]
		c.goalNumbers(&n.Goal, each)
		if n.Report != nil {
			c.reportNumbers(n.Report, each)
		}
	}
}

func (c *canon) stamp(s fsm.Stamp, each func(uint64)) {
	c.byte(byte(s.Incarnation), byte(c.epoch-s.Epoch))
	each(s.Seq)
}

func (c *canon) memoryNumbers(m *fsm.Memory, each func(uint64)) {
	c.goalNumbers(&m.Goal, each)
	c.stamp(m.Reached, each)
	c.stamp(m.Resumed, each)
	each(m.Settled)
	if m.Serving != nil {
		c.goalNumbers(m.Serving, each)
	}
}

func (c *canon) goalNumbers(g *fsm.Goal, each func(uint64)) {
	c.stamp(g.Stamp, each)
	c.recordNumbers(g.Record, each)
	c.orders(g.Orders)
	if g.Configuration != nil {
		each(g.Configuration.Seq)
	}
}

func (c *canon) reportNumbers(r *fsm.Report, each func(uint64)) {
	c.stamp(r.Obeyed, each)
	c.stamp(r.Reached, each)
	each(r.Settled)
	if r.Vote != nil {
		c.stamp(r.Vote.Stamp, each)
	}
	c.record(r.Record)
	c.recordNumbers(r.Record, each)
	c.orders(r.Orders)
}

func (c *canon) recordNumbers(r fsm.Record, each func(uint64)) {
	for i := range r {
		each(r[i].Seq)
	}
}

// orders writes a list of timelines.
func (c *canon) orders(all fsm.Orders) {
	c.byte(byte(len(all)))
	for _, o := range all {
		c.tli(o.Timeline)
		c.epochOf(o.Epoch)
		c.byte(byte(o.Node))
	}
}
