package fsm

import (
	"testing"

	"pgregory.net/rapid"
)

// TestRecord_Mixtures: a reign may change its mind as often as it likes before anything has settled, and no mixture of what was ordered acknowledges what
// votes that cover the record do not hold, whichever of the older configurations have left it meanwhile (S1).
func TestRecord_Mixtures(t *testing.T) {
	member := rapid.Custom(func(t *rapid.T) Member {
		return Member{NodeID(rapid.IntRange(2, 5).Draw(t, "node")), uint64(rapid.IntRange(1, 2).Draw(t, "generation"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		record := Record{{Epoch: 1, Primary: Member{1, 1}, K: 1, Members: []Member{{2, 1}}}}
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			next := Configuration{Epoch: 1, Primary: Member{1, 1}, K: rapid.IntRange(1, 3).Draw(t, "k")}
			next.Members = rapid.SliceOfNDistinct(member, 1, 4, rapid.ID).Draw(t, "members")
			if !record.admits(next) {
				next = record.join(next)
			}
			record = record.with(next)
			checkMixtures(t, record)
			record = record[rapid.IntRange(0, len(record)-1).Draw(t, "settled"):]
			checkMixtures(t, record)
		}
	})
}

// TestForsaken: of a configuration that is not settled too few members are left, and one that had left it is back: it is taken back at once, so that writes go
// on, although two older configurations may still be in force (P3).
func TestForsaken(t *testing.T) {
	m := func(ids ...NodeID) (all []Member) {
		for _, id := range ids {
			all = append(all, Member{id, 1})
		}
		return all
	}
	older, newer := Configuration{Epoch: 1, K: 2, Members: m(2, 3, 4)}, Configuration{Epoch: 1, K: 2, Members: m(3, 4)}
	for _, c := range []struct {
		name    string
		next    Configuration
		direct  bool
		instead []Member
	}{
		{"the same as before", Configuration{Epoch: 1, K: 2, Members: m(2, 3, 4)}, true, nil},
		{"fewer still", Configuration{Epoch: 1, K: 2, Members: m(3)}, true, nil},
		{"nobody to wait for", Configuration{Epoch: 1}, true, nil},
		{"another", Configuration{Epoch: 1, K: 2, Members: m(3, 4, 5)}, false, m(2, 3, 4, 5)},
		{"a lower k", Configuration{Epoch: 1, K: 1, Members: m(3, 4)}, false, m(2, 3, 4)},
	} {
		r := Record{older, newer}
		if got := r.admits(c.next); got != c.direct {
			t.Errorf("%s: admitted %v", c.name, got)
		}
		if j := r.join(c.next); c.instead != nil && (!r.admits(j) || j.K != c.next.K || len(j.Members) != len(c.instead)) {
			t.Errorf("%s: %+v instead", c.name, j)
		}
	}
}

// TestRecord_Since: a log on the timeline of a later epoch holds all of before; what that epoch has acknowledged itself, votes must still cover (P1).
func TestRecord_Since(t *testing.T) {
	r := Record{
		{Seq: 4, Epoch: 1, K: 1, Primary: Member{1, 1}, Members: []Member{{2, 1}, {3, 1}}},
		{Seq: 7, Epoch: 2, K: 1, Primary: Member{2, 1}, Members: []Member{{3, 1}}},
	}
	b, copied := Member{2, 1}, Member{3, 2}
	for _, c := range []struct {
		name   string
		epoch  uint64
		voters []Member
		want   bool
	}{
		{"the new primary, by an old log", 1, []Member{b}, false},
		{"the new primary, by its own", 2, []Member{b}, true},
		{"a copy of it, made after the set was made", 2, []Member{copied}, false},
		{"both", 2, []Member{b, copied}, true},
		{"nobody knows of that epoch", 3, []Member{b}, false},
	} {
		if got := r.since(c.epoch).CoveredBy(c.voters); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
