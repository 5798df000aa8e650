package formation

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// Monitor is the part of the monitor's interface that tells where the groups of a formation are served.
type Monitor interface {
	Topology(ctx context.Context, formation string) (monitorapi.Topology, error)
	Changes(ctx context.Context, formation string) (<-chan monitorapi.Change, error)
	Outdone(ctx context.Context, formation string, places []monitorapi.Told) (raised int, err error)
}

// Parts are what a [Keeper] works with.
type Parts struct {
	// Monitor returns the present monitor; nil while there is none.
	Monitor func() Monitor
	// Goal returns the newest goal obeyed; Open says whether this node's server serves under it and admits clients.
	Goal func() fsm.Goal
	Open func(context.Context) bool
	// Position is how far this node's log reaches; Own is its address; Tell has the monitor told at once of what [Keeper.Supplement] says.
	Position func(context.Context) fsm.LSN
	Own      func() citus.Address
	Tell     func()
	// Ensure makes a further database of the formation on this node's server, which serves, with the extension. It writes nothing when all is there.
	Ensure func(ctx context.Context, database string) error
	// Sever shuts the connections that this node's server has to an address, and says how many there were.
	Sever func(ctx context.Context, host string, port int) (int, error)
	// Client carries topologies to the servers.
	Client *metadata.Client
	Log    zerolog.Logger
}

// Keeper keeps the metadata of one node's formation. Make it with [New].
type Keeper struct {
	Parts
	obeyed chan struct{} // a new goal
	news   chan struct{} // for push: the topology changed, or may have
	work   chan struct{} // for reconcile
	turn   chan struct{} // for handOver
	listed chan struct{} // for prepare
	left   chan struct{} // for sever

	mu       sync.Mutex // guards what follows
	topology monitorapi.Topology
	fetched  bool
	changed  time.Time   // when the topology changed
	pushed   citus.Epoch // the place of the own group that everybody was told
	attended citus.Epoch // the place of the own group whose consequences were begun
	hand     holding
	handing  map[int]handing
}

// How often the metadata are looked at although nobody told of a change: all is well, something is not.
const (
	calmPace  = 15 * time.Second
	shortPace = time.Second
)

// fetchTimeout bounds a question to the monitor.
const fetchTimeout = 3 * time.Second

// New returns a keeper that [Keeper.Run] starts.
func New(p Parts) *Keeper {
	return &Keeper{Parts: p, handing: map[int]handing{}, obeyed: make(chan struct{}, 1), news: make(chan struct{}, 1), work: make(chan struct{}, 1), turn: make(chan struct{}, 1), listed: make(chan struct{}, 1), left: make(chan struct{}, 1)}
}

// Obeyed tells of a new goal. It does not block.
func (k *Keeper) Obeyed(fsm.Goal) {
	signal(k.obeyed)
	signal(k.news)
	signal(k.turn)
}

// Run keeps the metadata until ctx ends, and returns nil then.
func (k *Keeper) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.watch(ctx) })
	g.Go(func() error { return k.announce(ctx) })
	g.Go(func() error { return k.reconcile(ctx) })
	g.Go(func() error { return k.handOver(ctx) })
	g.Go(func() error { return k.prepare(ctx) })
	g.Go(func() error { return k.sever(ctx) })
	return g.Wait()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func nap(ctx context.Context, d time.Duration, events ...<-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	var one, two <-chan struct{}
	if len(events) > 0 {
		one = events[0]
	}
	if len(events) > 1 {
		two = events[1]
	}
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-one:
	case <-two:
	}
}

// watch keeps the topology as the monitor has it: it asks whenever anything changed in the formation, when this node got a new goal, and now and then.
func (k *Keeper) watch(ctx context.Context) error {
	var changes <-chan monitorapi.Change
	var from Monitor
	for ctx.Err() == nil {
		m := k.Monitor()
		formation := k.Goal().Formation
		if m == nil || formation == "" {
			nap(ctx, shortPace, k.obeyed)
			continue
		}
		if changes == nil || m != from {
			changes, from = nil, m
			if stream, err := m.Changes(ctx, formation); err == nil {
				changes = stream
			}
		}
		k.fetch(ctx, m, formation)
		pace := shortPace // not listening
		if changes != nil {
			pace = calmPace
		}
		t := time.NewTimer(pace)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-k.obeyed:
		case _, ok := <-changes:
			if !ok {
				changes = nil
				nap(ctx, shortPace/4)
			}
			for more := ok; more; { // several at once are one question
				select {
				case _, more = <-changes:
				default:
					more = false
				}
			}
		}
		t.Stop()
	}
	return nil
}

