package metadata

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// Held is a group whose writes wait on the metadata primaries, in open transactions. Only writes of the group and of reference tables wait: reads go on, and so does all
// that other groups do. It ends with Commit, with Release, or by itself after [Timings.Hold]; the servers end it too, should this process be gone. Its methods may be
// called at the same time.
type Held struct {
	client *Client
	group  int
	epoch  citus.Epoch

	mu      sync.Mutex
	parts   []*part
	missing []Node
	ended   []Ended
	over    bool
	timer   *time.Timer

	// Of an unplanned hold, which grows while others go on: what ends the growing, and when every server was asked.
	stop  context.CancelFunc
	grown chan struct{}
	// heir is who the writes are going to be sent to; set once.
	heir *heir
	// settled is closed by settling, see Settled.
	settled  chan struct{}
	settling func()
}

// part is the hold on one server.
type part struct {
	s    *session
	self citus.NodeID // of the server itself
	node citus.NodeID // of the group whose writes are held, in this server's numbers
	knew citus.Actual // what the server knew before the hold
}

// The rounds of taking a hold: each server in its turn, and when one cannot be had within the round's budget all are let go, since whoever has it may wait for one of
// the others. No single lock is waited for longer than firstWait at first: while we wait, a client that needs what we have already may wait for us, and another for him on a
// third server, whom we wait for; Citus takes that for a deadlock, and ends a client. Both grow from round to round, for the sake of long transactions.
const (
	firstBudget = 250 * time.Millisecond
	firstWait   = 10 * time.Millisecond
	betweenTry  = 15 * time.Millisecond
)

// hangs is how much longer than it may take by the server's own limits a statement of a hold is waited for, while others hold already: a server that does not answer then
// is done without.
const hangs = 750 * time.Millisecond

// ErrNobody says that no server could be asked to hold, or none knows the group.
var ErrNobody = errors.New("no metadata primary could be asked")

// errCircle says that a wait went in a circle, and was given up for the client's sake.
var errCircle = errors.New("a client waits for us, and we for it")

// Hold makes the writes of a group wait on every metadata primary that can be reached, the coordinator first and then by node id, as shard moves do. Transactions under
// way are waited for; those that are older than the wish's grace are ended, unless it says otherwise. For an unplanned change every server is asked once and at the same
// time, and what cannot be had soon is left.
//
// The error says why a planned hold could not be had; then nothing is held. Servers that could not be asked at all are in Missing.
func (c *Client) Hold(ctx context.Context, t citus.Topology, group int) (*Held, error) {
	g := t.Group(group)
	if g == nil || g.Hold == nil {
		return nil, fmt.Errorf("hold group %d: nobody wishes that", group)
	}
	if !g.Hold.Planned {
		h := c.Catch(ctx, t, group)
		h.settle(ctx, growFor)
		return h, nil
	}
	h, err := c.Take(ctx, t, group)
	if err == nil {
		h.Expire(ctx)
	}
	return h, err
}

// Take is [Client.Hold] for a planned change, but the hold does not end by itself before [Held.Expire] has been called: where several databases are held, none is to end before
// the last is complete.
func (c *Client) Take(ctx context.Context, t citus.Topology, group int) (*Held, error) {
	g := t.Group(group)
	if g == nil || g.Hold == nil || !g.Hold.Planned {
		return nil, fmt.Errorf("hold group %d: nobody wishes that", group)
	}
	h := c.held(*g)
	h.heir = c.meet(ctx, t, *g)
	h.gather(ctx, t)
	if err := h.take(ctx, t, *g.Hold); err != nil {
		h.Release(ctx)
		return nil, fmt.Errorf("hold group %d: %w", group, err)
	}
	return h, nil
}

// Expire has a hold end by itself after [Timings.Hold] from now.
func (h *Held) Expire(ctx context.Context) { h.endsBy(ctx, h.client.Timings.complete().Hold) }

