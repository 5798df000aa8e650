package explore

import (
	"fmt"
	"slices"
	"sync"

	"github.com/autoctl/autoctl/fsm"
)

// maxRounds bounds how long a healed group may take to serve again, in rounds in which every node does all that it can.
const maxRounds = 120

// healer checks P3, and remembers the healed worlds from which the group is known to converge: the schedule is
// deterministic, so paths that meet stay together.
type healer struct {
	mu   sync.Mutex
	good map[uint64]bool
	// humans counts the worlds that end with a decision that only a human may take.
	humans int
}

func newHealer() *healer { return &healer{good: map[uint64]bool{}} }

func (r *healer) known(h uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.good[h]
}

func (r *healer) learn(path []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range path {
		r.good[h] = true
	}
}

// healed is the hash of a world in which nothing more will happen from outside.
func healed(w *World, c *canon) uint64 {
	h := c.encode(w)
	if w.excused {
		h = mix(h)
	}
	return h
}

// check heals a copy of the world and lets it run; "" when the group converges. each, when not nil, sees every round.
func (r *healer) check(from *World, c *canon, each func(*World, string)) string {
	w := *from
	w.healAll()
	var path []uint64
	seen := map[uint64]bool{}
	for round := range maxRounds {
		h := healed(&w, c)
		if r.known(h) && each == nil {
			r.learn(path)
			return ""
		}
		if seen[h] {
			return fmt.Sprintf("P3: the group turns in a circle of its own after it has healed (round %d)", round)
		}
		seen[h] = true
		path = append(path, h)
		w.round()
		if healed(&w, c) == h {
			w.pass()
			if healed(&w, c) == h {
				return r.rest(&w, path)
			}
			if each != nil {
				each(&w, "time passes")
			}
		}
		if each != nil {
			each(&w, fmt.Sprintf("round %d", round+1))
		}
		if w.broken != "" {
			return w.broken
		}
	}
	return fmt.Sprintf("P3: the group has not come to rest in %d rounds after it has healed", maxRounds)
}

// rest judges a world in which nothing happens any more.
func (r *healer) rest(w *World, path []uint64) string {
	if w.deserted() {
		r.learn(path)
		return ""
	}
	why := w.served()
	if wrong := w.explained(why); wrong != "" {
		return wrong
	}
	if why != "" && w.excused && w.human() {
		r.mu.Lock()
		r.humans++
		r.mu.Unlock()
		why = ""
	}
	if why == "" && w.broken != "" {
		return w.broken
	}
	if why != "" {
		return "P3: nothing happens any more, and " + why
	}
	r.learn(path)
	return ""
}

// human reports whether the monitor says that only a human can help.
func (w *World) human() bool {
	for _, r := range w.refused {
		if r.Human {
			return true
		}
	}
	return false
}

// healAll ends all faults.
func (w *World) healAll() {
	w.faults, w.commands, w.backup, w.network = 0, 0, nil, network{}
	for i := range w.n {
		h := &w.hosts[i]
		h.down, h.full, h.late, h.held = false, false, nil, nil
		w.thaw(i)
		w.wake(i)
		w.goOn(i)
	}
	for i := range w.n {
		w.seen(i)
		h := &w.hosts[i]
		if _, known := w.peek(i); !known && !h.mem.Released && h.mem.Goal.State != fsm.StateDropped && !w.dropped(h.mem.Node) {
			w.adopt(i) // by an operator
		}
	}
	if w.group.Paused {
		w.group.Paused = false
		w.react()
	}
}

// round lets everybody do what they can.
func (w *World) round() {
	for i := range w.n {
		w.obey(i)
		for range 30 {
			if !w.step(i) {
				break
			}
		}
		w.receive(i)
		w.reply(i)
		w.acknowledge()
	}
	for i := range w.n {
		w.tell(i)
	}
}

// pass ends every timer.
func (w *World) pass() {
	for i := range w.n {
		w.timer(i)
		for j := range w.n {
			if j != i {
				w.lose(i, j)
			}
		}
	}
	w.patience()
}

// served says what is wrong with a group at rest; "" for nothing.
func (w *World) served() string {
	if w.deserted() {
		return ""
	}
	ruler := -1
	for i := range w.n {
		if !w.hosts[i].serves() {
			continue
		}
		if ruler >= 0 {
			return fmt.Sprintf("both %s and %s are read-write", name(ruler), name(i))
		}
		ruler = i
	}
	switch {
	case ruler < 0:
		return "no node serves"
	case w.hosts[ruler].loaded.gate:
		return fmt.Sprintf("node %s keeps its clients out", name(ruler))
	case w.group.Election != nil:
		return fmt.Sprintf("the election (%s, %s) does not end", w.group.Election.Reason, w.group.Election.Phase)
	}
	followers := 0
	for i := range w.group.Nodes {
		n := at(w.group.Nodes[i].ID)
		if n == ruler || w.group.Nodes[i].Maintenance || w.away(n, w.group.Nodes[i].ID) {
			continue
		}
		if w.group.Nodes[i].Quorum {
			followers++
		}
		if why := w.inStep(ruler, n, w.group.Nodes[i].Goal.State); why != "" {
			return why
		}
	}
	return w.protected(ruler, followers)
}

// deserted reports whether every node was dropped.
func (w *World) deserted() bool {
	return !slices.ContainsFunc(w.group.Nodes, func(n fsm.Node) bool { return !n.Dropping && !w.away(at(n.ID), n.ID) })
}

// away reports whether a row of the monitor stands for nobody: that node has left, or is another by now.
func (w *World) away(n int, id fsm.NodeID) bool { return w.hosts[n].left || w.hosts[n].mem.Node != id }

func (w *World) inStep(ruler, n int, goal fsm.State) string {
	switch {
	case goal != fsm.StateSecondary:
		return fmt.Sprintf("node %s is to be %s, not secondary", name(n), goal)
	case w.hosts[n].mem.Reached != w.hosts[n].mem.Goal.Stamp:
		return fmt.Sprintf("node %s does not reach %s", name(n), goal)
	case !w.streaming(n) || int(w.hosts[n].rcv) != ruler:
		return fmt.Sprintf("node %s does not stream from %s", name(n), name(ruler))
	}
	return ""
}

func (w *World) protected(ruler, followers int) string {
	h := &w.hosts[ruler]
	k := h.force.k
	switch {
	case len(w.group.Record) != 1:
		return fmt.Sprintf("the record has %d configurations", len(w.group.Record))
	case w.group.NumberSync > followers: // writes may have to wait: that is what the operator asked for
	case k == closed || w.holders(ruler, h.loaded, 0) < int(k):
		return fmt.Sprintf("writes wait on %s: k is %d, %d members stream", name(ruler), k, w.holders(ruler, h.loaded, 0))
	case followers > 0 && k == 0:
		return fmt.Sprintf("node %s serves unprotected although %d others follow", name(ruler), followers)
	}
	w.whole(ruler)
	return ""
}
