package explore

import "sync"

// budget is what may still happen in a world, four bits for each kind of it: more of everything allows every future that less allows.
type budget uint32

// budget returns the world's. That nobody can excuse a dead end counts as well: it is judged more strictly.
func (w *World) budget() budget {
	b := budget(w.faults) | budget(w.opt.Commits-w.commits)<<4 | budget(w.commands)<<8 | budget(max(w.opt.Promotions+1-int(w.top), 0))<<12
	if w.opt.Overlap > 0 {
		b |= budget(w.opt.Overlap-w.overlap) << 24
	}
	if !w.diskLost {
		b |= 1 << 16
	}
	if !w.excused {
		b |= 1 << 20
	}
	return b
}

// spent is how much has been taken from the budget of a search.
func (w *World) spent() int {
	o := w.opt
	return o.Faults - w.faults + w.commits + o.Commands - w.commands + int(w.top) - 1
}

// covers reports whether b allows all that c allows.
func (b budget) covers(c budget) bool {
	for ; b != 0 || c != 0; b, c = b>>4, c>>4 {
		if b&15 < c&15 {
			return false
		}
	}
	return true
}

// states is a set of states for several workers. A state that was reached with a budget that covers the present one is not new.
type states struct {
	shards [256]struct {
		mu   sync.Mutex
		best map[uint64]budget
		more map[uint64][]budget // where no budget covers all others
	}
}

func newStates() *states {
	s := &states{}
	for i := range s.shards {
		s.shards[i].best, s.shards[i].more = map[uint64]budget{}, map[uint64][]budget{}
	}
	return s
}

// add adds a state, and reports whether it was new.
func (s *states) add(h uint64, b budget) bool {
	x := &s.shards[h>>56]
	x.mu.Lock()
	defer x.mu.Unlock()
	first, ok := x.best[h]
	switch {
	case !ok:
		x.best[h] = b
		return true
	case first.covers(b):
		return false
	}
	for _, other := range x.more[h] {
		if other.covers(b) {
			return false
		}
	}
	x.more[h] = append(x.more[h], b)
	return true
}
