package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// What a change of an address allows others before they are ended. Where the old primary is gone, whoever has written to the group's shards has lost that already, and others
// wait for his locks. Where the writes were held nobody has; what can stand in the way then is a change of the schema.
const (
	changePatience = 250 * time.Millisecond
	commitPatience = time.Second
)

// For how long the end of a move waits for servers that have not said yet that they know the new address, once one has: one that hangs delays nobody. One that has held the
// writes was there a moment ago, and mostly waits for a lock of its own.
const (
	stragglers     = 750 * time.Millisecond
	heldStragglers = 1500 * time.Millisecond
)

// workersFirst is for how long the coordinator's commit waits for the workers': its daemon then finds the rows right.
const workersFirst = 100 * time.Millisecond

// Commit ends the hold by writing the group's place in t, which has a newer epoch, in the transactions that hold, so that waiting writes go to the new primary. First it looks
// whether the right server serves there: nothing is written otherwise, and the hold is released. Servers that do not hold are told like by [Client.Push], the new
// primary among them. Each server then resolves the prepared transactions that it began. The old primary's part stays held: it is to be stopped, and until then its own clients wait.
func (h *Held) Commit(ctx context.Context, t citus.Topology) Report {
	h.stop()
	g := t.Group(h.group)
	if g == nil || g.Dropped || g.Epoch.Compare(h.epoch) <= 0 {
		h.Release(ctx)
		return Report{Nodes: []Node{{Group: h.group, Problem: "the hold has no newer epoch to be committed with", Recovered: -1}}}
	}
	v := h.client.visit(t)
	// The server is looked at while the changes are made; nothing is committed before it has proved who it is.
	proof := func() error {
		return v.proves(h.group, func() error {
			if h.heir.proves(ctx, h.client, *g) {
				return nil
			}
			return h.client.await(ctx, t, *g)
		})
	}
	var looking sync.WaitGroup
	looking.Go(func() { _ = proof() })
	defer looking.Wait()
	defer h.heir.close(ctx)
	only, parts := t.Only(h.group), h.surrender()
	told, know := newCount(parts), h.progress(t, len(parts))
	defer know.stop()
	answers := each(ctx, t, func(ctx context.Context, to citus.Group) (Node, error) {
		i := slices.IndexFunc(parts, func(p *part) bool { return p.s.group.Number == to.Number })
		knows := know.once(i >= 0)
		if i < 0 {
			n := v.follow(ctx, only, to)
			knows(n.right(h.group))
			return n, nil
		}
		defer parts[i].s.close(ctx)
		n := h.commit(ctx, v, only, parts[i], proof, told, knows)
		knows(n.right(h.group))
		return n, nil
	})
	if proof() != nil {
		h.Release(ctx)
	}
	return reportOf(answers)
}

// Settled is closed by [Held.Commit] as soon as nobody who answers is sent to the old primary any more: every server knows the new address, or those that do not hang,
// and have been waited for. It may be long before Commit returns, which says what became of each.
func (h *Held) Settled() <-chan struct{} { return h.settled }

// progress counts the servers that are still to be told, and of these the ones that hold.
type progress struct {
	mu         sync.Mutex
	left, held int
	first      time.Time // when one was told
	timer      *time.Timer
	settle     func()
}

func (h *Held) progress(t citus.Topology, held int) *progress {
	p := &progress{settle: h.settling, held: held}
	for _, g := range t.Groups {
		if !g.Dropped && !g.Primary.IsZero() {
			p.left++
		}
	}
	return p
}

// once returns what notes of one server, the first time that it is called, whether it knows the new address.
func (p *progress) once(held bool) func(knows bool) {
	var once sync.Once
	return func(knows bool) { once.Do(func() { p.note(held, knows) }) }
}

func (p *progress) note(held, knows bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left--
	if held {
		p.held--
	}
	if knows && p.first.IsZero() {
		p.first = time.Now()
	}
	if p.first.IsZero() {
		return
	}
	if p.left == 0 {
		p.settle()
		return
	}
	patience := stragglers
	if p.held > 0 {
		patience = heldStragglers
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(patience-time.Since(p.first), p.settle)
}

func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}

// count tells when all workers are done.
type count struct {
	mu   sync.Mutex
	left int
	none chan struct{}
}

func newCount(parts []*part) *count {
	c := &count{left: 1, none: make(chan struct{})}
	for _, p := range parts {
		if p.s.group.Number != citus.Coordinator {
			c.left++
		}
	}
	c.done()
	return c
}

func (c *count) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		close(c.none)
	}
}

