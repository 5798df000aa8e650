package explore

import (
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// The instants of a world: the monitor's clock stands at now, and what it has heard is fresh, or lost (older than
// node_lost_after), or gone (older than everything).
const (
	now  = fsm.Instant(time.Hour)
	lost = now - fsm.Instant(10*time.Second)
	gone = fsm.Instant(0)
	// never stands for no report in this life of the monitor.
	never = fsm.Instant(-1)
)

// maxEpochs and maxCommits bound what a world can count.
const (
	maxEpochs  = 12
	maxCommits = 12
)

// World is one state of a group and of everything around it. It is a value: events make new ones.
type World struct {
	opt   *Options
	n     int
	hosts [maxNodes]host
	// The monitor: what it has stored and heard, and why it does nothing.
	group   fsm.Group
	refused []fsm.Refusal
	answers []fsm.Answer
	// The network: a bit for each cut link.
	cutMonitor, cutPeers uint8
	// The clients: how many commits there were, in which epoch each was acknowledged (0 for not yet), and what each epoch's
	// ruler held when its reign began.
	commits int
	acked   [maxCommits + 1]uint8
	reigns  [maxEpochs]wal
	// forgiven is the epoch before which an operator has given up commits.
	forgiven uint64
	// What may still happen.
	faults, commands int
	diskLost         bool
	// overlap counts the faults and commands since the group was last in normal service.
	overlap int
	// excused says that something has happened after which a human may have to decide: data was lost, or an operator took
	// nodes or votes away.
	excused bool
	// resting is whether nothing is left to happen by itself, once somebody has looked.
	resting answer
	// broken is the promise that the last event broke; "" for none.
	broken string
}

// answer is a question's answer, or that nobody has asked yet.
type answer uint8

const (
	unasked answer = iota
	yes
	no
)

// newWorld is a group whose nodes have just registered, without data.
func newWorld(o *Options) World {
	o.defaults()
	w := World{opt: o, n: o.Nodes, faults: o.Faults, commands: o.Commands}
	s := fsm.DefaultSettings()
	s.RejoinHoldMS, s.FailoverLimit = 0, 1<<40
	w.group = fsm.Group{
		Formation: "default", Kind: fsm.KindPgsql, Database: "postgres", Incarnation: 1,
		NumberSync: o.NumberSync, Since: gone, Settings: s,
	}
	for i := range o.Nodes {
		id := fsm.NodeID(i + 1)
		name := string(rune('a' + i))
		w.group.Nodes = append(w.group.Nodes, fsm.Node{
			ID: id, Name: name, Host: name, Port: 5432, Token: name, Priority: 50, Quorum: true, Heard: never, Probed: never,
			Goal: fsm.Goal{Node: id, State: fsm.StateInit},
		})
		w.hosts[i] = host{
			mem:    &fsm.Memory{Node: id, Token: name, State: fsm.StateInit, Goal: fsm.Goal{State: fsm.StateInit}},
			status: fsm.ServerAbsent, rcv: -1, files: files{up: -1, k: -1},
		}
	}
	w.react()
	return w
}

// pair is the bit of the link between two nodes.
func pair(a, b int) uint8 { return 1 << (a + b - 1) }

func (w *World) linked(a, b int) bool {
	return a == b || w.cutPeers&pair(a, b) == 0 && w.hosts[a].goes() && w.hosts[b].goes()
}

// hears reports whether the monitor and node n can talk.
func (w *World) hears(n int) bool { return w.cutMonitor&(1<<n) == 0 && w.hosts[n].goes() }

// plan is what the keeper of node n would do.
func (w *World) plan(n int) []fsm.Step {
	if w.hosts[n].mem.Goal.State == fsm.StateInit {
		return nil
	}
	return w.opt.plan(w.hosts[n].mem.Goal, w.facts(n))
}

// node gives a copy of the monitor's row of node n to change, and says whether the node is still known.
func (w *World) node(n int) (*fsm.Node, bool) {
	id := fsm.NodeID(n + 1)
	for i := range w.group.Nodes {
		if w.group.Nodes[i].ID == id {
			nodes := make([]fsm.Node, len(w.group.Nodes))
			copy(nodes, w.group.Nodes)
			w.group.Nodes = nodes
			return &nodes[i], true
		}
	}
	return nil, false
}

// peek is node for reading.
func (w *World) peek(n int) (*fsm.Node, bool) {
	for i := range w.group.Nodes {
		if w.group.Nodes[i].ID == fsm.NodeID(n+1) {
			return &w.group.Nodes[i], true
		}
	}
	return nil, false
}

// react lets the monitor decide on what it knows.
func (w *World) react() {
	d := w.opt.decide(w.group, now)
	w.group, w.refused, w.answers = d.Group, d.Refused, d.Answers
	w.group.Unplanned = nil
	for _, id := range d.Forget {
		w.strike(id)
	}
	for _, e := range d.Events {
		switch e.Kind {
		case "data_loss":
			w.forgiven = w.group.Epoch
		case "oscillation":
			w.breakPromise("Decide turns in a circle: %s", e.Reason)
		}
	}
}

// strike takes a node off the monitor's list.
func (w *World) strike(id fsm.NodeID) {
	var kept []fsm.Node
	for _, n := range w.group.Nodes {
		if n.ID != id {
			kept = append(kept, n)
		}
	}
	w.group.Nodes = kept
}

// hear gives the monitor a report.
func (w *World) hear(n int, r fsm.Report) bool {
	node, ok := w.node(n)
	if !ok {
		return false
	}
	node.Report = &r
	node.Heard = now
	if w.hosts[n].running() && w.hears(n) {
		node.Probed = now
	}
	if w.group.SystemID == 0 {
		w.group.SystemID = r.SystemID
	}
	w.react()
	return true
}