func (c *Client) held(g citus.Group) *Held {
	h := &Held{client: c, group: g.Number, epoch: g.Epoch, stop: func() {}, grown: make(chan struct{}), settled: make(chan struct{})}
	h.settling = sync.OnceFunc(func() { close(h.settled) })
	return h
}

func (h *Held) endsBy(ctx context.Context, after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
	if !h.over {
		h.timer = time.AfterFunc(after, func() { h.Release(context.WithoutCancel(ctx)) })
	}
}

func problems(nodes []Node) string {
	var text strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&text, "; group %d: %s", n.Group, n.Problem)
	}
	return text.String()
}

// gather opens a session with every server, all at once, and puts them in the order in which they are held.
func (h *Held) gather(ctx context.Context, t citus.Topology) {
	found := each(ctx, t, func(ctx context.Context, g citus.Group) (*part, error) { return h.client.join(ctx, t, g, h.group) })
	for _, f := range found {
		switch {
		case f.err == nil && f.value != nil:
			h.parts = append(h.parts, f.value)
		case f.err != nil:
			h.miss(f.group, f.err)
		}
	}
	slices.SortFunc(h.parts, func(a, b *part) int {
		return cmp.Or(cmp.Compare(min(a.s.group.Number, 1), min(b.s.group.Number, 1)), cmp.Compare(a.self, b.self))
	})
}

func (h *Held) miss(g citus.Group, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.missing = append(h.missing, Node{Group: g.Number, At: g.Primary, Problem: err.Error(), Recovered: -1})
}

// join opens one part of a hold; nil for a server that does not know the group, so that it writes nothing there.
func (c *Client) join(ctx context.Context, t citus.Topology, g citus.Group, group int) (*part, error) {
	s, a, err := c.open(ctx, t, g, nameHold(t, group))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timings.complete().Connect, errors.New("the server does not answer"))
	defer cancel()
	p := &part{s: s}
	a, err = s.read(ctx, a)
	if err == nil && a.Primary(group) == nil {
		s.close(ctx)
		return nil, nil
	}
	if err == nil {
		err = s.schema(ctx)
	}
	if err == nil {
		p.node, p.knew = a.Primary(group).ID, a
		if own := a.Primary(g.Number); own != nil {
			p.self = own.ID
		}
		err = p.begin(ctx, c.Timings.complete(), wishOf(t, group).Grace())
	}
	if err != nil {
		s.close(ctx)
		return nil, err
	}
	return p, nil
}

// begin opens the transaction. The server itself ends it when nothing is heard of us for longer than a hold may last:
// others are waited for, and then it is used.
func (p *part) begin(ctx context.Context, t Timings, grace time.Duration) error {
	if err := p.s.exec(ctx, `select set_config('idle_in_transaction_session_timeout', $1, false)`, ms(2*grace+t.Lock+t.Hold+t.Change)); err != nil {
		return err
	}
	return p.s.exec(ctx, "begin; savepoint held")
}

// take holds the parts, or says why not.
func (h *Held) take(ctx context.Context, t citus.Topology, wish citus.Hold) error {
	if len(h.parts) == 0 && len(h.missing) == 0 {
		return nil // nobody sends anything to the group yet
	}
	if len(h.parts) == 0 {
		return fmt.Errorf("%w%s", ErrNobody, problems(h.missing))
	}
	began, grace := time.Now(), wish.Grace()
	p := patience{old: grace, since: began, circles: true, superseded: superseded(t, h.group),
		reason: fmt.Sprintf("the writes of group %d are held for a planned move, and its transaction is older than the grace of %v", h.group, grace)}
	if wish.NoForce {
		p.old = 0
	}
	limit := 2*grace + h.client.Timings.complete().Lock
	if wish.NoForce {
		limit = grace
	}
	for budget, wait := firstBudget, firstWait; ; budget, wait = budget*5/4, wait*3/2 {
		end := time.Now().Add(min(budget, limit-time.Since(began)))
		err := h.round(ctx, t, p, wait, end)
		if err == nil {
			return nil
		}
		if !passing(err) && !errors.Is(err, errCircle) {
			return err
		}
		if time.Since(began) >= limit {
			return fmt.Errorf("not within %v: %w", limit, err)
		}
		h.letGo(ctx)
		if err := pause(ctx, betweenTry); err != nil {
			return err
		}
	}
}

