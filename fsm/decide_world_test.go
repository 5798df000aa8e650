package fsm

import (
	"fmt"
	"slices"
	"time"
)

// world is a small model of one group for tests of Decide: keepers that do what they are told, plausibly, when the test says so.
// It knows nothing of PostgreSQL's laxness; the explorer models that.
type world struct {
	g     Group
	now   Instant
	nodes map[NodeID]*body
	cuts  map[[2]NodeID]bool
	next  int64 // the last command's id
	saved Group
	// acked is the newest position that was acknowledged; loss says that an operator consented to lose some; broken is the first broken promise.
	acked  Position
	loss   bool
	broken string
}

// body is the truth about one node, as opposed to what the monitor heard of it.
type body struct {
	id       NodeID
	silent   bool // keeper and server are not heard by anybody
	far      bool // keeper and server are not heard by the monitor, which it does not hear either
	veiled   bool // the monitor's probe does not get through
	mute     bool // the keeper is not heard, the server answers
	held     bool // hears no goal
	status   ServerStatus
	recovery bool
	tli      Timeline
	epoch    uint64
	lsn      LSN
	gen      uint64
	goal     Goal
	reached  Stamp
	state    State
	settled  uint64
	noSettle bool
	noOpen   bool
	drained  LSN
	promoted []Promotion
	commit   time.Duration
	problem  string
	unheld   bool // cannot hold a Citus group's writes, nor send them on
	asked    bool // somebody asked for the stop or start that the server is at
	orders   Orders
	record   Record
	streams  bool // follows its upstream now
	awaits   bool // goes on receiving until its upstream has ended
	ended    bool // has the end of its log
	gone     map[NodeID]Instant
}

func newWorld(n int) *world {
	return &world{
		g: Group{
			Formation: "default", Kind: KindPgsql, Database: "app", Incarnation: 1, NumberSync: n, Settings: DefaultSettings(), Since: 0,
		},
		now: Instant(time.Second), nodes: map[NodeID]*body{}, cuts: map[[2]NodeID]bool{},
	}
}

func (w *world) add(name string, priority int, quorum, data bool) {
	var id NodeID
	for known := range w.nodes {
		id = max(id, known)
	}
	id++
	w.g.Nodes = append(w.g.Nodes, Node{
		ID: id, Name: name, Host: name + ".example", Port: 5432, Token: "cafe000" + name, Priority: priority, Quorum: quorum, HasData: data, Heard: -1, Probed: -1,
		Goal: Goal{State: StateInit, Node: id},
	})
	b := &body{id: id, status: ServerAbsent, state: StateInit, gone: map[NodeID]Instant{}}
	if data {
		b.status, b.gen, b.tli, b.lsn = ServerRunning, 1, 3, 0x5000000
	}
	w.nodes[id] = b
}

func (w *world) named(name string) *Node {
	for i := range w.g.Nodes {
		if w.g.Nodes[i].Name == name {
			return &w.g.Nodes[i]
		}
	}
	return nil
}

func (w *world) id(name string) NodeID {
	if n := w.named(name); n != nil {
		return n.ID
	}
	return 0
}

func (w *world) linked(a, b NodeID) bool {
	x, y := w.nodes[a], w.nodes[b]
	return x != nil && y != nil && !w.cuts[[2]NodeID{min(a, b), max(a, b)}] && !x.silent && !y.silent
}

func (b *body) writable() bool { return b.status == ServerRunning && !b.recovery }

// fed reports whether a standby gets WAL from its upstream, and from whom.
func (w *world) fed(b *body) (*body, bool) {
	if b.goal.Upstream == nil || !b.state.Follows() && !b.awaits || b.status != ServerRunning || !b.recovery {
		return nil, false
	}
	up := w.nodes[b.goal.Upstream.Node]
	return up, up != nil && w.linked(b.id, up.id) && (up.status == ServerRunning || up.status == ServerHung) && (!up.recovery || b.goal.State == StateFastForward)
}

// flow lets every standby that is fed be level with its upstream.
func (w *world) flow() {
	for _, b := range w.sorted() {
		if up, ok := w.fed(b); ok && b.streams {
			b.lsn, b.tli, b.epoch = up.lsn, up.tli, up.epoch
		}
	}
}

func (w *world) sorted() []*body {
	var all []*body
	for _, b := range w.nodes {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b *body) int { return int(a.id - b.id) })
	return all
}

// hear lets every node that can be heard report what is true now.
func (w *world) hear() {
	w.flow()
	for i := range w.g.Nodes {
		n := &w.g.Nodes[i]
		b := w.nodes[n.ID]
		if b.silent || b.far {
			continue
		}
		if b.status == ServerRunning && !b.veiled {
			n.Probed = w.now
		}
		if b.mute {
			continue
		}
		n.Heard = w.now
		n.Report = w.report(n, b)
	}
}

