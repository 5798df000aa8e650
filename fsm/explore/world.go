package explore

import (
	"slices"
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

// maxEpochs and maxCommits bound what a world can count. An operator who overrules a monitor's doubt takes sixteen epochs at once.
const (
	maxEpochs  = 64
	maxCommits = 12
)

// World is one state of a group and of everything around it. It is a value: events make new ones.
type World struct {
	opt   *Options
	n     int
	hosts [maxNodes]host
	// The monitor: what it has stored and heard, who was dropped by it, and why it does nothing.
	group    fsm.Group
	departed []fsm.NodeID
	refused  []fsm.Refusal
	answers  []fsm.Answer
	// What is kept of the monitor elsewhere: a backup, nil for none, and the incarnation in the file beside its data; and whether it was
	// ever restored or replaced.
	backup      *backup
	incarnation uint64
	begun       uint64 // all that were ever begun, as bits
	restored    bool
	network     network
	// The clients: how many commits there were, in which epoch each was acknowledged (0 for not yet), and what each epoch's
	// ruler held when its reign began.
	commits int
	acked   [maxCommits + 1]uint8
	reigns  []reign
	// made are the timelines that were made, and in which epoch, whoever remembers; top is the highest epoch of all.
	made fsm.Orders
	top  uint64
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

// reign is what the ruler of an epoch held when it was promoted.
type reign struct {
	epoch uint64
	log   wal
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
	if o.Citus {
		w.group.Kind, w.group.Number, w.group.Founded = fsm.KindCitus, 1, true
	}
	for i := range o.Nodes {
		id := fsm.NodeID(i + 1)
		w.group.Nodes = append(w.group.Nodes, w.newRow(id))
		name := name(i)
		w.hosts[i] = host{
			mem:    &fsm.Memory{Node: id, Token: name, State: fsm.StateInit, Goal: fsm.Goal{State: fsm.StateInit}},
			status: fsm.ServerAbsent, rcv: -1, files: files{up: -1, k: -1},
		}
	}
	w.react()
	return w
}

// newRow is a monitor's row of a node that has just registered.
func (w *World) newRow(id fsm.NodeID) fsm.Node {
	i := at(id)
	row := fsm.Node{
		ID: id, Name: name(i), Host: name(i), Port: 5432, Token: name(i), Priority: 50, Quorum: w.opt.Async&(1<<i) == 0, Heard: never, Probed: never,
		Goal: fsm.Goal{Node: id, State: fsm.StateInit},
	}
	if i < len(w.opt.Priorities) {
		row.Priority = w.opt.Priorities[i]
	}
	return row
}

// at is the place of a node. A node that was dropped and comes back has another id, in the same place.
func at(id fsm.NodeID) int { return int(id-1) % maxNodes }

// lives is how many ids a place can have.
const lives = 3

// bit is what stands for a node in a set: each of the lives in a place has its own name (S11).
func bit(id fsm.NodeID) uint16 { return 1 << (int(id-1) % (lives * maxNodes)) }

// plan is what the keeper of node n would do.
func (w *World) plan(n int) []fsm.Step {
	if w.hosts[n].mem.Goal.State == fsm.StateInit {
		return nil
	}
	return w.opt.plan(w.hosts[n].mem.Goal, w.facts(n))
}

// node gives a copy of the monitor's row of node n to change, and says whether the node is still known.
func (w *World) node(n int) (*fsm.Node, bool) { return w.row(w.hosts[n].mem.Node) }

func (w *World) row(id fsm.NodeID) (*fsm.Node, bool) {
	for i := range w.group.Nodes {
		if w.group.Nodes[i].ID == id {
			w.group.Nodes = slices.Clone(w.group.Nodes)
			return &w.group.Nodes[i], true
		}
	}
	return nil, false
}

// peek is node for reading.
func (w *World) peek(n int) (*fsm.Node, bool) {
	id := w.hosts[n].mem.Node
	for i := range w.group.Nodes {
		if w.group.Nodes[i].ID == id {
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
	w.top = max(w.top, w.group.Epoch)
	w.incarnation = max(w.incarnation, w.group.Incarnation)
	w.begun |= 1 << w.group.Incarnation
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
	w.begunAnew()
}

// begunAnew notes a group that begins, or begins anew with the data of a node that was in it before: its timeline is of this epoch from now on.
func (w *World) begunAnew() {
	if len(w.group.Orders) == 0 {
		return
	}
	o := w.group.Orders[len(w.group.Orders)-1]
	if o.Node == 0 {
		return
	}
	log := w.hosts[at(o.Node)].log
	if (len(w.made) == 0 || log != "" && log.timeline() == o.Timeline) && w.made.Epoch(o.Timeline) < o.Epoch {
		w.made = append(slices.Clip(w.made), o)
	}
}

// strike takes a node off the monitor's list.
func (w *World) strike(id fsm.NodeID) {
	w.group.Nodes = slices.DeleteFunc(slices.Clone(w.group.Nodes), func(n fsm.Node) bool { return n.ID == id })
	w.departed = append(slices.Clip(w.departed), id)
}

// hear gives the monitor a report.
func (w *World) hear(r fsm.Report) bool {
	node, ok := w.row(r.Node)
	if !ok {
		return false
	}
	node.Report = &r
	node.Heard = now
	if w.probes(at(r.Node)) {
		node.Probed = now
	}
	if w.group.SystemID == 0 {
		w.group.SystemID = r.SystemID
	}
	w.react()
	return true
}
