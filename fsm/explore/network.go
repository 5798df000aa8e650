package explore

import (
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// network says which ways are cut: one bit for each direction between two nodes, and for each node to the monitor and back.
type network struct {
	peers    uint32
	up, down uint8
}

// monitor stands for the monitor as an end of a link.
const monitor = -1

// way is the bit of the way from one node to another.
func way(from, to int) uint32 { return 1 << (from*maxNodes + to) }

func (x *network) whole() bool { return *x == network{} }

// open reports whether anything comes through from one node to another.
func (x *network) open(from, to int) bool { return x.peers&way(from, to) == 0 }

// cut cuts the way from one end to the other; false when it was cut already.
func (x *network) cut(from, to int) bool {
	was := *x
	switch {
	case to == monitor:
		x.up |= 1 << from
	case from == monitor:
		x.down |= 1 << to
	default:
		x.peers |= way(from, to)
	}
	return *x != was
}

// heal makes the link between two ends whole, in both directions; false when it was.
func (x *network) heal(a, b int) bool {
	was := *x
	if b == monitor {
		x.up &^= 1 << a
		x.down &^= 1 << a
	} else {
		x.peers &^= way(a, b) | way(b, a)
	}
	return *x != was
}

// linked reports whether two nodes can have a connection: it needs both directions.
func (w *World) linked(a, b int) bool {
	return a == b || w.network.open(a, b) && w.network.open(b, a) && w.hosts[a].goes() && w.hosts[b].goes()
}

// speaks reports whether what the keeper of node n says reaches the monitor.
func (w *World) speaks(n int) bool { return w.network.up&(1<<n) == 0 && w.hosts[n].attends() }

// listens reports whether what the monitor says reaches the keeper of node n.
func (w *World) listens(n int) bool { return w.network.down&(1<<n) == 0 && w.hosts[n].attends() }

// probes reports whether the monitor's own probe of the server succeeds.
func (w *World) probes(n int) bool {
	h := &w.hosts[n]
	return (w.network.up|w.network.down)&(1<<n) == 0 && h.goes() && h.answers()
}

// attends reports whether the keeper is at work.
func (h *host) attends() bool { return h.goes() && !h.dozes && !h.left }

// cut cuts a link in both directions, which ends what was connected over it.
func (w *World) cut(a, b int) bool {
	was := w.network
	w.network.cut(a, b)
	w.network.cut(b, a)
	if w.network == was {
		return false
	}
	if b == monitor {
		return true
	}
	for _, i := range []int{a, b} {
		if other := a + b - i; int(w.hosts[i].rcv) == other {
			w.hosts[i].rcv = -1
		}
	}
	return true
}

// heal makes a link whole. What still streams over it is seen to stream again.
func (w *World) heal(a, b int) bool {
	if !w.network.heal(a, b) {
		return false
	}
	if b != monitor {
		w.seen(a)
		w.seen(b)
	}
	return true
}

// seen lets servers see that node n, or who streams from it, streams again.
func (w *World) seen(n int) {
	for i := range w.n {
		if up := int(w.hosts[i].rcv); w.streaming(i) && (i == n || up == n) {
			w.hosts[up].lost[i] = false
		}
	}
}

// deaf ends a connection over which nothing has come for long: the receiver's when its upstream is not heard.
func (w *World) deaf(n int) bool {
	h := &w.hosts[n]
	if !w.connected(n) || w.network.open(int(h.rcv), n) {
		return false
	}
	h.rcv = -1
	return true
}

// turnedAway lets a keeper hear that the monitor does not know its node. One that was dropped stops its server and ends; any other goes on, and an
// operator has to hand it over.
func (w *World) turnedAway(n int) bool {
	h := &w.hosts[n]
	if !w.listens(n) || h.running() && !h.answers() || h.mem.State != fsm.StateDropped && !w.dropped(h.mem.Node) {
		return false
	}
	if h.status == fsm.ServerRunning || h.status == fsm.ServerStarting {
		w.stopFast(n)
	}
	h.remember(func(m *fsm.Memory) { m.Released = true })
	h.left = true
	return true
}

// dropped reports whether the monitor knows that a node was dropped.
func (w *World) dropped(id fsm.NodeID) bool { return slices.Contains(w.departed, id) }
