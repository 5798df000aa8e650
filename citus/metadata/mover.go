package metadata

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// Mover keeps the servers at the newest topology that it was given: the reconciler. It holds the writes of a group when the topology wishes that, writes a new address the
// moment it is told of it, and looks from time to time at every server. It lives with the keeper of the coordinator's primary; another one, elsewhere or
// earlier, does no harm (see package citus).
type Mover struct {
	client *Client
	every  time.Duration

	mu     sync.Mutex
	t      citus.Topology
	known  bool
	hands  map[int]*hand
	status map[int]citus.Status
	report Report
	wake   chan struct{}
	first  chan struct{} // the first topology is there
	told   chan struct{}
}

// hand is what the mover has of one group's hold.
type hand struct {
	citus.Holding
	held   *Held
	cancel context.CancelFunc // ends the taking
	busy   bool               // being taken, committed or released
	failed string
}

// NewMover returns a mover that looks at every server at least once in the given time. It does nothing before it has been given a topology, and is run.
func NewMover(client *Client, every time.Duration) *Mover {
	return &Mover{client: client, every: every, hands: map[int]*hand{}, status: map[int]citus.Status{},
		wake: make(chan struct{}, 1), first: make(chan struct{}, 1), told: make(chan struct{}, 1)}
}

// Update gives the mover a newer topology. It never waits.
func (m *Mover) Update(t citus.Topology) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		signal(m.first)
	}
	m.t, m.known = t, true
	signal(m.wake)
}

// Changed signals when a status has changed.
func (m *Mover) Changed() <-chan struct{} { return m.told }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Status is what is to be told to the monitor, one entry a group, in order.
func (m *Mover) Status() []citus.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	for group, h := range m.hands {
		if s := m.status[group]; s.Held && !h.busy && h.held.Over() {
			s.Held, s.HoldFailed = false, "the hold has ended by itself"
			m.status[group] = s
		}
	}
	return slices.SortedFunc(maps.Values(m.status), func(a, b citus.Status) int { return cmp.Compare(a.Group, b.Group) })
}

// Report is what was found at the last look at every server.
func (m *Mover) Report() Report {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.report
}

// Run works until the context ends; then it releases what it holds and waits for all that it began.
func (m *Mover) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		m.releaseAll(ctx)
	}()
	wg.Go(func() { m.reconcileLoop(ctx) })
	pushed := map[int]citus.Epoch{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		m.mu.Lock()
		t, known := m.t, m.known
		m.mu.Unlock()
		if !known {
			continue
		}
		for _, g := range t.Groups {
			m.act(ctx, &wg, t, g, pushed)
		}
	}
}

// act does the next thing for one group, in a goroutine of its own where it may take time.
func (m *Mover) act(ctx context.Context, wg *sync.WaitGroup, t citus.Topology, g citus.Group, pushed map[int]citus.Epoch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.hands[g.Number]
	if h != nil && h.busy {
		// What is being taken for a wish that has ended need not be finished.
		if next := citus.NextAct(g, &h.Holding); next == citus.ActCommit || next == citus.ActRelease {
			h.cancel()
		}
		return
	}
	var in *citus.Holding
	if h != nil {
		h.Over = h.held == nil || h.held.Over()
		in = &h.Holding
	}
	switch citus.NextAct(g, in) {
	case citus.ActTake:
		m.take(ctx, wg, t, g)
		return
	case citus.ActCommit:
		h.busy = true
		pushed[g.Number] = g.Epoch
		wg.Go(func() { m.commit(ctx, t, g, h) })
		return
	case citus.ActRelease:
		delete(m.hands, g.Number)
		m.note(g, nil)
		if h.held != nil {
			wg.Go(func() { h.held.Release(ctx) })
		}
		signal(m.wake) // the wish may be another one already
	case citus.ActNothing:
	}
	if last, ok := pushed[g.Number]; !ok || g.Epoch.Compare(last) > 0 {
		pushed[g.Number] = g.Epoch
		if ok {
			wg.Go(func() { m.push(ctx, t, g.Number) })
		}
	}
}

// take begins a hold. The caller has the lock.
func (m *Mover) take(ctx context.Context, wg *sync.WaitGroup, t citus.Topology, g citus.Group) {
	ctx, cancel := context.WithCancel(ctx)
	h := &hand{Holding: citus.Holding{ID: g.Hold.ID, Epoch: g.Epoch}, cancel: cancel, busy: true}
	m.hands[g.Number] = h
	wg.Go(func() {
		defer cancel()
		held, err := m.client.Hold(ctx, t, g.Number)
		m.mu.Lock()
		defer m.mu.Unlock()
		h.busy, h.held, h.Complete = false, held, err == nil
		if err != nil {
			h.failed = err.Error()
			m.client.Log.Warn().Err(err).Int("group", g.Number).Msg("writes could not be held")
		}
		m.note(g, h)
		signal(m.wake)
	})
}