// fetch asks the monitor; without an answer the topology stays as it was.
func (k *Keeper) fetch(ctx context.Context, m Monitor, formation string) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	t, err := m.Topology(ctx, formation)
	if err != nil {
		return
	}
	own := k.Goal().Group
	k.mu.Lock()
	for _, g := range t.Groups {
		if !g.Handing {
			delete(k.handing, g.Group)
		}
	}
	t = handed(k.topology, remembered(k.topology, t), func(p monitorapi.Place) bool { return p.Group != own && k.patient(p) })
	changed := !k.fetched || !same(k.topology, t)
	k.topology, k.fetched = t, true
	if changed {
		k.changed = time.Now()
	}
	k.mu.Unlock()
	if changed {
		k.Log.Debug().Uint64("epoch", t.Epoch).Int("groups", len(t.Groups)).Msg("topology")
		signal(k.news)
		signal(k.work)
		signal(k.listed)
		signal(k.left)
	}
}

// handPatience is for how long the new primary's keeper is left to send on the writes that it holds. It waits until its server is open.
const handPatience = 3 * time.Second

// handing is to whom a group is being handed over, and since when that is known.
type handing struct {
	to    fsm.NodeID
	since time.Time
}

// patient reports whether a new place of a group that is being handed over is still left to the new primary's keeper. The caller holds mu.
func (k *Keeper) patient(p monitorapi.Place) bool {
	h := k.handing[p.Group]
	if h.to != p.NodeID {
		k.handing[p.Group] = handing{p.NodeID, time.Now()}
		time.AfterFunc(handPatience, func() { signal(k.obeyed) })
		return true
	}
	return time.Since(h.since) < handPatience
}

// handed leaves the groups that are being handed over where they were, as long as keep says so: the new primary's keeper tells everybody in the transactions that hold the writes.
// To tell somebody before would end these, and the writes would go to the old primary.
func handed(before, now monitorapi.Topology, keep func(monitorapi.Place) bool) monitorapi.Topology {
	now.Groups = slices.Clone(now.Groups)
	for i, g := range now.Groups {
		was := slices.IndexFunc(before.Groups, func(p monitorapi.Place) bool { return p.Group == g.Group && !p.Gone && p.NodeID != g.NodeID })
		if g.Handing && was >= 0 && keep(g) {
			now.Groups[i] = before.Groups[was]
			now.Groups[i].Handing = true
		}
	}
	return now
}

// remembered adds the groups that the monitor does not tell of at present: a new one cannot prove yet where they are served. Those who serve them have to hear of the others'
// failovers all the same.
func remembered(before, now monitorapi.Topology) monitorapi.Topology {
	now.Groups = slices.Clone(now.Groups)
	for _, p := range before.Groups {
		known := slices.ContainsFunc(now.Groups, func(g monitorapi.Place) bool { return g.Group == p.Group })
		if !p.Gone && !known && before.Formation == now.Formation {
			now.Groups = append(now.Groups, p)
		}
	}
	slices.SortFunc(now.Groups, func(a, b monitorapi.Place) int { return cmp.Compare(a.Group, b.Group) })
	return now
}

func same(a, b monitorapi.Topology) bool { return reflect.DeepEqual(a, b) }