// round tries to hold all parts in their order until the end. A wait in a circle on one server is given up there and tried again.
func (h *Held) round(ctx context.Context, t citus.Topology, p patience, wait time.Duration, end time.Time) error {
	for _, part := range slices.Clone(h.parts) {
		for {
			err := h.hold(ctx, t, part, p, wait, end)
			if err == nil {
				break
			}
			if part.s.conn.IsClosed() {
				h.lose(ctx, part, err)
				break
			}
			if !errors.Is(err, errCircle) || time.Now().After(end) {
				return fmt.Errorf("group %d at %s: %w", part.s.group.Number, part.s.group.Primary, err)
			}
			if err := pause(ctx, betweenTry); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold takes one part's locks.
func (h *Held) hold(ctx context.Context, t citus.Topology, part *part, p patience, wait time.Duration, end time.Time) error {
	budget := max(time.Until(end), firstWait)
	var cancelled bool
	ctx, cancel := context.WithTimeoutCause(ctx, budget+hangs, errors.New("the server does not answer"))
	defer cancel()
	ended, err := h.client.guard(ctx, t, part.s, p, func(ctx context.Context) error {
		if err := part.s.limit(ctx, min(wait, budget), budget); err != nil {
			return err
		}
		began := time.Now()
		err := part.s.exec(ctx, `select citus_pause_node_within_txn($1)`, int32(part.node))
		cancelled = err != nil && passing(err) && time.Since(began) < budget*9/10
		return err
	})
	h.mu.Lock()
	h.ended = append(h.ended, ended...)
	h.mu.Unlock()
	if err == nil {
		// A cancel request may come a moment too late, and hit this one.
		if err = part.s.limit(ctx, 0, 0); err == nil {
			return nil
		}
		cancelled = passing(err)
	}
	if part.s.conn.IsClosed() {
		return explain(ctx, err)
	}
	back := part.s.exec(ctx, "rollback to savepoint held")
	if back != nil && passing(back) {
		back = part.s.exec(ctx, "rollback to savepoint held")
	}
	if back != nil {
		return errors.Join(err, back)
	}
	if cancelled {
		return errCircle
	}
	return err
}

// letGo gives back all that was taken, and keeps the transactions open.
func (h *Held) letGo(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, hangs, errors.New("the server does not answer"))
	defer cancel()
	var all sync.WaitGroup
	for _, part := range slices.Clone(h.parts) {
		all.Go(func() {
			if err := part.s.exec(ctx, "rollback to savepoint held"); err != nil {
				h.lose(ctx, part, explain(ctx, err))
			}
		})
	}
	all.Wait()
}

// lose gives a part up.
func (h *Held) lose(ctx context.Context, lost *part, err error) {
	lost.s.close(ctx)
	h.mu.Lock()
	h.parts = slices.DeleteFunc(h.parts, func(p *part) bool { return p == lost })
	h.mu.Unlock()
	h.miss(lost.s.group, err)
}

// Missing are the servers that do not hold, with the reasons.
func (h *Held) Missing() []Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.missing)
}

// Ended are the sessions that were ended because their transactions lasted longer than the grace.
func (h *Held) Ended() []Ended {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ended)
}

// Over reports whether nothing is held any more.
func (h *Held) Over() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.over
}

// Release ends the hold without a change, on all servers at once: writes go on where they were. It may be repeated.
func (h *Held) Release(ctx context.Context) {
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.heir.close(ctx)
	}
	h.over = true
	if h.timer != nil {
		h.timer.Stop()
	}
	var wg sync.WaitGroup
	for _, p := range h.parts {
		wg.Go(func() { p.s.close(ctx) })
	}
	wg.Wait()
	h.parts = nil
}

// pause waits, but no longer than the context.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
