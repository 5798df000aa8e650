package fsm

import "slices"

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

// Current returns the newest configuration, and false when there is none yet.
func (r Record) Current() (Configuration, bool) {
	if len(r) == 0 {
		return Configuration{}, false
	}
	return r[len(r)-1], true
}
