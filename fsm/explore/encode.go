package explore

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/autoctl/autoctl/fsm"
)

// canon writes the canonical form of a world: whatever a future can depend on, and nothing else. Sequence numbers are only
// ever compared, so that of each only the comparisons are written that somebody may still make; other numbers count from a frame.
type canon struct {
	buf []byte
	// refs is the record that sequence numbers of configurations are looked up in.
	refs fsm.Record
	frame
	// named are the timelines that the form names, a bit each.
	named uint64
}

func (c *canon) reset() { c.buf, c.named = c.buf[:0], 0 }

// canons are for those who compare only now and then.
var canons = sync.Pool{New: func() any { return &canon{} }}

// same reports whether two reports of a node say the same to a monitor with that record, which has given it that goal.
func (c *canon) same(w *World, goal fsm.Stamp, a, b *fsm.Report) bool {
	c.reset()
	c.refs, c.frame = w.group.Record, frame{}
	c.report(w, a, goal)
	half := len(c.buf)
	c.report(w, b, goal)
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

// none stands for a number that is not set.
const none = 255

// epoch writes an epoch.
func (c *canon) epochOf(e uint64) {
	if e == 0 {
		c.byte(none)
		return
	}
	c.byte(byte(c.epoch - e))
}

// tli writes a timeline.
func (c *canon) tli(t fsm.Timeline) {
	if t == 0 {
		c.byte(none)
		return
	}
	c.named |= 1 << t
	c.byte(byte(c.timeline - t))
}

// lsn writes a position in a log.
func (c *canon) lsn(l fsm.LSN) {
	if l == 0 {
		c.byte(none)
		return
	}
	c.byte(byte(int(l/lsnUnit) - c.base))
}

// gen writes a data generation of a node.
func (c *canon) gen(n fsm.NodeID, g uint64) {
	if g == 0 {
		c.byte(none)
		return
	}
	c.byte(byte(c.generation[at(n)] - g))
}

// log writes the part of a log that not all others hold.
func (c *canon) log(log wal) {
	c.bool(log != "")
	if log == "" {
		return
	}
	c.byte(byte(log.len() - c.base))
	for r := c.base; r < log.len(); r++ {
		c.tli(fsm.Timeline(log[2*r]))
		c.byte(c.commits[log.commit(r)])
	}
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

// encode returns the hash of the world's canonical form, without what may still happen to it; see [World.budget].
func (c *canon) encode(w *World) uint64 {
	c.reset()
	c.frame = w.frame()
	c.refs = w.group.Record
	c.byte(w.network.up, w.network.down, byte(w.network.peers), byte(w.network.peers>>8), byte(w.network.peers>>16), byte(w.network.peers>>24))
	for i, name := range c.commits {
		if name != 0 {
			c.byte(name)
			c.epochOf(uint64(w.acked[i]))
		}
	}
	if w.forgiven > c.oldest {
		c.epochOf(w.forgiven)
	} else {
		c.byte(none)
	}
	for _, r := range w.reigns {
		if c.reigns&(1<<r.epoch) != 0 {
			c.epochOf(r.epoch)
			c.log(r.log)
		}
	}
	for i := range w.n {
		c.host(w, i)
	}
	c.group(w)
	if w.backup != nil || w.restored {
		c.past(w)
	}
	return hash(c.buf)
}

func (c *canon) host(w *World, n int) {
	h := &w.hosts[n]
	c.memory(w, h.mem)
	c.log(h.log)
	c.bool(h.log.ended() && h.mem.Goal.AwaitEnd)
	c.log(h.copied)
	c.files(h.files)
	c.remains(w, h)
	c.tli(h.control)
	c.status(h.status)
	gate, drains := h.files.gate || h.loaded.gate, h.mem.Goal.State.Drains()
	c.bool(h.clean, h.ruled, h.down, h.frozen, h.runs, h.read && !h.runs, h.fresh, h.stuck, h.silent, h.late != nil, h.starved)
	if w.opt.Every {
		c.rare(w, h)
	}
	if w.opt.Citus {
		c.held(w, h.holds, h.routed)
	}
	c.bool(gate && h.started, gate && h.patience, drains && h.checked, drains && h.deadline)
	c.byte(byte(h.rcv), h.crashes)
	if h.running() {
		c.files(h.loaded)
		c.byte(byte(h.force.k), byte(h.force.members), byte(h.force.members>>8))
		if gate || c.waiting {
			c.byte(byte(max(h.own-c.base, 0)))
		}
		c.bool(h.lost[:w.n]...)
	}
	if w.waits(n, h.log.len()) {
		for _, k := range h.known[:w.n] { // nobody else waits for an answer
			c.byte(byte(max(int(k)-c.base, 0)))
		}
	}
	goal := fsm.Stamp{}
	if node, ok := w.peek(n); ok {
		goal = node.Goal.Stamp
	}
	c.bool(h.mem.Goal.Stamp == goal)
	if h.late != nil {
		c.report(w, h.late, goal)
	}
}

// rare writes what the rarer faults leave.
func (c *canon) rare(w *World, h *host) {
	c.bool(h.dozes, h.left, h.full, h.weary, h.held != nil, h.begun != nil)
	c.byte(byte(h.hung), byte(h.mem.Node))
	if h.held != nil {
		c.goal(w, h.held)
		c.byte(byte(h.held.Compare(h.mem.Goal.Stamp) + 1))
	}
	if h.begun != nil {
		c.str(string(h.begun.Kind))
		if h.begun.Files != nil {
			c.files(filesOf(*h.begun.Files))
		}
	}
}

// remains writes what only a broken rule looks at.
func (c *canon) remains(w *World, h *host) {
	switch {
	case w.opt.breaks(staleConf):
		c.files(h.before)
	case w.opt.breaks(forgetful) && h.disk != nil:
		c.memory(w, h.disk)
	case w.opt.breaks(anyOrder) && h.prior != nil:
		c.goal(w, h.prior)
	case w.opt.breaks(sameTimeline):
		c.epochOf(h.reign)
	case w.opt.breaks(twoNames):
		for _, k := range h.twin[:w.n] {
			c.byte(byte(max(int(k)-c.base, 0)))
		}
	}
}

func (c *canon) files(f files) {
	c.bool(f.standby, f.gate)
	c.byte(byte(f.up), byte(f.k), byte(f.members), byte(f.members>>8))
}

func (c *canon) status(s fsm.ServerStatus) {
	if s == "" {
		c.byte(0, 0)
		return
	}
	c.byte(s[0], s[len(s)-2]) // every status has its own pair
}

func (c *canon) memory(w *World, m *fsm.Memory) {
	c.goal(w, &m.Goal)
	c.str(string(m.State))
	c.str(string(m.Busy))
	c.str(string(m.Rung))
	c.str(string(m.Tried))
	c.lsn(m.Drained)
	c.promotions(w, m.Node, m.Promotions)
	c.upTo(m.Settled)
	c.bool(m.Asked, m.Released, m.Serving != nil, m.Reached == m.Goal.Stamp, m.Resumed == m.Goal.Stamp)
	c.bool(m.Goal.Configuration != nil && m.Settled >= m.Goal.Configuration.Seq)
	if s := m.Serving; s != nil && s.Configuration != nil {
		c.str(string(s.State))
		c.tli(s.Timeline)
		c.configuration(s.Configuration)
		c.bool(m.Settled >= s.Configuration.Seq)
	}
}
