package formation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
)

// Database is one database of the formation: what its metadata are to say, and what was found. Each has node ids, locks and metadata of its own.
type Database struct {
	Topology citus.Topology
	Report   metadata.Report
}

// databases returns the topology of each database of the formation, the first one's first: the places are the same in all.
func (k *Keeper) databases(t citus.Topology) []citus.Topology {
	k.mu.Lock()
	more := slices.Clone(k.topology.Databases)
	k.mu.Unlock()
	all := []citus.Topology{t}
	for _, name := range more {
		if name == t.Database {
			continue
		}
		other := t
		other.Database, other.Groups = name, slices.Clone(t.Groups)
		all = append(all, other)
	}
	return all
}

// everyDatabase calls f for each database at the same time and returns what it found, in their order: one that is slow, or broken, delays the return and
// nobody else's turn.
func everyDatabase(all []citus.Topology, f func(i int, t citus.Topology) metadata.Report) []Database {
	found := make([]Database, len(all))
	var wg sync.WaitGroup
	for i, t := range all {
		wg.Go(func() { found[i] = Database{Topology: t, Report: f(i, t)} })
	}
	wg.Wait()
	return found
}

// heldAll is a group whose writes wait in all databases of the formation; its parts are in the order of the databases, nil where nobody knows the group.
type heldAll struct {
	names []string
	parts []*metadata.Held
}

// in returns the part of one database; nil for none.
func (h *heldAll) in(database string) *metadata.Held {
	if h == nil {
		return nil
	}
	if i := slices.Index(h.names, database); i >= 0 {
		return h.parts[i]
	}
	return nil
}

// settle waits until nobody who answers is sent to the old primary any more, in any database, or until end. Where nothing is held it waits for end.
func (h *heldAll) settle(end <-chan struct{}) {
	if h == nil {
		<-end
		return
	}
	for _, p := range h.parts {
		if p == nil {
			continue
		}
		select {
		case <-p.Settled():
		case <-end:
			return
		}
	}
}

// Missing are the servers that do not hold, with the reasons.
func (h *heldAll) Missing() []metadata.Node {
	var all []metadata.Node
	for _, p := range h.parts {
		if p != nil {
			all = append(all, p.Missing()...)
		}
	}
	return all
}

// Ended are the sessions that were ended because their transactions lasted longer than the grace.
func (h *heldAll) Ended() []metadata.Ended {
	var all []metadata.Ended
	for _, p := range h.parts {
		if p != nil {
			all = append(all, p.Ended()...)
		}
	}
	return all
}

// Release ends the hold without a change, in all databases at once.
func (h *heldAll) Release(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range h.parts {
		if p != nil {
			wg.Go(func() { p.Release(ctx) })
		}
	}
	wg.Wait()
}

// errOver says that a hold was over before it was used: who had waited was let through to the old primary.
var errOver = errors.New("the hold has ended by itself")

// complete lets the parts expire from now on, all at the same time; it fails if one is over.
func (h *heldAll) complete(ctx context.Context) error {
	for _, p := range h.parts {
		if p != nil {
			p.Expire(ctx)
		}
	}
	if h.Over() {
		return errOver
	}
	return nil
}

// Over reports whether the writes are not held any more in some database.
func (h *heldAll) Over() bool {
	return slices.ContainsFunc(h.parts, func(p *metadata.Held) bool { return p != nil && p.Over() })
}

// holdAll holds the group's writes in every database, or in none. None of the holds ends by itself before all are complete. A further database that no server
// has, or in which none knows the group, has no writes to hold.
func (k *Keeper) holdAll(ctx context.Context, t citus.Topology, group int) (*heldAll, error) {
	all := k.databases(t)
	h := &heldAll{names: make([]string, len(all)), parts: make([]*metadata.Held, len(all))}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, t := range all {
		wg.Go(func() {
			h.names[i] = t.Database
			h.parts[i], errs[i] = k.Client.Take(ctx, t, group)
			switch {
			case errs[i] == nil || i == 0:
			case errors.Is(errs[i], metadata.ErrNobody):
				k.Log.Warn().Err(errs[i]).Str("database", t.Database).Msg("nothing is held in this database")
				errs[i] = nil
			default:
				errs[i] = fmt.Errorf("database %q: %w", t.Database, errs[i])
			}
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = h.complete(ctx)
	}
	if err != nil {
		h.Release(ctx)
		return nil, err
	}
	return h, nil
}

// catchAll is holdAll for a group whose primary is gone: it waits for nobody.
func (k *Keeper) catchAll(ctx context.Context, t citus.Topology, group int) *heldAll {
	h := &heldAll{}
	for _, t := range k.databases(t) {
		h.names, h.parts = append(h.names, t.Database), append(h.parts, k.Client.Catch(ctx, t, group))
	}
	return h
}

// spread reports whether all servers that could be reached know the group's place, in every database. Where a further database has no row of the group yet, the
// coordinator registers it there.
func (k *Keeper) spread(found []Database, group int) bool {
	for i, d := range found {
		if i == 0 && !k.everywhere(d.Report, d.Topology, group) {
			return false
		}
		g := d.Topology.Group(group)
		for _, n := range d.Report.Nodes {
			if n.Actual == nil || g == nil {
				continue
			}
			if row := n.Actual.Primary(group); row != nil && row.Address != g.Primary {
				return false
			}
		}
	}
	return true
}

// freshFor is for how long after a change of the topology what is missing in a further database is looked for often: its nodes are about to make it. Later it
// was most likely dropped there.
const freshFor = 2 * time.Minute

// pace returns when the metadata are to be looked at again.
func (k *Keeper) pace(found []Database) time.Duration {
	k.mu.Lock()
	fresh := time.Since(k.changed) < freshFor
	k.mu.Unlock()
	for i, d := range found {
		if unfinished(d.Report) && (i == 0 || fresh) {
			return shortPace
		}
	}
	return calmPace
}

// prepare makes the formation's further databases on this node's server while that serves. One that cannot be made is tried again, and holds up nothing else.
func (k *Keeper) prepare(ctx context.Context) error {
	made := map[string]bool{}
	for ctx.Err() == nil {
		pace := calmPace
		if t, _, serving := k.desired(ctx); serving {
			all := k.databases(t)
			for name := range made {
				if !slices.ContainsFunc(all, func(t citus.Topology) bool { return t.Database == name }) {
					delete(made, name) // it may become one again
				}
			}
			for _, d := range all[1:] {
				if made[d.Database] {
					continue
				}
				if err := k.Ensure(ctx, d.Database); err != nil {
					k.Log.Warn().Err(err).Msg("a database of the formation is not there yet")
					pace = shortPace
					continue
				}
				made[d.Database] = true
				signal(k.work)
			}
		} else if k.Goal().State.Serves() {
			pace = shortPace
		}
		nap(ctx, pace, k.listed)
	}
	return nil
}
