package explore

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// Walks follows count random walks, one for each seed from the first on. A broken promise is told by the shortest story that shrinking finds.
func Walks(first uint64, count int, bounds Options) Result {
	workers := runtime.GOMAXPROCS(0)
	results := make([]Result, workers)
	healers := newHealer()
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			births := births{}
			for i := k; i < count && results[k].Violation == ""; i += workers {
				results[k].add(walk(first+uint64(i), bounds, births, healers))
			}
		})
	}
	wg.Wait()
	total := Result{Humans: healers.humans}
	for _, r := range results {
		total.add(r)
	}
	return total
}

// Walk follows one random walk, which the seed decides: the group, what may happen to it, and what does. bounds.Nodes is the size of the group; 0 for
// any from 2 to 5.
func Walk(seed uint64, bounds Options) Result { return walk(seed, bounds, births{}, newHealer()) }

// births are groups in service, by their options, which are as good for another walk.
type births map[string]World

func walk(seed uint64, bounds Options, known births, r *healer) Result {
	x := walker{rng: rand.New(rand.NewPCG(seed, 0)), healer: r}
	o, length, young := x.draw(bounds)
	x.opt = &o
	key := fmt.Sprint(o.Nodes, o.NumberSync, o.Async, o.Priorities)
	first, ok := known[key]
	if !ok {
		var story string
		if first, story = serving(&o, newHealer()); story != "" {
			return Result{Violation: fmt.Sprintf("seed %d: P3: a new group does not come into service", seed), Story: o.String() + "\n" + story}
		}
		known[key] = first
	}
	o.defaults()
	first.opt, first.faults, first.commands = &o, o.Faults, o.Commands
	x.first = first
	if young {
		x.first = newWorld(&o)
	}
	x.walk(length)
	if x.result.Violation != "" {
		x.result.Violation = fmt.Sprintf("seed %d: %s", seed, x.result.Violation)
		x.result.Story = fmt.Sprintf("%v\n%s", o, x.result.Story)
	}
	return x.result
}

func (r *Result) add(x Result) {
	r.States += x.States
	r.Depth = max(r.Depth, x.Depth)
	if r.Violation == "" {
		r.Violation, r.Story = x.Violation, x.Story
	}
}

// walker is one random walk.
type walker struct {
	opt    *Options
	first  World
	healer *healer
	rng    *rand.Rand
	canon  canon
	result Result
	// classes are the events by kind, as far as they might happen.
	classes [evKinds][]event
}

// draw chooses the group, what may happen to it, for how long, and whether it begins at its birth.
func (x *walker) draw(o Options) (out Options, length int, young bool) {
	r := x.rng
	if o.Nodes == 0 {
		o.Nodes = 2 + r.IntN(maxNodes-1)
	}
	standbys := o.Nodes - 1
	if r.IntN(3) == 0 {
		for i := range o.Nodes {
			if r.IntN(3) == 0 {
				o.Async |= 1 << i
				if i > 0 {
					standbys--
				}
			}
		}
	}
	o.NumberSync = r.IntN(min(standbys, 2) + 1)
	if r.IntN(3) == 0 {
		o.Priorities = []int{50 + 50*r.IntN(2)}
		for range o.Nodes - 1 {
			o.Priorities = append(o.Priorities, 50*r.IntN(3))
		}
	}
	o.Faults, o.Commits, o.Promotions, o.Commands = 1+r.IntN(10), 2+r.IntN(6), maxEpochs-2*16, max(0, r.IntN(9)-2)
	o.AllCommands, o.Every, o.Heal, o.Merge, o.Prompt = true, true, true, r.IntN(2) == 0, r.IntN(3) == 0
	return o, 60 + r.IntN(60*o.Nodes), r.IntN(4) == 0
}

func (x *walker) walk(length int) {
	w := x.first
	var path []event
	for len(path) < length {
		e, ok := x.pick(&w)
		if !ok {
			break
		}
		path = append(path, e)
		x.result.States++
		if w.broken != "" {
			x.fail(path)
			return
		}
		if x.opt.Heal && (len(path)%8 == 0 || len(path) == length) {
			if x.healer.check(&w, &x.canon, nil) != "" {
				x.fail(path)
				return
			}
		}
	}
	x.result.Depth = len(path)
}

// pick tries events in random order until one happens. Faults and commands are rare, so that something can go on between them; each kind is as
// likely as any other.
func (x *walker) pick(w *World) (event, bool) {
	for k := range x.classes {
		x.classes[k] = x.classes[k][:0]
	}
	for _, e := range w.events(nil) {
		x.classes[e.kind] = append(x.classes[e.kind], e)
	}
	for range 400 {
		k := kind(0)
		switch n := x.rng.IntN(40); {
		case n < 2:
			k = evKill + kind(x.rng.IntN(int(evFailover-evKill)))
		case n < 4:
			k = evFailover + kind(x.rng.IntN(int(evKinds-evFailover)))
		case n < 10:
			k = evSilence + kind(x.rng.IntN(int(evCommit-evSilence)))
		case n < 12:
			k = evCommit
		default:
			k = kind(x.rng.IntN(int(evReply) + 1))
		}
		if len(x.classes[k]) == 0 {
			continue
		}
		e := x.classes[k][x.rng.IntN(len(x.classes[k]))]
		next := *w
		if next.apply(e) && next.top < maxEpochs-1 && next.commits < maxCommits {
			*w = next
			return e, true
		}
	}
	return event{}, false
}

// fail shrinks the path and tells its story.
func (x *walker) fail(path []event) {
	path = x.shrink(path)
	x.result.Violation, _ = x.replay(path)
	x.result.Story = tell(x.first, path)
}

// replay makes the events happen, as far as they can, and returns the broken promise and the events that did happen.
func (x *walker) replay(path []event) (string, []event) {
	w := x.first
	var done []event
	for _, e := range path {
		next := w
		if !next.apply(e) {
			continue
		}
		w = next
		done = append(done, e)
		if w.broken != "" {
			return w.broken, done
		}
	}
	if !x.opt.Heal {
		return "", done
	}
	return x.healer.check(&w, &x.canon, nil), done
}

// shrink leaves out events, in ever smaller runs, while some promise is still broken.
func (x *walker) shrink(path []event) []event {
	for size := max(len(path)/2, 1); ; {
		shorter := false
		for at := 0; at+size <= len(path); {
			try := slices.Concat(path[:at], path[at+size:])
			if why, done := x.replay(try); why != "" {
				path, shorter = done, true
				continue
			}
			at += size
		}
		switch {
		case size > 1:
			size = min(size/2, max(len(path)/2, 1))
		case !shorter:
			return path
		}
	}
}
