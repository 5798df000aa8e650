package citus

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// The model of this file: a coordinator and a worker, each with its own row for group 1 and its own memory of what it was told; the group moves from one address to
// another and back, each time with a hold first, or with one that was caught in a failover; two reconcilers, of which the first has the coordinator's group's former primary
// under it and may know nothing new for ever; the daemons that copy a coordinator's rows to the worker, the former coordinator's among them; and a monitor that may be restored
// to what it knew at the beginning. Everything may happen in any order; any reconciler, and any server, may crash between any two steps. What is to be changed is decided by
// Decide.

// stage is how far the monitor has come. A hold may be given up once.
type stage uint8

const (
	calm     stage = iota // at the first address
	holding               // it is to move
	moved                 // it has moved, to the second
	holding2              // it is to move back
	back                  // it has moved back to the first address, under a newer epoch
	stages
)

// where is an address under an epoch; 0 is the first address.
type where struct{ epoch, at uint8 }

// word is what the monitor says: a stage, and by how much its epochs were raised above those of nodes that knew newer ones.
type word struct {
	stage stage
	lift  uint8
}

func (w word) wish() bool { return w.stage == holding || w.stage == holding2 }

func (w word) place() where {
	return where{epoch: 1 + uint8(w.stage)/2 + w.lift, at: uint8(w.stage) / 2 % 2}
}

// hosts are the addresses.
var hosts = [...]string{"a", "b"}

func (w word) topology() Topology {
	p := w.place()
	g := Group{Number: 1, Epoch: Epoch{1, uint64(p.epoch)}, Primary: at(hosts[p.at]), Serving: true}
	if w.wish() {
		g.Hold = &Hold{ID: fmt.Sprint(w), Planned: true}
	}
	return Topology{Groups: []Group{{Number: 0, Epoch: Epoch{1, 1}, Primary: at("c"), Serving: true}, g}}
}

const nobody = -1

// site is one server: the address that its row has, what it was told, and who holds its writes since which epoch.
type site struct {
	row    uint8
	told   where
	holder int8
	since  uint8
}

// mind is one reconciler: what it knows, the hold in its hands, and for each server a transaction that was decided and not committed; epoch 0 is none.
type mind struct {
	knows   word
	hand    bool
	id      word
	begun   uint8
	over    bool
	pending [2]where
}

// model is a state of everything.
type model struct {
	monitor  word
	aborted  bool
	restored bool
	sites    [2]site
	minds    [2]mind
	copied   uint8 // a row that the coordinator's daemon has read and not written, plus one; 0 is none
	broken   rule  // what is broken on purpose
}

// rule is a rule that a test of the search breaks.
type rule uint8

const (
	intact       rule = iota
	anyEpoch          // servers do not refuse an older epoch
	onceOnly          // a row that was rewritten under the epoch that the server was told is not repaired
	holdsForever      // neither deadlines nor newer epochs end a hold that its reconciler forgot
	deaf              // the monitor does not go on above epochs that nodes know
)

func (m model) actual(n int) Actual {
	s := m.sites[n]
	return Actual{Rows: []Row{
		{ID: 1, Group: 0, Address: at("c"), Role: RolePrimary, Active: true, HasMetadata: true},
		{ID: 2, Group: 1, Address: at(hosts[s.row]), Role: RolePrimary, Active: true, HasMetadata: true},
	}, Places: []Place{{Group: 0, Primary: at("c"), Epoch: Epoch{1, 1}}, {Group: 1, Primary: at(hosts[s.told.at]), Epoch: Epoch{1, uint64(s.told.epoch)}}}}
}

// question is all that a decision depends on; memo keeps them.
type question struct {
	n    int
	row  uint8
	told where
	word where
}

type reply struct{ acts, outdone bool }

var memo = map[question]reply{}

