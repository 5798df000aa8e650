package formation

import (
	"context"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
)

// holding is what this node has in hand of a hand-over to it.
type holding struct {
	id     uint64 // [fsm.Goal.Hold]
	held   *metadata.Held
	level  bool // this node has all that the old primary had when the hold was complete
	routed bool
	failed string
}

// Supplement adds to a report what this node has in hand of a hand-over.
func (k *Keeper) Supplement(r *fsm.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hand.level {
		r.Held = k.hand.id
	}
	if k.hand.routed {
		r.Routed = k.hand.id
	}
	if k.hand.failed != "" && r.Problem == nil {
		r.Problem = &fsm.Problem{Code: fsm.CodeNotHeld, Text: k.hand.failed, Hint: "try again; transactions that hold up the group's writes are ended after a while"}
	}
}

// handOver follows the hold that the goal asks for: it holds the group's writes while this node prepares its promotion, sends them here once it serves, and lets them go
// where they were when the hand-over is given up.
func (k *Keeper) handOver(ctx context.Context) error {
	defer func() { k.letGo(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		goal := k.Goal()
		k.mu.Lock()
		hand := k.hand
		k.mu.Unlock()
		switch {
		case goal.Hold == 0 && (hand.held == nil || !goal.State.Serves()), hand.id != goal.Hold && goal.Hold != 0:
			k.letGo(ctx)
			k.mu.Lock()
			k.hand = holding{id: goal.Hold}
			k.mu.Unlock()
			if goal.Hold == 0 {
				nap(ctx, time.Minute, k.turn)
			}
			continue
		case goal.State == fsm.StatePreparePromotion && goal.Upstream != nil && hand.held == nil && hand.failed == "":
			k.hold(ctx, goal)
			continue
		}
		nap(ctx, shortPace, k.turn)
	}
	return nil
}

// hold holds the writes, and then waits until this node has what the old primary had.
func (k *Keeper) hold(ctx context.Context, goal fsm.Goal) {
	ctx, cancel := k.while(ctx, func(g fsm.Goal) bool { return g.Hold == goal.Hold })
	defer cancel()
	began := time.Now()
	held, err := k.take(ctx, goal)
	if err == nil {
		k.set(func(h *holding) { h.held = held })
		err = k.level(ctx, goal)
	}
	if ctx.Err() != nil {
		return // the goal has changed: the next look lets go
	}
	if err != nil {
		k.Log.Warn().Err(err).Msg("the group's writes are not held")
		k.set(func(h *holding) { h.failed = err.Error() })
		k.Tell()
		return
	}
	for _, n := range held.Missing() {
		k.Log.Warn().Int("on_group", n.Group).Str("problem", n.Problem).Msg("a node does not hold the group's writes")
	}
	for _, e := range held.Ended() {
		k.Log.Warn().Interface("session", e).Msg("ended: its transaction held up the hand-over")
	}
	k.Log.Info().Dur("took_ms", time.Since(began)).Msg("the group's writes are held")
	k.set(func(h *holding) { h.level = true })
	k.Tell()
}

func (k *Keeper) take(ctx context.Context, goal fsm.Goal) (*metadata.Held, error) {
	t, _, _ := k.desired(ctx)
	g := t.Group(goal.Group)
	if g == nil {
		return nil, fmt.Errorf("hold group %d: the monitor has not told where it is served", goal.Group)
	}
	g.Primary, g.Serving = citus.Address{Host: goal.Upstream.Host, Port: goal.Upstream.Port}, true
	g.Hold = &citus.Hold{ID: fmt.Sprintf("%d.%d", goal.Epoch, goal.Hold), To: k.Own(), Planned: true}
	return k.Client.Hold(ctx, t, goal.Group)
}

// level waits until this node has what the old primary has written up to now.
func (k *Keeper) level(ctx context.Context, goal fsm.Goal) error {
	ctx, cancel := context.WithTimeoutCause(ctx, levelPatience, fmt.Errorf("this node does not catch up with the old primary"))
	defer cancel()
	at := citus.Address{Host: goal.Upstream.Host, Port: goal.Upstream.Port}
	c, err := k.Client.Connect(ctx, goal.Group, at, goal.Database)
	if err != nil {
		return fmt.Errorf("ask the old primary how far its log reaches: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	var end string
	if err := c.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&end); err != nil {
		return fmt.Errorf("ask the old primary how far its log reaches: %w", err)
	}
	want, err := fsm.ParseLSN(end)
	if err != nil {
		return err
	}
	for k.Position(ctx) < want {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// levelPatience is how long a standby in step may take to have what its primary has written.
const levelPatience = 3 * time.Second

// redirect sends the held writes to this node, which serves: everybody is told in the transactions that hold. Without a hold everybody is told all the same.
func (k *Keeper) redirect(ctx context.Context, t citus.Topology, group int) metadata.Report {
	k.mu.Lock()
	held := k.hand.held
	k.mu.Unlock()
	var r metadata.Report
	if held != nil && !held.Over() {
		r = held.Commit(ctx, t)
		k.set(func(h *holding) { h.held = nil })
	}
	if !k.everywhere(r, t, group) {
		r = k.Client.Push(ctx, t)
	}
	if k.Goal().Hold != 0 {
		k.set(func(h *holding) { h.id, h.routed = k.Goal().Hold, true })
		k.Tell()
	}
	return r
}

func (k *Keeper) letGo(ctx context.Context) {
	k.mu.Lock()
	held := k.hand.held
	k.hand.held = nil
	k.mu.Unlock()
	if held == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	held.Release(ctx)
	k.Log.Info().Msg("the group's writes are not held any more")
}

func (k *Keeper) set(change func(*holding)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.hand)
}

// while returns a context that ends as soon as a goal is obeyed for which keep says no.
func (k *Keeper) while(ctx context.Context, keep func(fsm.Goal) bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for ctx.Err() == nil {
			if !keep(k.Goal()) {
				cancel()
				signal(k.turn)
				return
			}
			nap(ctx, shortPace, k.turn)
		}
	}()
	return ctx, cancel
}
