package metadata

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// Catch is [Client.Hold] for a group whose primary is gone: it returns at once, and holds on each server as soon as that can be had there, until the hold ends.
// Nobody waits for it, and nothing depends on it: what could not be held fails at the old address, as it would without. Of a group that the topology does not name nothing is
// held: the hold is over. One without a wish is held for nobody in particular.
func (c *Client) Catch(ctx context.Context, t citus.Topology, group int) *Held {
	g := t.Group(group)
	if g == nil {
		h := c.held(citus.Group{Number: group})
		close(h.grown)
		h.Release(ctx)
		return h
	}
	h := c.held(*g)
	h.grow(ctx, t)
	h.endsBy(ctx, c.Timings.complete().Hold)
	return h
}

// growFor is how long an unplanned hold is waited for before it is used as it is; growPatience is how long each server is asked for it.
const (
	growFor      = 300 * time.Millisecond
	growPatience = 4 * firstBudget
)

// grow asks every server but the group's own for itself, and takes what it gets: a server that hangs keeps nobody waiting, and may be added later.
func (h *Held) grow(ctx context.Context, t citus.Topology) {
	growing, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	var all sync.WaitGroup
	for _, g := range t.Groups {
		if !g.Dropped && !g.Primary.IsZero() && g.Number != h.group {
			all.Go(func() { h.growOn(growing, t, g) })
		}
	}
	go func() {
		all.Wait()
		close(h.grown)
	}()
}

// growOn holds on one server, unless the hold has ended meanwhile.
func (h *Held) growOn(ctx context.Context, t citus.Topology, g citus.Group) {
	part, err := h.client.join(ctx, t, g, h.group)
	if err == nil && part != nil {
		if err = h.tryOn(ctx, t, part); err != nil {
			part.s.close(ctx)
		}
	}
	if err != nil {
		h.miss(g, err)
		return
	}
	if part != nil && !h.add(ctx, part) {
		part.s.close(ctx)
	}
}

// tryOn asks one server again and again, and for no longer than a moment each time: who waits for the hold elsewhere may have what this server's clients wait for, and while we
// wait for one of those Citus sees a deadlock, and ends a client.
func (h *Held) tryOn(ctx context.Context, t citus.Topology, part *part) error {
	p := patience{superseded: superseded(t, h.group), circles: true, since: time.Now()}
	for wait := firstWait; ; wait = wait * 3 / 2 {
		err := h.hold(ctx, t, part, p, wait, time.Now().Add(firstBudget))
		if err == nil || part.s.conn.IsClosed() || !passing(err) && !errors.Is(err, errCircle) || time.Since(p.since) > growPatience || pause(ctx, betweenTry) != nil {
			return err
		}
	}
}

// add takes a part into a hold that has not ended; it reports whether it did.
func (h *Held) add(ctx context.Context, p *part) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || ctx.Err() != nil {
		return false
	}
	h.parts = append(h.parts, p)
	return true
}

// settle waits until every server was asked, but not for long.
func (h *Held) settle(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-h.grown:
	case <-timer.C:
	case <-ctx.Done():
	}
}
