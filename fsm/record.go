package fsm

import (
	"cmp"
	"slices"
)

// NodeID identifies a node in the whole monitor. Ids start at 1 and are never used again.
type NodeID int64

// Member is one standby as the durability record counts it: a node together with its data generation. The generation changes,
// on disk, before anything replaces or rewinds the node's data, so that a vote never speaks for data that is gone (S10).
type Member struct {
	Node       NodeID `json:"node"`
	Generation uint64 `json:"generation"`
}

// Configuration is one synchronous replication setting under which a commit may have been acknowledged: PostgreSQL ran
// synchronous_standby_names = 'ANY K (Members)' on Primary. Seq is the group's sequence number of the decision that appended it.
type Configuration struct {
	Seq     uint64   `json:"seq"`
	Epoch   uint64   `json:"epoch"`
	Primary Member   `json:"primary"`
	K       int      `json:"k"`
	Members []Member `json:"members"`
}

// Record is the list of configurations under which a commit may have been acknowledged and not yet be covered by a later one,
// oldest first. Normally it has one entry: the last is the current one.
type Record []Configuration

// CoveredBy reports whether the voters together hold every commit that was acknowledged under c: the configuration's
// primary is among them, or at least |Members| − K + 1 of its members are. With K = 0, or with fewer members than K (nobody
// could acknowledge), only the primary covers: the stricter reading, which lets older configurations leave the record at once.
func (c Configuration) CoveredBy(voters []Member) bool {
	if slices.Contains(voters, c.Primary) {
		return true
	}
	if c.K == 0 || len(c.Members) < c.K {
		return false
	}
	return c.votes(voters) >= len(c.Members)-c.K+1
}

func (c Configuration) votes(voters []Member) int {
	n := 0
	for _, m := range c.Members {
		if slices.Contains(voters, m) {
			n++
		}
	}
	return n
}

// Missing returns how many more votes of members would cover c; 0 when it is covered, -1 when only its primary can cover it.
func (c Configuration) Missing(voters []Member) int {
	if c.CoveredBy(voters) {
		return 0
	}
	if c.K == 0 || len(c.Members) < c.K {
		return -1
	}
	return len(c.Members) - c.K + 1 - c.votes(voters)
}

// Binding returns the configurations that voters must cover: all but those with fewer members than K that follow another one. Nothing can have
// been acknowledged under such a one, and what was acknowledged before, the older ones cover for as long as they are in the record. A candidate
// that dies before it has begun is then not waited for (S4).
func (r Record) Binding() []Configuration {
	var all []Configuration
	for i, c := range r {
		if i == 0 || len(c.Members) >= c.K {
			all = append(all, c)
		}
	}
	return all
}

// CoveredBy reports whether the voters cover every configuration of the record that binds. An empty record is covered by nobody: there
// is no primary yet to succeed.
func (r Record) CoveredBy(voters []Member) bool {
	for _, c := range r.Binding() {
		if !c.CoveredBy(voters) {
			return false
		}
	}
	return len(r) > 0
}

// since is the record without the configurations of earlier epochs. A log that goes on on an epoch's own timeline holds all that was acknowledged before that epoch:
// whoever was promoted then was elected by votes that covered the record, and those who voted have acknowledged nothing under it since (Raft's leader completeness).
func (r Record) since(epoch uint64) Record {
	i := slices.IndexFunc(r, func(c Configuration) bool { return c.Epoch >= epoch })
	if i < 0 {
		return nil
	}
	return r[i:]
}

// Current returns the newest configuration, and false when there is none yet.
func (r Record) Current() (Configuration, bool) {
	if len(r) == 0 {
		return Configuration{}, false
	}
	return r[len(r)-1], true
}

// admits reports whether next may follow before all of its reign is settled. The processes of a server read a configuration one by one, and while they do,
// commits are acknowledged under every mixture of what is in force: the least k of them with any subset of all their members (S1). So one of them must be as
// weak as all together, and must still be in the record whichever of the older ones have left it. A lone change of k, or of members in one direction, is so.
func (r Record) admits(next Configuration) bool {
	reign := append(r.reign(next), next)
	for i := range reign {
		weakest := func(c Configuration) bool {
			return !slices.ContainsFunc(reign[i:], func(o Configuration) bool { return !c.weakerThan(o) })
		}
		if !slices.ContainsFunc(reign[i:], weakest) {
			return false
		}
	}
	return true
}

// join is the configuration that is as weak as next and all of its reign together, but for k = 0, which any other may follow. It is always admitted.
func (r Record) join(next Configuration) Configuration {
	next.Members = slices.Clone(next.Members)
	for _, c := range r.reign(next) {
		if c.K == 0 {
			continue
		}
		next.K = min(next.K, c.K)
		for _, m := range c.Members {
			if !slices.Contains(next.Members, m) {
				next.Members = append(next.Members, m)
			}
		}
	}
	slices.SortFunc(next.Members, byNode)
	return next
}

// with returns the record with one more configuration, which takes the place of an equal older one: nothing is covered twice.
func (r Record) with(next Configuration) Record {
	return append(slices.DeleteFunc(slices.Clone(r), next.same), next)
}

// reign returns the configurations that may be in force together with c on its primary. On a server that was promoted, or resumed, none of an earlier epoch
// is: what those hold is in the log that it was elected with.
func (r Record) reign(c Configuration) []Configuration {
	return slices.DeleteFunc(slices.Clone(r), func(o Configuration) bool { return o.Epoch != c.Epoch })
}

// same reports whether both demand the same of the same epoch.
func (c Configuration) same(o Configuration) bool {
	return c.Epoch == o.Epoch && c.Primary == o.Primary && c.K == o.K && slices.Equal(c.Members, o.Members)
}

// inForce is what may be in force on a server that has the record from its goal and has settled that configuration: it, and whatever came after it. One decision may append
// two of the same number, of which the last is settled.
func (r Record) inForce(settled uint64) Record {
	first := 0
	for i, c := range r {
		if c.Seq <= settled {
			first = i
		}
	}
	return r[first:]
}

// holds reports whether the record has a configuration, or the same one again, later: one that came before may have been settled and have left since.
func (r Record) holds(c Configuration) bool {
	return slices.ContainsFunc(r, func(o Configuration) bool { return o.Seq >= c.Seq && o.same(c) })
}

// weakerThan reports whether whatever is acknowledged under o could be under c too: the votes that cover c hold it.
func (c Configuration) weakerThan(o Configuration) bool {
	if c.K == 0 || o.K == 0 {
		return c.K == 0
	}
	return c.K <= o.K && !slices.ContainsFunc(o.Members, func(m Member) bool { return !slices.Contains(c.Members, m) })
}

func byNode(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Generation, b.Generation))
}