func (w *world) report(n *Node, b *body) *Report {
	r := &Report{
		Node: n.ID, Token: n.Token, Obeyed: b.goal.Stamp, Reached: b.reached, State: b.state, Generation: b.gen,
		Server: Server{Status: b.status, Recovery: b.recovery && b.status == ServerRunning, Timeline: b.tli, Asked: b.asked}, PrimarySeenMS: -1, CommitAgeMS: -1,
		Position: Position{Epoch: b.epoch, LSN: b.lsn, Timeline: b.tli}, Settled: b.settled, Drained: b.drained,
		Promotions: b.promoted, Record: b.record, Orders: b.orders,
	}
	if b.status != ServerAbsent {
		r.SystemID = 77
	}
	if b.problem != "" {
		r.Problem = &Problem{Code: b.problem, Text: b.problem}
	}
	if b.goal.Hold != 0 && b.reached == b.goal.Stamp && !b.unheld {
		switch s := b.goal.State; {
		case s == StatePreparePromotion:
			r.Held = b.goal.Hold
		case s.Serves():
			r.Routed = b.goal.Hold
		}
	}
	votes := b.goal.State == StateReportLSN || b.goal.State == StatePreparePromotion && b.goal.Upstream == nil
	if votes && b.reached == b.goal.Stamp && b.status == ServerRunning {
		r.Vote = &Vote{Stamp: b.goal.Stamp, Position: r.Position, Ended: b.ended}
	}
	if b.writable() {
		r.Open = !b.noOpen && b.state.Serves()
		r.CommitAgeMS = b.commit.Milliseconds()
		r.Standbys = w.standbys(b)
	}
	if b.recovery && b.goal.Upstream != nil {
		if up, ok := w.fed(b); ok && up != nil {
			r.PrimarySeenMS = 0
			b.gone[up.id] = w.now
		} else if up != nil {
			if _, ok := b.gone[up.id]; ok {
				r.PrimarySeenMS = w.now.Sub(b.gone[up.id]).Milliseconds()
			}
		}
	}
	return r
}

func (w *world) standbys(p *body) []Standby {
	var out []Standby
	for _, b := range w.sorted() {
		if b.id == p.id || !slices.ContainsFunc(p.goal.Peers, func(q Peer) bool { return q.Node == b.id }) {
			continue
		}
		up, ok := w.fed(b)
		if ok && up == p && b.streams {
			delete(p.gone, b.id)
			out = append(out, Standby{Node: b.id, Streaming: true, Flush: b.lsn, LagBytes: int64(p.lsn - b.lsn)})
			continue
		}
		if _, known := p.gone[b.id]; !known {
			p.gone[b.id] = w.now
		}
		out = append(out, Standby{Node: b.id, Flush: b.lsn, LagBytes: max(0, int64(p.lsn)-int64(b.lsn)), LostMS: max(1, w.now.Sub(p.gone[b.id]).Milliseconds())})
	}
	return out
}

// obey lets a node take its present goal and, as far as it can, reach it.
func (w *world) obey(b *body) {
	n := w.node(b.id)
	if n == nil || b.silent || b.far || b.mute || b.held || n.Goal.State == StateInit || n.Goal.Compare(b.goal.Stamp) < 0 {
		return
	}
	if n.Goal.Stamp != b.goal.Stamp {
		b.goal = n.Goal
		b.orders = n.Goal.Orders
		b.awaits = n.Goal.AwaitEnd && b.streams
		if n.Goal.State.Serves() {
			b.record = n.Goal.Record
		}
	}
	if w.reach(b) {
		b.reached, b.state = b.goal.Stamp, b.goal.State
	}
}

func (w *world) node(id NodeID) *Node {
	for i := range w.g.Nodes {
		if w.g.Nodes[i].ID == id {
			return &w.g.Nodes[i]
		}
	}
	return nil
}

func (w *world) reach(b *body) bool {
	switch s := b.goal.State; {
	case s.Serves():
		return w.serve(b)
	case s.Drains() && b.goal.Hold != 0 && b.writable():
	case s == StatePreparePromotion && b.goal.Upstream != nil:
		return w.followUp(b)
	case s.Drains(), s == StateDemoted:
		if b.writable() || b.status == ServerRunning {
			w.flow()
			b.status, b.drained = ServerStopped, b.lsn
		} else if b.status == ServerCrashed {
			b.status = ServerStopped
		}
	case s == StateReportLSN, s == StatePreparePromotion:
		up, streams := w.fed(b)
		if b.awaits && (streams || up == nil || up.drained != b.lsn) {
			return false
		}
		if b.status != ServerAbsent {
			b.ended = b.awaits
			b.status, b.recovery, b.streams, b.drained = ServerRunning, true, false, 0
		}
	case s.Follows():
		return w.followUp(b)
	case s == StateDropped:
		b.status = ServerStopped
	}
	return true
}