// note writes what the monitor is to know of the group's hold. The caller has the lock.
func (m *Mover) note(g citus.Group, h *hand) {
	s := m.status[g.Number]
	s.Group, s.Hold, s.Held, s.HoldFailed, s.Missing = g.Number, "", false, "", nil
	if h != nil {
		s.Hold, s.Held, s.HoldFailed = h.ID, h.Complete, h.failed
		if h.held != nil {
			for _, n := range h.held.Missing() {
				s.Missing = append(s.Missing, n.Group)
			}
		}
	}
	m.status[g.Number] = s
	signal(m.told)
}

// commit ends a hold with the new address.
func (m *Mover) commit(ctx context.Context, t citus.Topology, g citus.Group, h *hand) {
	seen := m.gathering(t, g.Number)
	r := h.held.commitSeen(ctx, t, seen)
	m.client.Log.Info().Int("group", g.Number).Stringer("epoch", g.Epoch).Stringer("primary", g.Primary).Bool("routed", r.Routed(g.Number)).
		Bool("propagated", r.Propagated(g.Number)).Msg("the held writes go to the new primary")
	m.mu.Lock()
	delete(m.hands, g.Number)
	m.note(g, nil)
	m.mu.Unlock()
	signal(m.wake)
	m.client.Recover(ctx, t)
}

// The tries of a push that has not reached the coordinator: its server, or the group's new primary, may be about to answer.
const (
	pushTries = 10
	pushPause = 200 * time.Millisecond
)

// push writes a new address at once, without a hold.
func (m *Mover) push(ctx context.Context, t citus.Topology, group int) {
	for range pushTries {
		v := m.client.visit(t)
		v.seen = m.gathering(t, group)
		if r := v.push(ctx, t.Only(group)); r.Routed(group) || !m.current(t, group) || pause(ctx, pushPause) != nil {
			return
		}
	}
}

// current reports whether a topology is still the newest as far as a group goes.
func (m *Mover) current(t citus.Topology, group int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.t.Group(group)
	return now != nil && now.Epoch == epochOf(t, group)
}

// gathering returns what notes, server by server, how far the news of a group's place have come.
func (m *Mover) gathering(t citus.Topology, group int) func(Node) {
	var so Report
	var mu sync.Mutex
	all := 0
	for _, g := range t.Groups {
		if !g.Dropped {
			all++
		}
	}
	return func(n Node) {
		mu.Lock()
		defer mu.Unlock()
		so.Nodes = append(so.Nodes, n)
		m.settle(t, so, group, len(so.Nodes) == all)
	}
}

// settle notes what a report says of a group; not that all are right while some have not answered.
func (m *Mover) settle(t citus.Topology, r Report, group int, all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.t.Group(group); now == nil || now.Epoch != epochOf(t, group) {
		return // of an older topology
	}
	was := m.status[group]
	s := r.Status(t, group)
	s.Propagated = s.Propagated && all
	s.Hold, s.Held, s.HoldFailed, s.Missing = was.Hold, was.Held, was.HoldFailed, was.Missing
	m.status[group] = s
	if s.Routed != was.Routed || s.Propagated != was.Propagated || s.Epoch != was.Epoch || s.Problem != was.Problem || s.Newer != was.Newer {
		signal(m.told)
	}
}

// reconcileLoop looks at every server again and again, but not while a hold is in hand: its new address is written in the transactions that hold.
func (m *Mover) reconcileLoop(ctx context.Context) {
	timer := time.NewTimer(m.every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.first:
		case <-timer.C:
		}
		if t, idle := m.idle(); idle {
			r := m.client.Reconcile(ctx, t)
			for _, g := range t.Groups {
				m.settle(t, r, g.Number, true)
			}
			m.mu.Lock()
			m.report = r
			m.mu.Unlock()
		}
		timer.Reset(m.every)
	}
}

// idle returns the topology, and whether nothing is in hand.
func (m *Mover) idle() (citus.Topology, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.hands {
		if h.busy || h.held != nil && !h.held.Over() {
			return m.t, false
		}
	}
	return m.t, m.known
}

func (m *Mover) releaseAll(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for group, h := range m.hands {
		if h.held != nil {
			h.held.Release(ctx)
		}
		delete(m.hands, group)
	}
}
