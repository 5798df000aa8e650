package soak

import (
	"math/rand/v2"
	"slices"
	"time"
)

// planned is a fault that will be.
type planned struct {
	kind *kind
	// primary prefers the primary as the target, a standby otherwise.
	primary     bool
	after, hold time.Duration
	dice        uint64
}

// schedule is the sequence of bursts that a seed stands for. What each fault
// hits is decided when it begins: roles move.
type schedule struct {
	rng   *rand.Rand
	kinds []*kind
}

func newSchedule(seed uint64, only []string) *schedule {
	s := &schedule{rng: rand.New(rand.NewPCG(seed, 0))}
	for _, k := range kinds {
		if len(only) == 0 || slices.Contains(only, k.name) {
			s.kinds = append(s.kinds, k)
		}
	}
	return s
}

// spread is the time within which the faults of a burst begin.
const spread = 6 * time.Second

// burst plans the next handful of faults: often one, whose effect can then be
// told, else several at once.
func (s *schedule) burst() []planned {
	many := []int{1, 1, 1, 1, 2, 2, 3, 3, 4, 6}[s.rng.IntN(10)]
	var all []planned
	for range many {
		k := s.kind()
		p := planned{kind: k, primary: s.rng.IntN(2) == 0, hold: k.least, dice: s.rng.Uint64()}
		if span := k.most - k.least; span > 0 {
			p.hold += time.Duration(s.rng.Int64N(int64(span)))
		}
		if many > 1 {
			p.after = time.Duration(s.rng.Int64N(int64(spread)))
		}
		all = append(all, p)
	}
	return all
}

// kind chooses one by weight.
func (s *schedule) kind() *kind {
	total := 0
	for _, k := range s.kinds {
		total += k.weight
	}
	n := s.rng.IntN(total)
	for _, k := range s.kinds {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	panic("weights do not add up")
}

// quiet is how long to leave the group alone after it has become whole.
func (s *schedule) quiet() time.Duration {
	return 2*time.Second + time.Duration(s.rng.Int64N(int64(3*time.Second)))
}