// asks returns whether Decide has anything to do on a server for what a reconciler knows, and whether the server knows better.
func (m model) asks(n int, w word) (acts, outdone bool) {
	key := question{n, m.sites[n].row, m.sites[n].told, w.place()}
	r, ok := memo[key]
	if !ok {
		plan := Decide(w.topology(), m.actual(n), 2*n)
		r.acts = !plan.Idle()
		for _, d := range plan.Left {
			r.outdone = r.outdone || d.Kind == DifferNewer || d.Kind == DifferConflict
		}
		memo[key] = r
	}
	return r.acts && (m.broken != onceOnly || m.sites[n].told.epoch != w.place().epoch), r.outdone
}

// outdone has the monitor told of what a server knows better: it goes on above that.
func (m *model) outdone(n int) {
	told, now := m.sites[n].told, m.monitor.place()
	if m.broken == deaf || told.epoch < now.epoch || told == now {
		return
	}
	m.monitor.lift += told.epoch + 1 - now.epoch
}

// transact commits a transaction that was decided: the server refuses it when it was told of a newer epoch meanwhile, or of another address under the same.
func (m *model) transact(n int, p where) (refused bool) {
	s := &m.sites[n]
	if (s.told.epoch > p.epoch || s.told.epoch == p.epoch && s.told.at != p.at) && m.broken != anyEpoch {
		return true
	}
	s.told, s.row = p, p.at
	return false
}

// free ends what a reconciler holds.
func (m *model) free(r int) {
	if m.broken == holdsForever && m.minds[r].id.stage == holding2 {
		return
	}
	for n := range m.sites {
		if m.sites[n].holder == int8(r) {
			m.sites[n].holder, m.sites[n].since = nobody, 0
		}
	}
}

// event is a change of the model, with what it is called.
type event struct {
	name string
	to   model
}

// events are all that can happen next.
func (m model) events(t *testing.T) []event {
	t.Helper()
	var all []event
	add := func(name string, f func(*model)) {
		next := m
		f(&next)
		if next != m {
			all = append(all, event{name, next})
		}
	}
	if m.monitor.stage+1 < stages {
		add("the monitor goes on", func(m *model) { m.monitor.stage++ })
	}
	if m.monitor.stage == holding && !m.aborted {
		add("the monitor gives up", func(m *model) { m.monitor.stage, m.aborted = calm, true })
	}
	if m.monitor.stage > holding && !m.restored {
		add("the monitor is restored", func(m *model) { m.monitor, m.restored = word{}, true })
	}
	for r := range m.minds {
		m.mind(t, r, add)
	}
	for n := range m.sites {
		add(fmt.Sprintf("server %d crashes", n), func(m *model) {
			m.sites[n].holder, m.sites[n].since = nobody, 0
			for r := range m.minds {
				m.minds[r].pending[n] = where{}
			}
		})
	}
	add("the daemon reads", func(m *model) { m.copied = m.sites[0].row + 1 })
	if m.copied > 0 {
		add("the daemon writes", func(m *model) { m.sites[1].row, m.copied = m.copied-1, 0 })
	}
	add("the former coordinator's daemon writes", func(m *model) { m.sites[1].row = 0 })
	return all
}

