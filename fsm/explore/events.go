package explore

import (
	"fmt"
	"slices"

	"github.com/autoctl/autoctl/fsm"
)

// kind names an event.
type kind uint8

// The events. Those up to evTimer are what a world without faults does; a budget bounds the others, except that what is cut or
// down may always come back.
const (
	evObey     kind = iota // keeper a takes the goal that the monitor has for it
	evStep                 // keeper a does the next step of its plan, or its server goes on by itself
	evReport               // keeper a reports
	evReceive              // standby a connects, and receives all WAL that its upstream has
	evReply                // the upstream of standby a hears how much a has flushed
	evSilence              // the monitor has not heard of node a, which it cannot hear, for so long
	evLost                 // server a has not heard of standby b, which is not connected, for so long
	evTimer                // a timer on node a ends: patience with the gate, a drain's deadline, a standby that gets nowhere
	evPatience             // the monitor's timers end
	evReturn               // host a comes back
	evHeal                 // the link between a and b is whole again; b < 0 stands for the monitor
	evLate                 // the delayed report of node a arrives
	evThaw                 // host a goes on where it was frozen
	evCommit               // a client commits on node a
	evKill                 // server a crashes
	evOff                  // host a goes off
	evKeeper               // keeper a is killed and started again
	evCut                  // the link between a and b is cut; b < 0 stands for the monitor
	evMonitor              // the monitor is killed and started again: its ages restart, and its reports are gone if b is 1
	evDelay                // the present report of node a will be late
	evMid                  // host a goes off in the middle of work on its data
	evDisk                 // node a loses its data directory; once on a path, so that a copy is left
	evSlow                 // the monitor takes node a for silent although it is not
	evStale                // keeper a is told a goal once more that it has obeyed before: a message that took long, or came twice
	evFreeze               // host a is frozen: its processes stop where they are, its connections stay
	evFailover             // perform failover
	evPromote              // perform promotion: of node a
	evMaintain             // enable maintenance --allow-failover on node a
	evBack                 // disable maintenance on node a
	evQuorum               // set node replication-quorum: the other value, on node a
	evPriority             // set node candidate-priority: 0, or 50 again, on node a
	evNumber               // set formation number-sync-standbys: a
	evDrop                 // drop node a
	evHandOver             // the keeper of a asks to be relieved
	evForce                // perform failover --allow-data-loss
	evRebuild              // perform rebuild of node a
	evKinds
)

// event is one thing that happens.
type event struct {
	kind kind
	a, b int8
}

// faulty reports whether the event takes from the budget of faults.
func (k kind) faulty() bool { return k >= evKill && k <= evFreeze }

// events appends all that might happen in the world; apply tells which of them really can.
func (w *World) events(list []event) []event {
	for i := range int8(w.n) {
		for k := evObey; k <= evReply; k++ {
			if !w.opt.Prompt || k != evObey && k != evReport {
				list = append(list, event{k, i, 0})
			}
		}
	}
	for i := range int8(w.n) {
		list = append(list, event{evSilence, i, 0}, event{evTimer, i, 0}, event{evReturn, i, 0}, event{evLate, i, 0}, event{evThaw, i, 0}, event{evHeal, i, -1})
		if w.commits < w.opt.Commits {
			list = append(list, event{evCommit, i, 0})
		}
		for j := range int8(w.n) {
			if j != i {
				list = append(list, event{evLost, i, j})
			}
			if j > i {
				list = append(list, event{evHeal, i, j})
			}
		}
	}
	list = append(list, event{evPatience, 0, 0})
	if w.faults > 0 {
		list = w.faultEvents(list)
	}
	if w.commands > 0 {
		list = append(list, event{evFailover, 0, 0})
		for i := range int8(w.n) {
			list = append(list, event{evPromote, i, 0}, event{evMaintain, i, 0}, event{evBack, i, 0})
			if w.opt.AllCommands {
				list = append(list, event{evQuorum, i, 0}, event{evPriority, i, 0}, event{evNumber, i, 0}, event{evDrop, i, 0}, event{evHandOver, i, 0}, event{evRebuild, i, 0})
			}
		}
		if w.opt.AllCommands {
			list = append(list, event{evForce, 0, 0})
		}
	}
	return w.opt.bounded(list)
}

func (w *World) faultEvents(list []event) []event {
	for i := range int8(w.n) {
		list = append(list, event{evKill, i, 0}, event{evOff, i, 0}, event{evKeeper, i, 0}, event{evCut, i, -1}, event{evDelay, i, 0}, event{evMid, i, 0}, event{evDisk, i, 0}, event{evSlow, i, 0}, event{evStale, i, 0}, event{evFreeze, i, 0})
		for j := i + 1; j < int8(w.n); j++ {
			list = append(list, event{evCut, i, j})
		}
	}
	return append(list, event{evMonitor, 0, 0}, event{evMonitor, 0, 1})
}