// surrender takes the parts out of the hold but the old primary's, which stays until the deadline.
func (h *Held) surrender() []*part {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := func(p *part) bool { return p.s.group.Number == h.group }
	parts := slices.DeleteFunc(slices.Clone(h.parts), own)
	h.parts = slices.DeleteFunc(h.parts, func(p *part) bool { return !own(p) })
	h.over = len(h.parts) == 0
	return parts
}

// commit writes the group's place in the transaction that holds, and tells the server anew when that fails. The coordinator comes after the workers.
func (h *Held) commit(ctx context.Context, v *visit, only citus.Topology, p *part, proof func() error, workers *count, knows func(bool)) Node {
	changing, cancel := context.WithTimeoutCause(ctx, h.client.Timings.complete().Change, errors.New("the server does not answer"))
	defer cancel()
	coordinator := p.s.group.Number == citus.Coordinator
	ended, err := h.client.guard(changing, v.t, p.s, h.patience(v.t), func(ctx context.Context) error {
		if !coordinator {
			defer workers.done()
		}
		if err := p.write(ctx, only, p.s.group.Number); err != nil {
			return err
		}
		if err := proof(); err != nil {
			return err
		}
		if coordinator {
			timer := time.NewTimer(workersFirst)
			defer timer.Stop()
			select {
			case <-workers.none:
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		return p.s.exec(ctx, "commit")
	})
	h.mu.Lock()
	h.ended = append(h.ended, ended...)
	h.mu.Unlock()
	if err != nil {
		h.client.Log.Warn().Err(explain(changing, err)).Int("group", p.s.group.Number).Msg("a hold could not be committed; the address is written anew")
		p.s.close(ctx) // and what it holds is let go
		return v.follow(ctx, only, p.s.group)
	}
	if p.right(changing, only, h.group) {
		knows(true)
	}
	n := v.follow(ctx, only, p.s.group)
	if n.Recovered < 0 {
		n.Recovered = h.client.resolve(ctx, p.s)
	}
	return n
}

// right reports whether the server is seen to send the group's statements to the right place.
func (p *part) right(ctx context.Context, only citus.Topology, group int) bool {
	a, err := p.s.read(ctx, p.knew)
	return err == nil && citus.Right(citus.Decide(only, a, p.s.group.Number).Left, group)
}

func (h *Held) patience(t citus.Topology) patience {
	return patience{all: commitPatience, superseded: superseded(t, -1),
		reason: fmt.Sprintf("group %d has moved, and it holds up the new address", h.group)}
}

// nodePatience is for how long the lock of pg_dist_node is waited for, which Citus' daemon holds while it tries to reach a server that hangs.
const nodePatience = 100 * time.Millisecond

// write makes the group's changes in the transaction that holds its writes. The locks of the shards are there already; that of pg_dist_node may be somebody's, and is asked for
// again without the others being lost: the second time for the row alone. What the server knew before the hold will do the first time: what changed since is found out by the
// server's own constraints.
func (p *part) write(ctx context.Context, only citus.Topology, self int) error {
	if err := p.s.limit(ctx, nodePatience, 0); err != nil {
		return err
	}
	defer func() { p.s.plain = false }()
	for first := true; ; first = false {
		if err := p.s.exec(ctx, "savepoint written"); err != nil {
			return err
		}
		err := p.s.steps(ctx, slices.Concat(citus.Decide(only, p.knew, self).Batches...))
		if err == nil && p.knew.Primary(only.Groups[0].Number) == nil {
			err = errNoRow
		}
		if err == nil {
			return nil
		}
		if !first && !passing(err) || p.s.conn.IsClosed() {
			return err
		}
		if back := p.s.exec(ctx, "rollback to savepoint written"); back != nil {
			return errors.Join(err, back)
		}
		if back := p.s.limit(ctx, commitPatience, 0); back != nil {
			return errors.Join(err, back)
		}
		if wait := pause(ctx, betweenTry); wait != nil {
			return errors.Join(err, wait)
		}
		p.s.plain = true
		if p.knew, err = p.s.read(ctx, p.knew); err != nil {
			return err
		}
	}
}

// await looks at the group's new primary until the right server serves there.
func (c *Client) await(ctx context.Context, t citus.Topology, g citus.Group) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timings.complete().Change)
	defer cancel()
	for {
		s, _, err := c.open(ctx, t, g, sessionName)
		if err == nil {
			s.close(ctx)
			return nil
		}
		if _, wrong := errors.AsType[*WrongServerError](err); wrong && g.Serving {
			return err
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
}
