package explore

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/autoctl/autoctl/fsm"
)

// canon writes the canonical form of a world: whatever a future can depend on, and nothing else. Sequence numbers are only
// ever compared, so that of each only the comparisons are written that somebody may still make.
type canon struct {
	buf []byte
	// refs is the record that sequence numbers of configurations are looked up in.
	refs fsm.Record
}

func (c *canon) reset() { c.buf = c.buf[:0] }

// canons are for those who compare only now and then.
var canons = sync.Pool{New: func() any { return &canon{} }}

// same reports whether two reports of a node say the same to a monitor with that record, which has given it that goal.
func (c *canon) same(w *World, goal fsm.Stamp, a, b *fsm.Report) bool {
	c.reset()
	c.refs = w.group.Record
	c.report(a, goal)
	half := len(c.buf)
	c.report(b, goal)
	return len(c.buf) == 2*half && bytes.Equal(c.buf[:half], c.buf[half:])
}

func (c *canon) byte(b ...byte) { c.buf = append(c.buf, b...) }

func (c *canon) bool(bs ...bool) {
	for _, b := range bs {
		if b {
			c.buf = append(c.buf, 1)
		} else {
			c.buf = append(c.buf, 0)
		}
	}
}

func (c *canon) str(s string) {
	c.buf = append(c.buf, byte(len(s)))
	c.buf = append(c.buf, s...)
}

// place writes which configuration of the record has the sequence number; 0 for none.
func (c *canon) place(seq uint64) {
	for i := range c.refs {
		if c.refs[i].Seq == seq {
			c.byte(byte(i + 1))
			return
		}
	}
	c.byte(0)
}

// upTo writes how many configurations of the record have at most the sequence number.
func (c *canon) upTo(seq uint64) {
	n := byte(0)
	for i := range c.refs {
		if c.refs[i].Seq <= seq {
			n++
		}
	}
	c.byte(n)
}

// hash mixes eight bytes at a time; 64 bits are enough for the few million states that a search reaches.
func hash(b []byte) uint64 {
	const prime1, prime2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
	h := uint64(len(b)) * prime1
	for ; len(b) >= 8; b = b[8:] {
		h = mix(h ^ binary.LittleEndian.Uint64(b)*prime2)
	}
	var tail [8]byte
	copy(tail[:], b)
	return mix(h^binary.LittleEndian.Uint64(tail[:])*prime1) | 1
}

func mix(h uint64) uint64 {
	h ^= h >> 29
	h *= 0x94D049BB133111EB
	h ^= h >> 32
	return h
}

// encode writes the world; budgets are left out when the world has healed and nothing more will happen to it.
func (c *canon) encode(w *World, budgets bool) uint64 {
	c.reset()
	c.byte(w.cutMonitor, w.cutPeers, byte(w.commits), byte(w.forgiven))
	c.bool(w.excused)
	c.byte(w.acked[1 : w.commits+1]...)
	for _, r := range w.reigns {
		c.str(string(r))
	}
	if budgets {
		c.byte(byte(w.faults), byte(w.commands))
		c.bool(w.diskLost)
	}
	for i := range w.n {
		c.host(w, i)
	}
	c.group(w)
	return hash(c.buf)
}

func (c *canon) host(w *World, n int) {
	h := &w.hosts[n]
	c.memory(h.mem)
	c.str(string(h.log))
	c.str(string(h.copied))
	c.files(h.files)
	if w.opt.breaks(staleConf) {
		c.files(h.before)
	}
	c.byte(byte(h.control))
	c.status(h.status)
	c.bool(h.clean, h.ruled, h.down, h.runs, h.read, h.started, h.fresh, h.checked, h.patience, h.deadline, h.stuck, h.silent, h.late != nil)
	c.byte(byte(h.rcv), h.crashes)
	if h.running() {
		c.files(h.loaded)
		c.byte(byte(h.force.k), h.force.members, byte(h.own))
		c.bool(h.lost[:]...)
	}
	if w.waits(n, h.log.len()) {
		c.byte(h.known[:]...) // nobody else waits for an answer
	}
	goal := fsm.Stamp{}
	if node, ok := w.peek(n); ok {
		goal = node.Goal.Stamp
	}
	c.bool(h.mem.Goal.Stamp == goal)
	if h.late != nil {
		c.report(h.late, goal)
	}
}

func (c *canon) files(f files) {
	c.bool(f.standby, f.gate)
	c.byte(byte(f.up), byte(f.k), f.members)
}

func (c *canon) status(s fsm.ServerStatus) {
	if s == "" {
		c.byte(0, 0)
		return
	}
	c.byte(s[0], s[len(s)-2]) // every status has its own pair
}

func (c *canon) memory(m *fsm.Memory) {
	c.goal(&m.Goal)
	c.str(string(m.State))
	c.str(string(m.Busy))
	c.str(string(m.Rung))
	c.str(string(m.Tried))
	c.byte(byte(m.Generation), byte(m.Drained/lsnUnit))
	c.promotions(m.Promotions)
	c.upTo(m.Settled)
	c.bool(m.Asked, m.Released, m.Serving != nil, m.Reached == m.Goal.Stamp, m.Resumed == m.Goal.Stamp)
	c.bool(m.Goal.Configuration != nil && m.Settled >= m.Goal.Configuration.Seq)
	if s := m.Serving; s != nil && s.Configuration != nil {
		c.str(string(s.State))
		c.byte(byte(s.Timeline))
		c.configuration(s.Configuration)
		c.bool(m.Settled >= s.Configuration.Seq)
	}
}