// apply makes the event happen; false when it cannot, or would change nothing.
func (w *World) apply(e event) bool {
	if e.kind.faulty() && !w.disturb() {
		return false
	}
	a, b := int(e.a), int(e.b)
	ok := false
	defer func() { w.resting = unasked }()
	if e.kind.timed() && w.opt.Prompt && !w.idle() && (!w.opt.tries(e) || !w.disturb()) {
		return false
	}
	switch {
	case e.kind <= evReply:
		ok = w.applyNormal(e.kind, a)
	case e.kind <= evCommit:
		ok = w.applyQuiet(e.kind, a, b)
	case e.kind <= evFreeze:
		ok = w.applyFault(e.kind, a, b)
	default:
		ok = w.applyCommand(e.kind, a)
	}
	if ok {
		w.acknowledge()
		if w.opt.Prompt {
			w.deliver()
		}
	}
	return ok
}

// disturb takes one fault from the budget, if there is one.
func (w *World) disturb() bool {
	if w.faults == 0 || !w.mayOverlap() {
		return false
	}
	w.faults--
	return true
}

// mayOverlap reports whether one more fault or command may come before the group has recovered, and counts it.
func (w *World) mayOverlap() bool {
	if w.opt.Overlap == 0 {
		return true
	}
	w.overlap++
	return w.overlap <= w.opt.Overlap
}

// recovered reports whether the group is in normal service, with nothing going on and nothing left of any fault.
func (w *World) recovered() bool {
	if w.cutMonitor != 0 || w.cutPeers != 0 || !w.idle() {
		return false
	}
	for i := range w.n {
		if h := &w.hosts[i]; !h.goes() || h.late != nil {
			return false
		}
	}
	return w.served() == ""
}

// timed reports whether the event is the end of a timer.
func (k kind) timed() bool { return k >= evSilence && k <= evThaw }

// idle reports whether nothing is left to happen but faults, timers, clients and operators.
func (w *World) idle() bool {
	if w.resting == unasked {
		w.resting = no
		if w.still() {
			w.resting = yes
		}
	}
	return w.resting == yes
}

func (w *World) still() bool {
	for i := range w.n {
		for k := evStep; k <= evReply; k++ {
			next := *w
			if k != evReport && next.applyNormal(k, i) {
				return false
			}
		}
	}
	return true
}

// deliver brings every goal and every report that is news to those who can hear it.
func (w *World) deliver() {
	c := canons.Get().(*canon)
	defer canons.Put(c)
	for range 40 {
		again := false
		for i := range w.n {
			if w.reply(i) {
				w.acknowledge()
			}
			node, ok := w.peek(i)
			if !ok || !w.hears(i) {
				continue
			}
			again = w.obey(i) || again
			if r := w.report(i); node.Report == nil || node.Heard < now || !c.same(w, node.Goal.Stamp, &r, node.Report) {
				again = w.hear(i, r) || again
			}
		}
		if !again {
			return
		}
	}
	w.breakPromise("P3: the monitor and the keepers answer each other without an end")
}

func (w *World) applyNormal(k kind, a int) bool {
	switch k {
	case evObey:
		return w.obey(a)
	case evStep:
		return w.step(a)
	case evReport:
		return w.tell(a)
	case evReceive:
		return w.receive(a)
	default:
		return w.reply(a)
	}
}

// obey lets the keeper take its goal from the monitor.
func (w *World) obey(n int) bool {
	node, ok := w.peek(n)
	h := &w.hosts[n]
	if !ok || !w.hears(n) || node.Goal.State == fsm.StateInit {
		return false
	}
	m, news := w.obeyed(h, node.Goal)
	if !news {
		fresh := h.fresh
		h.fresh = fresh || m.Goal.Stamp == node.Goal.Stamp
		return h.fresh != fresh
	}
	w.take(h, &m)
	h.fresh = true
	return true
}

// take makes a goal the keeper's own.
func (w *World) take(h *host, m *fsm.Memory) {
	if was := h.mem.Goal; was.State != m.Goal.State || was.Configuration != nil && m.Goal.Configuration != nil && was.Configuration.Seq != m.Goal.Configuration.Seq {
		h.prior = &was
	}
	if h.mem.Reached == h.mem.Goal.Stamp && (h.mem.State.Serves() || h.mem.State == fsm.StateSecondary) {
		h.disk = h.mem
	}
	h.mem = m
	h.crashes, h.checked, h.deadline, h.stuck, h.silent = 0, false, false, false, false
}

