package formation

import (
	"context"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
)

// holding is what this node has in hand of a hand-over to it, or of a failover that may make it its group's primary.
type holding struct {
	id     uint64 // [fsm.Goal.Hold]; 0 of a failover
	held   *heldAll
	old    citus.Address // the primary that hands over
	grace  time.Duration // what transactions are given
	level  bool          // this node has all that the old primary had when the hold was complete
	routed bool
	failed string
	caught bool // the writes have been held in this failover
}

// Supplement adds to a report what this node has in hand of a hand-over.
func (k *Keeper) Supplement(r *fsm.Report) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hand.level && (k.hand.held == nil || !k.hand.held.Over()) {
		r.Held = k.hand.id
	}
	if k.hand.routed {
		r.Routed = k.hand.id
	}
	if k.hand.failed != "" && r.Problem == nil {
		r.Problem = &fsm.Problem{Code: fsm.CodeNotHeld, Text: k.hand.failed, Hint: "try again; transactions that hold up the group's writes are ended after a while"}
	}
}

// handOver follows the goal: it holds the group's writes while this node prepares its promotion, or votes since the primary is gone; it sends them here once it serves, and
// lets them go where they were when nothing came of it.
func (k *Keeper) handOver(ctx context.Context) error {
	defer func() { k.letGo(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		goal := k.Goal()
		k.mu.Lock()
		hand := k.hand
		k.mu.Unlock()
		switch hand.next(goal) {
		case turnAnew:
			k.letGo(ctx)
			k.set(func(h *holding) { *h = holding{id: goal.Hold} })
		case turnHold:
			k.hold(ctx, goal)
		case turnCatch:
			k.catch(ctx, goal)
		case turnWait:
			nap(ctx, shortPace, k.turn)
		}
	}
	return nil
}

// turn is what is to be done about the writes next.
type turn int

const (
	turnWait  turn = iota
	turnAnew       // what is in hand is over
	turnHold       // hold for a planned hand-over
	turnCatch      // hold for a failover
)

func (h holding) next(goal fsm.Goal) turn {
	if goal.Hold != 0 || h.id != 0 {
		switch {
		case h.id != goal.Hold && (goal.Hold != 0 || h.held == nil || !goal.State.Serves()):
			return turnAnew
		case goal.State == fsm.StatePreparePromotion && goal.Upstream != nil && h.held == nil && h.failed == "":
			return turnHold
		}
		return turnWait
	}
	switch {
	case goal.State == fsm.StateReportLSN && !h.caught && !candidate(goal):
		return turnWait
	case goal.State == fsm.StateReportLSN && !h.caught:
		return turnCatch
	case goal.State == fsm.StateReportLSN, goal.State == fsm.StateFastForward, goal.State.Serves() && h.held != nil:
		return turnWait
	case h.held != nil, h.caught:
		return turnAnew
	}
	return turnWait
}

// candidate reports whether a node that votes may be elected, as far as its goal tells. Others do not hold the writes: what they hold stands in the way of who is elected. In a planned
// hand-over nobody who votes does: the goal says that there is one.
func candidate(goal fsm.Goal) bool { return goal.Wishes == nil || goal.Wishes.Priority > 0 }

// catch holds the group's writes on the other nodes while this one votes: its primary is gone, and who writes to the group is to wait for its successor rather than to fail.
// The promotion does not wait for that. Should nobody be elected in time, the hold ends by itself, once in an election.
func (k *Keeper) catch(ctx context.Context, goal fsm.Goal) {
	t, _, _ := k.desired(ctx)
	g := t.Group(goal.Group)
	if g == nil || g.Dropped || g.Primary.IsZero() || g.Primary == k.Own() {
		k.set(func(h *holding) { h.caught = true })
		return
	}
	g.Hold = &citus.Hold{ID: goal.String(), To: k.Own()}
	held := k.catchAll(ctx, t, goal.Group)
	k.set(func(h *holding) { h.held, h.caught = held, true })
	k.Log.Info().Msg("the group's writes are held while a successor of its primary is elected")
}

// hold holds the writes, and then waits until this node has what the old primary had.
func (k *Keeper) hold(ctx context.Context, goal fsm.Goal) {
	ctx, cancel := k.while(ctx, func(g fsm.Goal) bool { return g.Hold == goal.Hold })
	defer cancel()
	began := time.Now()
	old := k.askOld(ctx, goal)
	defer old.close(context.WithoutCancel(ctx))
	held, err := k.take(ctx, goal)
	taken := time.Now()
	if err == nil {
		k.set(func(h *holding) {
			h.held, h.grace = held, time.Duration(goal.Settings.CitusGraceMS)*time.Millisecond
			h.old = citus.Address{Host: goal.Upstream.Host, Port: goal.Upstream.Port}
		})
		err = k.level(ctx, old)
		if err == nil && held.Over() {
			err = errOver
		}
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
	k.Log.Info().Dur("took_ms", time.Since(began)).Dur("level_ms", time.Since(taken)).Msg("the group's writes are held")
	k.set(func(h *holding) { h.level = true })
	k.Tell()
}

func (k *Keeper) take(ctx context.Context, goal fsm.Goal) (*heldAll, error) {
	t, _, _ := k.desired(ctx)
	g := t.Group(goal.Group)
	if g == nil {
		return nil, fmt.Errorf("hold group %d: the monitor has not told where it is served", goal.Group)
	}
	g.Primary, g.Serving = citus.Address{Host: goal.Upstream.Host, Port: goal.Upstream.Port}, true
	g.Hold = &citus.Hold{ID: fmt.Sprintf("%d.%d", goal.Epoch, goal.Hold), To: k.Own(), Planned: true, GraceMS: goal.Settings.CitusGraceMS}
	return k.holdAll(ctx, t, goal.Group)
}

// level waits until this node has what the old primary has written up to now.
func (k *Keeper) level(ctx context.Context, old *oldPrimary) error {
	ctx, cancel := context.WithTimeoutCause(ctx, levelPatience, fmt.Errorf("this node does not catch up with the old primary"))
	defer cancel()
	want, err := old.end(ctx)
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

// redirect sends the held writes to this node, which serves: everybody is told in the transactions that hold, in every database. Without a hold everybody is told all the
// same. What has to follow on a new place goes on meanwhile.
func (k *Keeper) redirect(ctx context.Context, t citus.Topology, group int, moved bool) []Database {
	k.mu.Lock()
	hand := k.hand
	k.hand.held = nil
	k.mu.Unlock()
	committed := make(chan struct{})
	defer close(committed)
	if moved {
		go func() { // a server that hangs keeps the old primary's end waiting no longer than it must
			hand.held.settle(committed)
			k.ebb(ctx, hand)
			k.routed()
			k.finish(ctx, t, group)
		}()
	}
	return everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report {
		var r metadata.Report
		if h := hand.held.in(t.Database); h != nil && !h.Over() {
			r = h.Commit(ctx, t)
		}
		if !k.everywhere(r, t, group) {
			r = k.Client.Push(ctx, t)
		}
		return r
	})
}

// How often, and for how long, it is looked for what a former primary left.
const (
	finishPace = 500 * time.Millisecond
	finishFor  = 3 * time.Second
)

// finish puts in order what the former primary left. What it had prepared elsewhere when it was stopped is resolved: until then it went on answering, and may have begun more since
// that was done with the new address. And what Citus' daemon may have copied meanwhile from before the change is written anew.
func (k *Keeper) finish(ctx context.Context, t citus.Topology, group int) {
	began := time.Now()
	for nap(ctx, finishPace); ctx.Err() == nil && time.Since(began) < finishFor; nap(ctx, finishPace) {
		k.note(everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Recover(ctx, t.Only(group)) }))
		k.note(everyDatabase(k.databases(t), func(_ int, t citus.Topology) metadata.Report { return k.Client.Push(ctx, t) }))
		everyDatabase(k.databases(t), func(_ int, t citus.Topology) (none metadata.Report) {
			if n := k.Client.Outlive(ctx, t, group); n > 0 {
				k.Log.Warn().Str("database", t.Database).Int("sessions", n).Msg("ended: they held the group's writes for others, who were not elected")
			}
			return none
		})
	}
}

// routed has the monitor told that the group's statements go to this node, where it waits for that.
func (k *Keeper) routed() {
	id := k.Goal().Hold
	if id == 0 {
		return
	}
	k.set(func(h *holding) { h.id, h.routed = id, true })
	k.Tell()
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
