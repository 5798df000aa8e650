package explore

import (
	"fmt"
	"runtime"
	"sync"
)

// Result is what a search found out.
type Result struct {
	// States is how many different states were reached, Depth the length of the longest path, in events; Exhausted says
	// that no new state is left within the bounds.
	States, Depth int
	Exhausted     bool
	// Humans counts the states in which, after healing, only a human may decide.
	Humans int
	// Violation is the broken promise, "" for none, and Story how it came about.
	Violation string
	Story     string
}

// String tells the result in one line.
func (r Result) String() string {
	end := "cut off"
	if r.Exhausted {
		end = "exhausted"
	}
	return fmt.Sprintf("%d states, depth %d, %s, %d need a human", r.States, r.Depth, end, r.Humans)
}

// trail is how a state was first reached.
type trail struct {
	parent int32
	event  event
}

// breadth is a breadth-first search.
type breadth struct {
	opt    *Options
	seen   *hashes
	healer *healer
	trails []trail
	first  World
}

type item struct {
	world World
	at    int32 // index of its trail
}

type found struct {
	item
	event  event
	broken string
}

// Breadth searches breadth-first from a group in normal service, until no new state is left, or the level is complete in
// which limit states were reached. What it finds first is a shortest counter-example.
func Breadth(o Options, limit int) Result {
	b := &breadth{opt: &o, seen: newHashes(), healer: newHealer()}
	first, story := serving(b.opt, b.healer)
	if story != "" {
		return Result{Violation: "P3: a new group does not come into service", Story: story}
	}
	b.first = first
	var c canon
	b.seen.add(c.encode(&first, true))
	b.trails = append(b.trails, trail{parent: -1})
	level := []item{{world: first}}
	depth := 0
	for ; len(level) > 0 && len(b.trails) < limit; depth++ {
		next, bad := b.expand(level)
		if bad != nil {
			return b.fail(bad, depth+1)
		}
		level = next
	}
	return Result{States: len(b.trails), Depth: depth, Exhausted: len(level) == 0, Humans: b.healer.humans}
}

func (b *breadth) fail(bad *found, depth int) Result {
	path := b.path(bad.at)
	path = append(path, bad.event)
	return Result{States: len(b.trails), Depth: depth, Violation: bad.broken, Story: tell(b.first, path)}
}

// path returns the events that lead to a state.
func (b *breadth) path(at int32) []event {
	var back []event
	for ; b.trails[at].parent >= 0; at = b.trails[at].parent {
		back = append(back, b.trails[at].event)
	}
	path := make([]event, 0, len(back)+1)
	for i := len(back) - 1; i >= 0; i-- {
		path = append(path, back[i])
	}
	return path
}

// expand finds the new states one event away from a level, and the first broken promise among them.
func (b *breadth) expand(level []item) ([]item, *found) {
	workers := runtime.GOMAXPROCS(0)
	parts := make([][]found, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			parts[k] = b.work(level, k, workers)
		})
	}
	wg.Wait()
	var next []item
	for _, part := range parts {
		for i := range part {
			if part[i].broken != "" {
				return nil, &part[i]
			}
			part[i].world.broken = ""
			next = append(next, item{world: part[i].world, at: int32(len(b.trails))})
			b.trails = append(b.trails, trail{parent: part[i].at, event: part[i].event})
		}
	}
	return next, nil
}

// work expands every workers-th state of the level.
func (b *breadth) work(level []item, k, workers int) []found {
	var out []found
	var c canon
	var events []event
	for i := k; i < len(level); i += workers {
		from := &level[i]
		events = from.world.events(events[:0])
		if b.opt.Prompt {
			from.world.idle() // for all events that follow
		}
		for _, e := range events {
			w := from.world
			if !w.apply(e) || w.beyond() || !b.seen.add(c.encode(&w, true)) {
				continue
			}
			broken := w.broken
			if broken == "" && b.opt.Heal {
				broken = b.healer.check(&w, &c, nil)
			}
			out = append(out, found{item: item{world: w, at: from.at}, event: e, broken: broken})
			if broken != "" {
				return out
			}
		}
	}
	return out
}

// beyond reports whether the world is outside the bounds.
func (w *World) beyond() bool {
	return int(w.group.Epoch) > w.opt.Promotions+1 && w.broken == ""
}

// serving returns a group in normal service, or the story of how it failed to come into service.
func serving(o *Options, r *healer) (World, string) {
	right := *o
	right.broken, right.decide, right.plan = 0, nil, nil // what is broken on purpose breaks later
	w := newWorld(&right)
	var c canon
	var last World
	text := ""
	why := r.check(&w, &c, func(w *World, what string) {
		last = *w
		text += what + "\n" + w.describe()
	})
	if why != "" {
		return w, why + "\n" + text
	}
	o.defaults()
	last.opt, last.faults, last.commands = o, o.Faults, o.Commands
	return last, ""
}

// hashes is a set of states for several workers.
type hashes struct {
	shards [256]struct {
		mu  sync.Mutex
		set map[uint64]struct{}
	}
}

func newHashes() *hashes {
	h := &hashes{}
	for i := range h.shards {
		h.shards[i].set = map[uint64]struct{}{}
	}
	return h
}

// add adds a state, and reports whether it was new.
func (h *hashes) add(v uint64) bool {
	s := &h.shards[v>>56]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.set[v]; ok {
		return false
	}
	s.set[v] = struct{}{}
	return true
}