// repeat brings a goal that the keeper has obeyed before once more, and has it act upon it if it does obey.
func (w *World) repeat(n int) bool {
	h := &w.hosts[n]
	if h.prior == nil || !h.goes() {
		return false
	}
	m, news := w.obeyed(h, *h.prior)
	if news {
		w.take(h, &m)
		w.step(n)
	}
	return news
}

// tell lets the keeper report to the monitor.
func (w *World) tell(n int) bool {
	if !w.hears(n) {
		return false
	}
	return w.hear(n, w.report(n))
}

// receive connects the WAL receiver of a standby and brings what its upstream has.
func (w *World) receive(n int) bool {
	h := &w.hosts[n]
	if h.down || h.frozen || !h.running() || h.runs {
		return false
	}
	if h.rcv < 0 {
		up := int(h.loaded.up)
		if up < 0 || up >= w.n || !w.linked(n, up) || !w.hosts[up].running() || !streams(w.hosts[up].log, h.log) {
			return false
		}
		h.rcv, h.stuck, h.silent = int8(up), false, false
		if w.opt.breaks(twoNames) {
			w.hosts[up].twin[n] = w.hosts[up].known[n]
		}
		w.hosts[up].known[n] = 0
		w.hosts[up].lost[n] = false
		w.flow(n)
		return true
	}
	if !w.streaming(n) || w.hosts[h.rcv].log.len() <= h.log.len() {
		return false
	}
	w.flow(n)
	return true
}

// reply tells the upstream what a standby has flushed. It matters only when a client waits for it.
func (w *World) reply(n int) bool {
	h := &w.hosts[n]
	if !w.streaming(n) || !w.waits(int(h.rcv), h.log.len()) {
		return false
	}
	known := &w.hosts[h.rcv].known[n]
	if int(*known) >= h.log.len() {
		return false
	}
	*known = uint8(h.log.len())
	return true
}

func (w *World) applyQuiet(k kind, a, b int) bool {
	h := &w.hosts[a]
	switch k {
	case evSilence:
		return !w.hears(a) && w.silence(a)
	case evLost:
		return w.lose(a, b)
	case evTimer:
		return w.timer(a)
	case evPatience:
		return w.patience()
	case evReturn:
		ok := h.down
		h.down = false
		if w.opt.breaks(staleConf) && ok && h.log != "" {
			h.status = fsm.ServerStarting
		}
		return ok
	case evHeal:
		if b < 0 {
			ok := w.cutMonitor&(1<<a) != 0
			w.cutMonitor &^= 1 << a
			return ok
		}
		ok := w.cutPeers&pair(a, b) != 0
		w.cutPeers &^= pair(a, b)
		return ok
	case evThaw:
		ok := h.frozen
		w.thaw(a)
		return ok
	case evLate:
		r := h.late
		h.late = nil
		return r != nil && w.hear(a, *r)
	default:
		return w.write(a)
	}
}

// silence lets the monitor's views of a node grow old, in two stages.
func (w *World) silence(n int) bool {
	node, ok := w.node(n)
	if !ok {
		return false
	}
	switch {
	case node.Heard >= now || w.group.Since >= now:
		node.Heard, node.Probed, w.group.Since = min(node.Heard, lost), min(node.Probed, lost), gone
	case node.Heard >= lost || node.Probed >= lost:
		node.Heard, node.Probed = min(node.Heard, gone), min(node.Probed, gone)
	default:
		return false
	}
	w.react()
	return true
}

// lose lets a server take a standby that is not connected for lost.
func (w *World) lose(n, standby int) bool {
	h := &w.hosts[n]
	if !h.serves() || h.lost[standby] || w.streaming(standby) && int(w.hosts[standby].rcv) == n {
		return false
	}
	h.lost[standby] = true
	return true
}

// timer ends whatever timer runs on a node.
func (w *World) timer(n int) bool {
	h := &w.hosts[n]
	if h.down {
		return false
	}
	old := *h
	state := h.mem.Goal.State
	if h.serves() && h.loaded.gate {
		h.patience = true
	}
	if state.Drains() && h.status == fsm.ServerStopped {
		h.deadline = true
	}
	if state.Follows() && h.running() && !h.runs && h.rcv < 0 {
		h.stuck = true
	}
	return old.patience != h.patience || old.deadline != h.deadline || old.stuck != h.stuck
}

