package explore

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
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

// breadth is a breadth-first search, in layers: what takes fewer faults, commits, promotions and commands comes first.
type breadth struct {
	opt    *Options
	seen   *states
	healer *healer
	trails []trail
	first  World
	layers [][]item
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

// Breadth searches from a group in normal service, until no new state is left or limit states were reached. What it finds first is
// a counter-example with the fewest faults, commits, promotions and commands, and a shortest one of those.
func Breadth(o Options, limit int) Result {
	b := &breadth{opt: &o, seen: newStates(), healer: newHealer()}
	first, story := serving(b.opt, b.healer)
	if story != "" {
		return Result{Violation: "P3: a new group does not come into service", Story: story}
	}
	for _, e := range o.script {
		if next := first; next.apply(e) {
			first = next
		}
	}
	b.first = first
	var c canon
	b.seen.add(c.encode(&first), first.budget())
	b.trails = append(b.trails, trail{parent: -1})
	b.layers = make([][]item, o.Faults+o.Commits+o.Promotions+o.Commands+1)
	b.layers[0] = []item{{world: first}}
	depth := 0
	for spent := range b.layers {
		for len(b.layers[spent]) > 0 {
			if len(b.trails) >= limit || !o.Until.IsZero() && time.Now().After(o.Until) {
				return Result{States: len(b.trails), Depth: depth, Humans: b.healer.humans}
			}
			if bad := b.expand(spent); bad != nil {
				return b.fail(bad)
			}
			depth++
		}
	}
	return Result{States: len(b.trails), Depth: depth, Exhausted: true, Humans: b.healer.humans}
}

func (b *breadth) fail(bad *found) Result {
	path := b.path(bad.at)
	path = append(path, bad.event)
	return Result{States: len(b.trails), Depth: len(path), Violation: bad.broken, Story: tell(b.first, path)}
}

// path returns the events that lead to a state.
func (b *breadth) path(at int32) []event {
	var back []event
	for ; b.trails[at].parent >= 0; at = b.trails[at].parent {
		back = append(back, b.trails[at].event)
	}
	slices.Reverse(back)
	return back
}

// expand finds the new states one event away from those of a layer that are not expanded yet, and the first broken promise among them.
func (b *breadth) expand(spent int) *found {
	level := b.layers[spent]
	b.layers[spent] = nil
	workers := runtime.GOMAXPROCS(0)
	parts := make([][]found, workers)
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			parts[k] = b.work(level, k, workers)
		})
	}
	wg.Wait()
	for _, part := range parts {
		for i := range part {
			if part[i].broken != "" {
				return &part[i]
			}
			part[i].world.broken = ""
			to := part[i].world.spent()
			b.layers[to] = append(b.layers[to], item{world: part[i].world, at: int32(len(b.trails))})
			b.trails = append(b.trails, trail{parent: part[i].at, event: part[i].event})
		}
	}
	return nil
}

// work expands every workers-th state of the level.
func (b *breadth) work(level []item, k, workers int) []found {
	var out []found
	var c canon
	for i := k; i < len(level); i += workers {
		from := &level[i]
		if !b.recover(&from.world, &c) {
			continue
		}
		out = b.children(out, from, &c)
		if len(out) > 0 && out[len(out)-1].broken != "" {
			break
		}
	}
	return out
}

// recover lets disturbances count anew in a world that has recovered; false when that makes it one that is known.
func (b *breadth) recover(w *World, c *canon) bool {
	if b.opt.Prompt {
		w.idle() // for all events that follow
	}
	if w.overlap == 0 || !w.recovered() {
		return true
	}
	w.overlap = 0
	return b.seen.add(c.encode(w), w.budget())
}

// children appends the new states one event away from one, up to the first that breaks a promise.
func (b *breadth) children(out []found, from *item, c *canon) []found {
	moved := false
	for _, e := range from.world.events(nil) {
		if moved && e.kind <= evReply {
			continue
		}
		w := from.world
		ok := w.apply(e)
		moved = moved || ok && b.opt.Ordered && e.kind <= evReply
		if !ok || w.beyond() || !b.seen.add(c.encode(&w), w.budget()) {
			continue
		}
		broken := w.broken
		if broken == "" && b.opt.Heal {
			broken = b.healer.check(&w, c, nil)
		}
		out = append(out, found{item: item{world: w, at: from.at}, event: e, broken: broken})
		if broken != "" {
			break
		}
	}
	return out
}

// beyond reports whether the world is outside the bounds.
func (w *World) beyond() bool {
	return int(w.top) > w.opt.Promotions+1 && w.broken == ""
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