func (w *world) serve(b *body) bool {
	switch {
	case b.problem != "", notOurs(b.goal, Facts{Server: ServerFacts{Status: ServerRunning, Timeline: b.tli}}) != nil:
		return false
	case b.status == ServerAbsent:
		b.gen, b.tli, b.lsn = b.gen+1, b.goal.Timeline, 0x3000000
	case b.recovery && b.tli != b.goal.Timeline:
		if at := (Position{Epoch: b.epoch, LSN: b.lsn, Timeline: b.tli}); at.Compare(w.acked) < 0 && !w.loss {
			w.broken = fmt.Sprintf("P1: node %d is promoted at %v, and %v was acknowledged", b.id, at, w.acked)
		}
		b.promoted = append(slices.Clone(b.promoted), Promotion{Epoch: b.goal.Epoch, Timeline: b.goal.Timeline, Switch: b.lsn})
		b.tli = b.goal.Timeline
		b.lsn += 0x100
	case b.recovery:
		return false
	}
	b.status, b.recovery, b.drained, b.streams = ServerRunning, false, 0, false
	b.epoch = b.goal.Orders.Epoch(b.tli)
	if !b.noSettle && b.goal.Configuration != nil {
		b.settled = b.goal.Configuration.Seq
	}
	return true
}

// followUp lets a node become a standby: created, rewound or copied when its log is not a prefix of its upstream's.
func (w *world) followUp(b *body) bool {
	up := w.nodes[b.goal.Upstream.Node]
	b.drained = 0
	ready := up != nil && w.linked(b.id, up.id) && up.status == ServerRunning && (up.tli == b.goal.Upstream.Timeline || b.goal.State == StateFastForward)
	diverged := up != nil && (b.writable() || b.epoch == up.epoch && b.lsn > up.lsn || b.epoch < up.epoch && w.beyond(b, up))
	if !ready {
		if b.recovery && b.status == ServerRunning {
			b.state, b.streams = b.goal.State, true // an open standby waits for its upstream
		}
		return false
	}
	if b.status == ServerAbsent || diverged || b.gen < b.goal.MinGeneration {
		b.gen++
		b.promoted = nil
	}
	b.status, b.recovery, b.streams = ServerRunning, true, true
	b.lsn, b.tli, b.epoch = up.lsn, up.tli, up.epoch
	return true
}

// beyond reports whether a log goes past the place where the upstream's timeline began.
func (w *world) beyond(b, up *body) bool {
	for _, p := range up.promoted {
		if p.Timeline == up.tli {
			return b.lsn > p.Switch
		}
	}
	return false
}

// restart begins another life of the monitor, on the data that were saved if old.
func (w *world) restart(old bool) {
	if old {
		commands, now := w.g.Commands, w.now
		w.g = w.saved.Clone()
		w.g.Commands, w.now = commands, now
		w.g.Incarnation++
		w.g.Unproven, w.g.Election = true, nil // as the monitor does when it begins a new incarnation
	}
	w.g.Since = w.now
	for i := range w.g.Nodes {
		n := &w.g.Nodes[i]
		n.Heard, n.Probed, n.Report = -1, -1, nil
	}
}

// acks reports whether a commit on the node would be acknowledged: it serves, and k members stream from it.
func (w *world) acks(b *body) bool {
	c := b.goal.Configuration
	serves := b.state.Serves() && b.goal.State.Serves() || b.goal.State.Drains() && b.goal.Hold != 0
	if !b.writable() || !serves || c == nil {
		return false
	}
	have := 0
	for _, m := range c.Members {
		if s := w.nodes[m.Node]; s != nil && s.streams {
			if up, ok := w.fed(s); ok && up == b {
				have++
			}
		}
	}
	return have >= c.K
}

// write lets clients commit on a node: acknowledged where it acknowledges.
func (w *world) write(b *body, bytes int) {
	b.lsn += LSN(bytes)
	if w.acks(b) {
		w.flow()
		if at := (Position{Epoch: b.epoch, LSN: b.lsn, Timeline: b.tli}); at.Compare(w.acked) > 0 {
			w.acked = at
		}
	}
}

// check holds the world to P1 and P2, unless an operator gave them away.
func (w *world) check(t reporter) {
	t.Helper()
	var writers []NodeID
	for _, b := range w.sorted() {
		if w.acks(b) {
			writers = append(writers, b.id)
		}
	}
	if len(writers) > 1 && !w.loss {
		t.Fatalf("P2: nodes %v acknowledge writes; record %+v", writers, w.g.Record)
	}
	if w.broken != "" {
		t.Fatalf("%s", w.broken)
	}
}
