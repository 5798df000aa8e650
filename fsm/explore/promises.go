package explore

import (
	"fmt"
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// acknowledge tells clients of every commit that their server may now acknowledge. A commit is acknowledged as early as any
// mixture of what is in force allows: that is the most that a group can be held to.
func (w *World) acknowledge() {
	for i := range w.n {
		h := &w.hosts[i]
		if !h.serves() || !h.works() || !h.goes() {
			continue
		}
		for r := h.own; r < h.log.len(); r++ {
			c := h.log.commit(r)
			if c != 0 && w.acked[c] == 0 && w.releases(h, r) {
				w.promise(i, c)
			}
		}
	}
}

// waits reports whether a client of the server waits for a record that the node with so many records holds.
func (w *World) waits(server, records int) bool {
	h := &w.hosts[server]
	if !h.serves() {
		return false
	}
	for r := h.own; r < min(records, h.log.len()); r++ {
		if c := h.log.commit(r); c != 0 && w.acked[c] == 0 {
			return true
		}
	}
	return false
}

// releases reports whether the server stops waiting for its record.
func (w *World) releases(h *host, record int) bool {
	if h.force.k == 0 {
		return true
	}
	count := 0
	for i := range w.n {
		if h.force.members&bit(w.hosts[i].mem.Node) != 0 && int(h.known[i]) > record {
			count++
			if int(h.twin[i]) > record {
				count++
			}
		}
	}
	return count >= int(h.force.k)
}

// promise notes an acknowledgement, and checks P2: no later ruler may lack the commit.
func (w *World) promise(n int, commit byte) {
	epoch := w.ruling(n)
	w.acked[commit] = uint8(max(epoch, 1))
	for _, later := range w.reigns {
		if later.epoch > epoch && !later.log.has(commit) && later.epoch > w.forgiven {
			w.breakPromise("P2: node %s acknowledged c%d in epoch %d after the ruler of epoch %d came up without it", name(n), commit, epoch, later.epoch)
		}
	}
}

// show lets clients see what the server had in its log before it came up, or was promoted, acknowledged or not: what they have read
// must not vanish either. That is what the crash gate is for (S16); past its patience it promises nothing.
func (w *World) show(n int) {
	h := &w.hosts[n]
	for r := range min(h.own, h.log.len()) {
		if c := h.log.commit(r); c != 0 && w.acked[c] == 0 {
			w.promise(n, c)
		}
	}
}

// ruling is the epoch of the timeline that node n is on, by the monitor's truth.
func (w *World) ruling(n int) uint64 {
	if h := &w.hosts[n]; h.reign > 0 {
		return h.reign
	}
	return w.made.Epoch(w.hosts[n].log.timeline())
}

// crown checks P1 when a server comes up read-write: it holds every commit acknowledged in its own or an earlier epoch.
func (w *World) crown(n int, epoch uint64, promoted bool) {
	h := &w.hosts[n]
	for c := 1; c <= w.commits; c++ {
		e := uint64(w.acked[c])
		if e != 0 && e <= epoch && e >= w.forgiven && !h.log.has(byte(c)) {
			w.breakPromise("P1: node %s rules in epoch %d without c%d, acknowledged in epoch %d", name(n), epoch, c, e)
		}
	}
	if !promoted {
		return
	}
	for _, r := range w.reigns {
		if r.epoch == epoch && r.log != h.log {
			w.breakPromise("P2: two rulers of epoch %d", epoch)
		}
	}
	w.reigns = append(slices.Clip(w.reigns), reign{epoch, h.log})
}

// whole checks P1 of a group that has converged: the one that serves holds everything.
func (w *World) whole(n int) {
	for c := 1; c <= w.commits; c++ {
		if e := uint64(w.acked[c]); e != 0 && e >= w.forgiven && !w.hosts[n].log.has(byte(c)) {
			w.breakPromise("P1: the group converged on node %s without c%d, acknowledged in epoch %d", name(n), c, e)
		}
	}
	for i := range w.n {
		if i != n && w.streaming(i) && w.hosts[i].log != w.hosts[n].log {
			w.breakPromise("P1: node %s streams from node %s and holds something else", name(i), name(n))
		}
	}
}

func (w *World) breakPromise(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

func name(n int) string { return string(rune('a' + n)) }

func nameOf(id fsm.NodeID) string { return name(at(id)) }
