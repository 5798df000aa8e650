package explore

import (
	"encoding/binary"

	"github.com/autoctl/autoctl/fsm"
)

// maxSeq bounds the sequence numbers that the canonical form can hold.
const maxSeq = 1024

// canon writes the canonical form of a world: whatever a future can depend on, and nothing else. Sequence numbers are only
// ever compared, so they are replaced by their rank among those present.
type canon struct {
	buf  []byte
	at   []int // where sequence numbers stand in buf
	seqs []uint16
	used [maxSeq / 64]uint64
	rank [maxSeq]byte
}

func (c *canon) reset() {
	c.buf, c.at, c.seqs = c.buf[:0], c.at[:0], c.seqs[:0]
	c.used = [maxSeq / 64]uint64{}
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

func (c *canon) seq(s uint64) {
	if s >= maxSeq {
		s = maxSeq - 1
	}
	c.used[s/64] |= 1 << (s % 64)
	c.at = append(c.at, len(c.buf))
	c.seqs = append(c.seqs, uint16(s))
	c.buf = append(c.buf, 0)
}

// sum finishes the form and returns its hash.
func (c *canon) sum() uint64 {
	next := byte(0)
	for i, word := range c.used {
		for word != 0 {
			low := word & -word
			c.rank[i*64+bit(low)] = next
			next++
			word ^= low
		}
	}
	for i, at := range c.at {
		c.buf[at] = c.rank[c.seqs[i]]
	}
	return hash(c.buf)
}

func bit(one uint64) int {
	n := 0
	for one > 1 {
		one >>= 1
		n++
	}
	return n
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
	c.byte(w.acked[1 : w.commits+1]...)
	for _, r := range w.reigns {
		c.str(string(r))
	}
	if budgets {
		c.byte(byte(w.faults), byte(w.commands))
		c.bool(w.diskLost)
	}
	for i := range w.n {
		c.host(&w.hosts[i])
	}
	c.group(w)
	return c.sum()
}

func (c *canon) host(h *host) {
	c.memory(h.mem)
	c.str(string(h.log))
	c.str(string(h.copied))
	c.files(h.files)
	c.files(h.before)
	c.byte(byte(h.control))
	c.status(h.status)
	c.bool(h.clean, h.ruled, h.down, h.runs, h.read, h.started, h.fresh, h.checked, h.patience, h.deadline, h.stuck, h.silent, h.late != nil)
	c.files(h.loaded)
	c.byte(byte(h.force.k), h.force.members, byte(h.rcv), byte(h.own), h.crashes)
	c.byte(h.known[:]...)
	c.bool(h.lost[:]...)
	if h.late != nil {
		c.report(h.late)
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
	c.stamp(m.Reached)
	c.str(string(m.State))
	c.str(string(m.Busy))
	c.str(string(m.Rung))
	c.str(string(m.Tried))
	c.byte(byte(m.Generation), byte(m.Drained/lsnUnit))
	c.promotions(m.Promotions)
	c.seq(m.Settled)
	c.stamp(m.Resumed)
	c.bool(m.Asked, m.Released, m.Serving != nil)
	if m.Serving != nil {
		c.goal(m.Serving)
	}
}