// patience ends the timers of the monitor.
func (w *World) patience() bool {
	e := w.group.Election
	held := slices.ContainsFunc(w.group.Nodes, func(n fsm.Node) bool { return n.HoldUntil > now })
	if !held && w.group.Since < now && (e == nil || e.PhaseBegan < now && e.Began < now) {
		return false
	}
	w.group.Since = gone
	w.group.Nodes = slices.Clone(w.group.Nodes)
	for i := range w.group.Nodes {
		w.group.Nodes[i].HoldUntil = 0
	}
	if e != nil {
		copied := *e
		copied.Began, copied.PhaseBegan = gone, gone
		w.group.Election = &copied
	}
	w.react()
	return true
}

// write lets a client commit.
func (w *World) write(n int) bool {
	h := &w.hosts[n]
	if !h.serves() || h.frozen || h.loaded.gate && h.started || w.commits >= maxCommits {
		return false
	}
	w.commits++
	h.log = h.log.add(h.log.timeline(), byte(w.commits))
	return true
}

func (w *World) applyCommand(k kind, a int) bool {
	if w.commands == 0 || !w.mayOverlap() {
		return false
	}
	w.commands--
	c, ok := w.command(k, a)
	if !ok {
		return false
	}
	w.excused = w.excused || k != evFailover && k != evPromote && k != evHandOver && k != evRebuild
	w.group.Commands = []fsm.Command{c}
	w.react()
	for _, answer := range w.answers {
		if answer.Outcome == fsm.OutcomeRefused || answer.Outcome == fsm.OutcomeNothing {
			return false
		}
	}
	return true
}

// command is what an operator types.
func (w *World) command(k kind, a int) (fsm.Command, bool) {
	c := fsm.Command{ID: 1, Node: fsm.NodeID(a + 1)}
	node, ok := w.peek(a)
	switch k {
	case evFailover, evForce:
		c.Kind, c.Node, c.AllowDataLoss = fsm.CommandFailover, 0, k == evForce
		ok = true
	case evPromote:
		c.Kind = fsm.CommandPromotion
	case evMaintain:
		c.Kind, c.AllowFailover = fsm.CommandMaintenance, true
	case evBack:
		c.Kind = fsm.CommandReturn
	case evQuorum:
		c.Kind, c.Flag = fsm.CommandQuorum, ok && !node.Quorum
	case evPriority:
		c.Kind = fsm.CommandPriority
		if ok && node.Priority == 0 {
			c.Number = 50
		}
	case evNumber:
		c.Kind, c.Node, c.Number = fsm.CommandNumberSync, 0, a
	case evDrop:
		c.Kind = fsm.CommandDrop
	case evHandOver:
		c.Kind = fsm.CommandHandOver
	default:
		c.Kind = fsm.CommandRebuild
	}
	return c, ok
}

// String tells the event in words.
func (e event) String() string {
	a, b := name(int(e.a)), name(int(e.b))
	if e.b < 0 {
		b = "the monitor"
	}
	texts := [evKinds]string{
		evObey: "keeper %[1]s takes its goal", evStep: "node %[1]s does its next step", evReport: "keeper %[1]s reports",
		evReceive: "standby %[1]s receives", evReply: "standby %[1]s confirms what it has flushed",
		evSilence: "the monitor has not heard of %[1]s for long", evLost: "server %[1]s takes standby %[2]s for lost",
		evTimer: "a timer ends on %[1]s", evPatience: "the monitor's timers end", evReturn: "host %[1]s comes back",
		evHeal: "the link between %[1]s and %[2]s is whole", evLate: "the delayed report of %[1]s arrives",
		evCommit: "a client commits on %[1]s", evKill: "server %[1]s crashes", evOff: "host %[1]s goes off",
		evKeeper: "keeper %[1]s restarts", evCut: "the link between %[1]s and %[2]s is cut", evMonitor: "the monitor restarts",
		evDelay: "a report of %[1]s is delayed", evMid: "host %[1]s goes off in the middle of work on its data",
		evDisk: "node %[1]s loses its data directory", evSlow: "the monitor wrongly takes %[1]s for silent",
		evFailover: "operator: failover", evPromote: "operator: promotion of %[1]s",
		evMaintain: "operator: maintenance of %[1]s, failover allowed", evBack: "operator: %[1]s returns from maintenance",
		evStale: "keeper %[1]s is told its previous goal once more",
		evThaw:  "host %[1]s goes on", evFreeze: "host %[1]s is frozen",
		evQuorum: "operator: the other replication quorum for %[1]s", evPriority: "operator: candidate priority of %[1]s to 0 or back",
		evNumber: "operator: number_sync_standbys as many as stand before %[1]s", evDrop: "operator: drop %[1]s",
		evHandOver: "keeper %[1]s asks to be relieved", evForce: "operator: failover, data loss allowed",
		evRebuild: "operator: rebuild %[1]s",
	}
	return fmt.Sprintf(texts[e.kind]+"%[3]s", a, b, "")
}