// mind adds what one reconciler can do, and what can happen to it.
func (m model) mind(t *testing.T, r int, add func(string, func(*model))) {
	t.Helper()
	me := m.minds[r]
	name := func(what string) string { return fmt.Sprintf("reconciler %d %s", r+1, what) }
	add(name("learns"), func(m *model) { m.minds[r].knows = m.monitor })
	add(name("crashes"), func(m *model) {
		m.free(r)
		m.minds[r] = mind{knows: me.knows}
	})
	if me.hand {
		add(name("has its hold ended by the deadline"), func(m *model) {
			m.free(r)
			m.minds[r].over = true
		})
	}
	takes := func(m *model) {
		m.minds[r].hand, m.minds[r].id, m.minds[r].begun = true, me.knows, me.knows.place().epoch
	}
	switch m.act(r) {
	case acts:
		add(name("begins to hold"), takes)
	case releases:
		add(name("releases"), func(m *model) {
			m.free(r)
			m.minds[r] = mind{knows: me.knows, pending: me.pending}
		})
	case commits:
		add(name("commits what it holds"), func(m *model) { m.commit(t, r) })
	case waits:
		if !me.hand {
			add(name("votes, and begins to hold"), takes)
		}
	}
	for n := range m.sites {
		s := m.sites[n]
		if me.hand && !me.over && s.holder == nobody {
			add(name(fmt.Sprintf("holds on %d", n)), func(m *model) { m.sites[n].holder, m.sites[n].since = int8(r), me.begun })
		}
		acts, outdone := m.asks(n, me.knows)
		if me.pending[n].epoch == 0 && acts && m.act(r) != commits {
			add(name(fmt.Sprintf("decides on %d", n)), func(m *model) { m.minds[r].pending[n] = me.knows.place() })
		}
		if me.pending[n].epoch > 0 {
			add(name(fmt.Sprintf("writes on %d", n)), func(m *model) { m.write(t, r, n) })
			add(name(fmt.Sprintf("writes on %d without the locks", n)), func(m *model) { m.overwrite(t, r, n) })
		}
		if outdone {
			add(name(fmt.Sprintf("tells the monitor what %d knows", n)), func(m *model) { m.outdone(n) })
		}
	}
}

// act is what a keeper does about the hold that it has in hand: it takes one when the monitor wishes it, commits it with a newer epoch, and lets it go when the wish is gone.
type act int

const (
	waits act = iota
	acts
	commits
	releases
)

func (m model) act(r int) act {
	me := m.minds[r]
	switch newer := me.knows.place().epoch > me.begun; {
	case !me.hand && me.knows.wish():
		return acts
	case !me.hand:
		return waits
	case newer && !me.over:
		return commits
	case newer || me.knows != me.id:
		return releases
	default:
		return waits
	}
}

// write commits a transaction that was decided before. A hold of an older epoch is ended for it; another is waited for.
func (m *model) write(t *testing.T, r, n int) {
	t.Helper()
	p, s := m.minds[r].pending[n], &m.sites[n]
	if s.holder != nobody && s.holder != int8(r) {
		if s.since >= p.epoch || m.broken == holdsForever {
			return
		}
		s.holder, s.since = nobody, 0
	}
	m.overwrite(t, r, n)
}

// overwrite does so whoever holds: where the locks cannot be had in time.
func (m *model) overwrite(t *testing.T, r, n int) {
	t.Helper()
	p, before := m.minds[r].pending[n], m.sites[n].told
	if m.transact(n, p) && before.epoch < p.epoch {
		t.Fatalf("epoch %d refused by a server that was told %d", p.epoch, before.epoch)
	}
	m.minds[r].pending[n] = where{}
}

// commit writes the new address in the transactions that hold. Where the hold was lost it is an ordinary change.
func (m *model) commit(t *testing.T, r int) {
	t.Helper()
	me := m.minds[r]
	p := me.knows.place()
	for n := range m.sites {
		if m.sites[n].holder != int8(r) {
			continue
		}
		before := m.sites[n].told
		if m.transact(n, p) && before.epoch < p.epoch {
			t.Fatalf("a hold of epoch %d refused by a server that was told %d", p.epoch, before.epoch)
		}
	}
	m.free(r)
	m.minds[r] = mind{knows: me.knows, pending: me.pending}
}

