package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// frame is what the numbers of a canonical form are counted from. Epochs, timelines, positions, generations and commits are only
// ever compared with each other, so two worlds that differ by a shift of them, or by a past that nothing can look at any more,
// have the same future: a group that has recovered from a fault is the group that it was before. The zero frame shifts nothing.
type frame struct {
	epoch      uint64
	timeline   fsm.Timeline
	base       int // records that every log holds; the last of them stays in sight
	generation [maxNodes]uint64
	commits    []byte // what to call each commit; 0 for one that nobody will ask for
	reigns     uint64 // epochs whose ruler may still be compared
	oldest     uint64 // the oldest epoch in which anybody can still acknowledge
	waiting    bool   // a client waits for a commit
	past       uint64 // timelines of the records that every log holds, a bit each
}

// frame finds the frame of the world.
func (w *World) frame() frame {
	f := frame{epoch: w.group.Epoch, oldest: w.group.Epoch}
	for _, o := range w.group.Orders {
		f.timeline = max(f.timeline, o.Timeline)
	}
	for i := range w.n {
		h := &w.hosts[i]
		f.generation[i] = h.mem.Generation
		for _, log := range []wal{h.log, h.copied} {
			if log != "" {
				f.oldest = min(f.oldest, w.made.Epoch(log.timeline()))
			}
		}
	}
	f.reigns = w.rivals(f.oldest)
	w.findBase(&f)
	w.nameCommits(&f)
	return f
}

// rivals returns the epochs whose ruler's log may still be looked at: those after one in which somebody can acknowledge a commit,
// and those in which somebody may yet be promoted.
func (w *World) rivals(oldest uint64) uint64 {
	var promised, set uint64
	for i := range w.n {
		h := &w.hosts[i]
		promised |= promises(h, &h.mem.Goal)
		if s := h.mem.Serving; s != nil {
			promised |= promises(h, s)
		}
		if h.held != nil {
			promised |= promises(h, h.held)
		}
		if node, ok := w.peek(i); ok {
			promised |= promises(h, &node.Goal)
		}
	}
	for _, r := range w.reigns {
		if r.epoch > oldest || promised&(1<<r.epoch) != 0 {
			set |= 1 << r.epoch
		}
	}
	return set
}

// promises is the epoch of the promotion that a goal orders and the node has not made.
func promises(h *host, g *fsm.Goal) uint64 {
	if g.Timeline == 0 || h.log != "" && h.log.timeline() == g.Timeline {
		return 0
	}
	return 1 << g.Orders.Epoch(g.Timeline)
}

// findBase finds the records that every log in the world holds, and that nobody waits for.
func (w *World) findBase(f *frame) {
	common, first := wal(""), true
	each := func(log wal) {
		if log == "" {
			return
		}
		if first {
			common, first = log, false
			return
		}
		n := 0
		for n < len(common) && n < len(log) && common[n] == log[n] {
			n++
		}
		common = common[:n-n%2]
	}
	for i := range w.n {
		each(w.hosts[i].log)
		each(w.hosts[i].copied)
	}
	for _, r := range w.reigns {
		if f.reigns&(1<<r.epoch) != 0 {
			each(r.log)
		}
	}
	end := 0
	for end < common.len() && (common.commit(end) == 0 || w.acked[common.commit(end)] != 0 || !w.awaited(common.commit(end))) {
		end++
	}
	f.base = max(end-1, 0)
	for i := range min(f.base+1, common.len()) {
		f.past |= 1 << common[2*i]
	}
}

// awaited reports whether the client of an unacknowledged commit still waits for it somewhere.
func (w *World) awaited(commit byte) bool {
	for i := range w.n {
		h := &w.hosts[i]
		if !h.serves() {
			continue
		}
		for r := h.own; r < h.log.len(); r++ {
			if h.log.commit(r) == commit {
				return true
			}
		}
	}
	return false
}

// held reports whether every node has the commit, and every copy, so that nobody can ever lack it.
func (w *World) held(commit byte) bool {
	for i := range w.n {
		h := &w.hosts[i]
		if h.log != "" && !h.log.has(commit) || h.copied != "" && !h.copied.has(commit) {
			return false
		}
	}
	return true
}

// nameCommits numbers the commits that somebody may still ask for in the order in which the logs name them.
func (w *World) nameCommits(f *frame) {
	f.commits = make([]byte, w.commits+1)
	next := byte(1)
	give := func(c byte) {
		if c != 0 && f.commits[c] == 0 && w.matters(c) {
			f.commits[c] = next
			f.waiting = f.waiting || w.acked[c] == 0 && w.awaited(c)
			next++
		}
	}
	for i := range w.n {
		for _, log := range []wal{w.hosts[i].log, w.hosts[i].copied} {
			for r := range log.len() {
				give(log.commit(r))
			}
		}
	}
	for c := range w.commits {
		if w.acked[c+1] != 0 {
			give(byte(c + 1)) // lost, and still owed
		}
	}
}

func (w *World) matters(c byte) bool {
	if w.acked[c] == 0 { // one that nobody waits for may yet be seen
		return w.awaited(c) || !w.held(c)
	}
	return uint64(w.acked[c]) >= w.forgiven && !w.held(c)
}

// settledPast reports whether a promotion is part of what every log holds: no history can ever lack it.
func (f *frame) settledPast(orders fsm.Orders, node fsm.NodeID, p fsm.Promotion) bool {
	if f.past&(1<<p.Timeline) == 0 {
		return false
	}
	return slices.Contains(orders, fsm.Order{Timeline: p.Timeline, Epoch: p.Epoch, Node: node})
}