// desired is the topology as package citus takes it. What this node knows better than the monitor is that its own server is open.
func (k *Keeper) desired(ctx context.Context) (t citus.Topology, own citus.Epoch, ok bool) {
	goal := k.Goal()
	serves := goal.State.Serves() && k.Open(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.fetched || k.topology.Kind != fsm.KindCitus {
		return t, own, false
	}
	t = citus.Topology{Formation: k.topology.Formation, Database: k.topology.Database}
	for _, p := range k.topology.Groups {
		g := citus.Group{
			Number: p.Group, Epoch: citus.Epoch{Incarnation: p.Incarnation, Number: p.Epoch},
			Primary: citus.Address{Host: p.Host, Port: p.Port}, Serving: p.Open, SystemID: uint64(p.SystemID), Dropped: p.Gone,
		}
		if p.ProxyPort != 0 && !p.Gone {
			g.PoolInfo = fmt.Sprintf("host=%s port=%d", p.Host, p.ProxyPort)
		}
		if p.Replicas != nil {
			g.Secondaries = []citus.Secondary{} // none is a wish, too
		}
		for _, r := range p.Replicas {
			g.Secondaries = append(g.Secondaries, citus.Secondary{Address: citus.Address{Host: r.Host, Port: r.Port}, Cluster: r.Cluster})
		}
		if p.Group == goal.Group && p.NodeID == goal.Node && serves {
			g.Serving, own, ok = true, g.Epoch, true
		}
		t.Groups = append(t.Groups, g)
	}
	return t, own, ok
}

// announce tells every node at once of a place that changed: of its own when this node was promoted, of any when it is the coordinator's primary. Any other that serves keeps its own
// server right, since the coordinator may be away.
func (k *Keeper) announce(ctx context.Context) error {
	var kept time.Time
	for ctx.Err() == nil {
		t, own, serving := k.desired(ctx)
		goal := k.Goal()
		k.mu.Lock()
		told := k.pushed == own
		k.mu.Unlock()
		switch {
		case !serving && goal.State.Serves() && goal.Timeline > 1:
			nap(ctx, 10*time.Millisecond) // it opens any moment
			continue
		case !serving || goal.Group != citus.Coordinator && told:
			if serving && time.Since(kept) >= calmPace {
				kept = time.Now()
				k.note(everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Keep(ctx, t, goal.Group) }))
			}
			nap(ctx, shortPace, k.news)
			continue
		}
		k.mu.Lock()
		moved := k.attended != own
		k.attended = own
		k.mu.Unlock()
		found := k.redirect(ctx, t, goal.Group, moved)
		k.note(found)
		k.outdone(ctx, found)
		if !told && k.spread(found, goal.Group) {
			k.mu.Lock()
			k.pushed = own
			k.mu.Unlock()
			k.note(everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Recover(ctx, t) }))
			signal(k.work)
		}
		if goal.Group == citus.Coordinator {
			nap(ctx, calmPace, k.news)
			continue
		}
		nap(ctx, shortPace, k.news)
	}
	return nil
}

// everywhere reports whether all nodes that could be reached know the group's place, those too which could not be changed.
func (k *Keeper) everywhere(r metadata.Report, t citus.Topology, group int) bool {
	g := t.Group(group)
	if g == nil {
		return false
	}
	reached := false
	for _, n := range r.Nodes {
		if n.Actual == nil {
			continue
		}
		row := n.Actual.Primary(group)
		if row == nil || row.Address != g.Primary {
			return false
		}
		reached = true
	}
	return reached
}

// reconcile registers, activates and removes nodes, on the coordinator's primary. That can take minutes, during which nothing else waits for it.
func (k *Keeper) reconcile(ctx context.Context) error {
	for ctx.Err() == nil {
		t, _, serving := k.desired(ctx)
		pace := calmPace
		if serving && k.Goal().Group == citus.Coordinator {
			found := everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Reconcile(ctx, t) })
			k.note(found)
			k.outdone(ctx, found)
			pace = k.pace(found)
		} else if k.Goal().Group == citus.Coordinator {
			pace = shortPace
		}
		nap(ctx, pace, k.work)
	}
	return nil
}

func unfinished(r metadata.Report) bool {
	for _, n := range r.Nodes {
		if n.Problem != "" || len(n.Left) > 0 {
			return true
		}
	}
	return len(r.Nodes) == 0
}

// note logs what a call did.
func (k *Keeper) note(found []Database) {
	for _, d := range found {
		k.noteIn(d.Topology.Database, d.Report)
	}
}

func (k *Keeper) noteIn(database string, r metadata.Report) {
	for _, n := range r.Nodes {
		for _, s := range n.Done {
			k.Log.Info().Str("database", database).Int("on_group", n.Group).Stringer("on", n.At).Str("step", string(s.Kind)).Int("group", s.Group).Stringer("address", s.Address).
				Stringer("epoch", s.Epoch).Msg("metadata changed")
		}
		if n.Recovered > 0 {
			k.Log.Info().Str("database", database).Int("on_group", n.Group).Stringer("on", n.At).Int("transactions", n.Recovered).Msg("prepared transactions resolved")
		}
	}
}

// Survey looks at the metadata of all nodes, in every database, and changes nothing. It returns nothing before the monitor has told of the formation.
func (k *Keeper) Survey(ctx context.Context) []Database {
	t, _, _ := k.desired(ctx)
	if len(t.Groups) == 0 {
		return nil
	}
	return everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Survey(ctx, t) })
}

// Activate reconciles now, from whatever node of the formation. It returns nothing before the monitor has told of the formation.
func (k *Keeper) Activate(ctx context.Context) []Database {
	t, _, _ := k.desired(ctx)
	if len(t.Groups) == 0 {
		return nil
	}
	found := everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Reconcile(ctx, t) })
	k.note(found)
	return found
}
