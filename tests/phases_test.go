package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// round is one failover in a group of four: who dies, who is preferred, and the
// two others.
type round struct {
	c         *cluster.Cluster
	w         *ledger.Writer
	old, heir *cluster.Node
	others    []*cluster.Node
}

// newRound chooses the heir and makes it preferred.
func newRound(c *cluster.Cluster, w *ledger.Writer) *round {
	r := &round{c: c, w: w, old: c.PrimaryNode()}
	for _, name := range []string{"n1", "n2", "n3", "n4"} {
		n := c.Node(name)
		switch {
		case n == r.old:
			c.SetPriority(name, 50)
		case r.heir == nil:
			r.heir = n
			c.SetPriority(name, 90)
		default:
			r.others = append(r.others, n)
			c.SetPriority(name, 50)
		}
	}
	c.WaitSync(late, 2, r.heir.Name, r.others[0].Name, r.others[1].Name)
	return r
}

// firstVote lets the old primary die, and holds the election when the heir has
// voted and nobody else has. The others are frozen for less than it takes to miss
// them: the death of a server whose keeper lives is news at once. The old primary
// must not be back before that.
func (r *round) firstVote() {
	for _, n := range r.others {
		n.FreezeKeeper()
	}
	repair := r.old.BreakConfig()
	r.old.KillPostmaster()
	r.is("votes", func(reported, _ fsm.State) bool { return reported == cluster.ReportLSN })
	r.old.Crash()
	repair()
}

func (r *round) thawOthers() {
	for _, n := range r.others {
		n.ThawKeeper()
	}
}

// is waits for what the monitor knows of the heir.
func (r *round) is(what string, condition func(reported, assigned fsm.State) bool) {
	r.c.Await(late, fmt.Sprintf("%s %s", r.heir.Name, what), func(context.Context) error {
		info, err := r.c.TryInfo(r.heir.Name)
		if err == nil && !condition(info.Reported, info.Assigned) {
			err = fmt.Errorf("it reports %s and is assigned %s", info.Reported, info.Assigned)
		}
		return err
	})
}

// phase is a point in the life of a candidate: enter kills the old primary and
// holds the election there, leave lets it go on.
type phase struct {
	name  string
	enter func(r *round)
	leave func(r *round)
	// promotes says that the heir has begun: nobody else may serve until its fate
	// is known.
	promotes bool
}

// phases are those of a candidate, in the order in which it passes them.
func phases() []phase {
	var release func()
	return []phase{
		{
			name: "it has voted, the others have not",
			enter: func(r *round) {
				r.firstVote()
			},
			leave: (*round).thawOthers,
		},
		{
			name: "it fetches what it lacks",
			enter: func(r *round) {
				r.c.Lab.CutLink(r.heir.Host, r.old.Host)
				r.is("is behind", func(_, assigned fsm.State) bool { return assigned == cluster.CatchingUp })
				r.c.Writes(r.w, soon)
				for _, n := range r.others {
					r.c.Lab.CutLink(r.heir.Host, n.Host)
				}
				r.old.Crash()
				r.is("is to fetch", func(_, assigned fsm.State) bool { return assigned == fsm.StateFastForward })
			},
			leave: func(r *round) { r.c.Lab.Heal() },
		},
		{
			name: "it is chosen and does not know",
			enter: func(r *round) {
				r.firstVote()
				r.heir.FreezeKeeper()
				r.thawOthers()
				r.is("is chosen", func(_, assigned fsm.State) bool { return assigned.Serves() })
			},
			leave: func(r *round) { r.heir.ThawKeeper() },
		},
		{
			name: "it promotes",
			enter: func(r *round) {
				var promoting func(context.Context) error
				promoting, release = r.heir.HoldPromotion()
				r.old.Crash()
				r.c.Await(late, "the heir promotes", promoting)
			},
			leave:    func(*round) { release() },
			promotes: true,
		},
		{
			name: "it is promoted and reaches no follower",
			enter: func(r *round) {
				all := append(slices.Clone(r.others), r.heir)
				for i, a := range all {
					for _, b := range all[i+1:] {
						r.c.Lab.CutLink(a.Host, b.Host)
					}
				}
				r.old.Crash()
				r.promoted()
			},
			leave:    func(r *round) { r.c.Lab.Heal() },
			promotes: true,
		},
		{
			name: "it has begun to serve",
			enter: func(r *round) {
				r.old.Crash()
				r.promoted()
				r.c.Writes(r.w, late)
			},
			leave:    func(*round) {},
			promotes: true,
		},
	}
}

// promoted waits until somebody runs read-write, which is whoever had all of the
// log, and makes it the heir.
func (r *round) promoted() {
	r.c.Await(late, "somebody is promoted", func(context.Context) error {
		g, err := r.c.TryGroup()
		if err != nil {
			return err
		}
		for _, info := range g.Nodes {
			if info.Name == r.old.Name || info.Connection != "read-write" || !info.Assigned.Serves() {
				continue
			}
			if n := r.c.Node(info.Name); n != r.heir {
				r.others[slices.Index(r.others, n)], r.heir = r.heir, n
			}
			return nil
		}
		return fmt.Errorf("election %+v", g.Election)
	})
}

// four is a group in which commits wait for two of three standbys, so that two
// losses leave enough votes.
func four(t *testing.T) (*cluster.Cluster, *ledger.Writer) {
	t.Helper()
	long(t)
	c := linked(t, "n1", "n2", "n3", "n4")
	c.SetNumberSync(2)
	c.SetSettings("failover_limit=100", "node_lost_after=6s", "election_patience=5s", "gate_patience=5s")
	c.WaitSync(soon, 2, "n2", "n3", "n4")
	return c, c.Writer()
}

// TestCandidateDies tells of a candidate that dies in each of its phases: the two
// that are left elect another one, commits go on with the first who comes back, and
// both who died follow.
func TestCandidateDies(t *testing.T) {
	c, w := four(t)
	for _, p := range phases() {
		t.Logf("the candidate dies: %s", p.name)
		r := newRound(c, w)
		began := w.Elapsed()
		p.enter(r)
		r.heir.Crash()
		p.leave(r)
		c.Await(late, "another candidate serves", func(context.Context) error {
			a, b := serves(c, r.others[0].Name), serves(c, r.others[1].Name)
			if a != nil && b != nil {
				return errors.Join(a, b)
			}
			return nil
		})
		r.old.Restart()
		c.Writes(w, late)
		t.Logf("%v without an acknowledged write", w.LongestGap(began).Length.Round(time.Millisecond))
		r.heir.Restart()
		c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
		c.Right(soon)
	}
	c.Finish(w, restored(c))
}

// TestPrimaryReturns tells of an old primary that comes back while its successor
// is in each of its phases: it serves again or follows, never beside another.
func TestPrimaryReturns(t *testing.T) {
	c, w := four(t)
	for _, p := range phases() {
		t.Logf("the old primary is back: %s", p.name)
		r := newRound(c, w)
		p.enter(r)
		r.old.Restart()
		c.Await(soon, "the old primary is heard", func(context.Context) error { return heard(c, r.old.Name) })
		if p.promotes {
			r.old.AcknowledgesNothing(2 * time.Second)
		}
		p.leave(r)
		c.Writes(w, late)
		c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
		c.Right(soon)
		for _, n := range []string{"n1", "n2", "n3", "n4"} {
			if node := c.Node(n); node != c.PrimaryNode() {
				node.RefusesWrites()
			}
		}
	}
	c.Finish(w, restored(c))
}