// heal lets the world end well: the first reconciler and its coordinator are gone, the monitor finishes what it began, holds end by their deadline, and the second reconciler
// does all that it can, without the help of any daemon. It reports whether everybody is sent to the right place and nobody holds anything.
func (m model) heal(t *testing.T) error {
	t.Helper()
	if m.monitor.wish() {
		m.monitor.stage++
	}
	m.free(0)
	m.minds[0] = mind{knows: m.minds[0].knows}
	if m.copied > 0 {
		m.sites[1].row, m.copied = m.copied-1, 0
	}
	for range 8 {
		m.minds[1].knows = m.monitor
		switch m.act(1) {
		case commits:
			m.commit(t, 1)
		case releases, waits:
			m.free(1)
			m.minds[1] = mind{knows: m.monitor, pending: m.minds[1].pending}
		case acts:
		}
		for n := range m.sites {
			if m.minds[1].pending[n].epoch > 0 {
				m.write(t, 1, n)
			}
			acts, outdone := m.asks(n, m.monitor)
			if acts {
				m.minds[1].pending[n] = m.monitor.place()
				m.write(t, 1, n)
			}
			if outdone {
				m.outdone(n)
			}
		}
	}
	want := m.monitor.place()
	for n, s := range m.sites {
		left := Decide(m.monitor.topology(), m.actual(n), 2*n).Left
		if s.row != want.at || s.told != want || s.holder != nobody || len(left) > 0 {
			return fmt.Errorf("server %d has %+v, want %+v; %v", n, s, want, left)
		}
	}
	return nil
}

// search goes breadth-first through the states from start, at most limit of them, and returns the first way to a broken promise.
func search(t *testing.T, start model, limit int) (story []string, states, left int, err error) {
	t.Helper()
	type step struct {
		from model
		name string
	}
	seen := map[model]step{start: {}}
	queue := []model{start}
	told := func(m model, err error) ([]string, int, int, error) {
		for at := m; at != start; at = seen[at].from {
			story = append([]string{seen[at].name}, story...)
		}
		return story, len(seen), len(queue), err
	}
	for len(queue) > 0 && len(seen) < limit {
		m := queue[0]
		queue = queue[1:]
		if err := m.heal(t); err != nil {
			return told(m, fmt.Errorf("it does not converge: %w", err))
		}
		for _, e := range m.events(t) {
			for n := range m.sites {
				if was, is := m.sites[n].told, e.to.sites[n].told; is.epoch < was.epoch || is.epoch == was.epoch && is != was {
					return told(m, fmt.Errorf("%s: server %d was told %+v and now %+v", e.name, n, was, is))
				}
			}
			if _, ok := seen[e.to]; !ok {
				seen[e.to] = step{m, e.name}
				queue = append(queue, e.to)
			}
		}
	}
	return nil, len(seen), len(queue), nil
}

func begin(broken rule) model {
	calm := site{told: where{epoch: 1}, holder: nobody}
	return model{sites: [2]site{calm, calm}, broken: broken}
}

// TestExplore goes through the states of the model: no interleaving leaves a stale address for ever, none makes a server refuse a newer epoch or take an older one,
// and none leaves a hold behind.
func TestExplore(t *testing.T) {
	limit := 200_000
	if testing.Short() {
		limit = 20_000
	}
	story, states, left, err := search(t, begin(intact), limit)
	if err != nil {
		t.Errorf("%v after\n%s", err, strings.Join(story, "\n"))
	}
	t.Logf("%d states, of which %d were not gone beyond", states, left)
}

// TestExploreDeep goes at random far beyond what the search reaches.
func TestExploreDeep(t *testing.T) {
	walks, steps := 3000, 80
	if testing.Short() {
		walks = 300
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for range walks {
		m := begin(intact)
		var story []string
		for range steps {
			all := m.events(t)
			e := all[dice.IntN(len(all))]
			story = append(story, e.name)
			m = e.to
			if err := m.heal(t); err != nil {
				t.Fatalf("%v after\n%s", err, strings.Join(story, "\n"))
			}
		}
	}
	t.Logf("%d walks of %d steps", walks, steps)
}

// TestExploreFinds: the search finds what a broken rule breaks.
func TestExploreFinds(t *testing.T) {
	for _, broken := range []rule{anyEpoch, onceOnly, holdsForever, deaf} {
		story, states, _, err := search(t, begin(broken), 200_000)
		if err == nil {
			t.Errorf("rule %d is broken, and nothing was found in %d states", broken, states)
		}
		t.Logf("rule %d, after %d states: %v, by: %s", broken, states, err, strings.Join(story, "; "))
	}
}
