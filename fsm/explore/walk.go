package explore

import (
	"math/rand/v2"
	"runtime"
	"sync"
)

// Walks follows count random walks of so many events each, from a group in service or, every fourth, from its birth; the seed
// decides all of them. A broken promise is told by the shortest story that shrinking finds.
func Walks(o Options, seed uint64, count, length int) Result {
	first, story := serving(&o, newHealer())
	if story != "" {
		return Result{Violation: "P3: a new group does not come into service", Story: story}
	}
	workers := runtime.GOMAXPROCS(0)
	results := make([]Result, workers)
	healers := newHealer()
	var wg sync.WaitGroup
	for k := range workers {
		wg.Go(func() {
			for i := k; i < count && results[k].Violation == ""; i += workers {
				walker := walker{opt: &o, first: first, healer: healers, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
				if i%4 == 3 {
					walker.first = newWorld(&o)
				}
				walker.walk(length)
				results[k].add(walker.result)
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
}

func (x *walker) walk(length int) {
	w := x.first
	var path []event
	var events []event
	for len(path) < length {
		events = w.events(events[:0])
		e, ok := x.pick(&w, events)
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

// pick tries events in random order until one happens. Faults and commands are rare, so that something can go on between them.
func (x *walker) pick(w *World, events []event) (event, bool) {
	for range 400 {
		e := events[x.rng.IntN(len(events))]
		if rare := e.kind > evCommit || e.kind == evSilence || e.kind == evLost || e.kind == evTimer; rare && x.rng.IntN(8) > 0 {
			continue
		}
		next := *w
		if next.apply(e) && next.group.Epoch < maxEpochs-1 && next.commits < maxCommits {
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
	for size := len(path) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(path); {
			try := append(append([]event{}, path[:at]...), path[at+size:]...)
			if why, done := x.replay(try); why != "" {
				path, shorter = done, true
				continue
			}
			at += size
		}
		if !shorter || size > 1 {
			if size == 1 {
				break
			}
			size /= 2
		}
	}
	return path
}
