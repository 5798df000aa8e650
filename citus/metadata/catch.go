package metadata

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
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
	h.heir = c.meet(ctx, t, *g)
	h.grow(ctx, t)
	h.endsBy(ctx, c.Timings.complete().Hold)
	return h
}

// Outlive ends the holds of a group that others than its primary took before it was elected: they hold up nothing but those who write to it. One is late where its keeper, or the
// network, is slow, and who took it may not have heard yet that it was not elected. It returns how many there were.
func (c *Client) Outlive(ctx context.Context, t citus.Topology, group int) (ended int) {
	for _, a := range each(ctx, t, func(ctx context.Context, g citus.Group) (int, error) { return c.outlive(ctx, t, g, group) }) {
		if ended += a.value; a.err != nil {
			c.Log.Debug().Err(a.err).Int("group", a.group.Number).Msg("who holds the writes of a group that has moved cannot be seen")
		}
	}
	return ended
}

func (c *Client) outlive(ctx context.Context, t citus.Topology, g citus.Group, group int) (ended int, err error) {
	s, _, err := c.open(ctx, t, g, sessionName)
	if err != nil {
		return 0, err
	}
	defer s.close(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timings.complete().Connect, errors.New("the server does not answer"))
	defer cancel()
	rows, err := s.conn.Query(ctx, `select distinct application_name from pg_stat_activity where starts_with(application_name, $1) and datname = current_database()`,
		pgx.QueryExecModeExec, holdName)
	if err != nil {
		return 0, explain(ctx, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, explain(ctx, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !outlived(t, group, name) })
	if len(names) == 0 {
		return 0, nil
	}
	tag, err := s.conn.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = any ($1::text[]) and datname = current_database()`,
		pgx.QueryExecModeExec, names)
	return int(tag.RowsAffected()), explain(ctx, err)
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
