package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// work takes groups from the queue and decides for them, over a connection of its own that it opens again when it was lost.
func (s *Server) work(ctx context.Context) error {
	for {
		conn, err := s.c.connect(ctx, Database, "autoctl decide")
		if err != nil {
			return err
		}
		err = s.workOver(ctx, conn)
		hangUp(ctx, conn)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (s *Server) workOver(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "set synchronous_commit = on"); err != nil {
		return fmt.Errorf("prepare to decide: %w", err)
	}
	if err := rehearse(ctx, conn); err != nil {
		return err
	}
	for !conn.IsClosed() {
		k, ok := s.queue.Next(ctx)
		if !ok {
			return nil
		}
		wake, err := s.decideRetrying(ctx, conn, k)
		switch {
		case errors.Is(err, errNoGroup):
			s.queue.Forget(k)
		case ctx.Err() != nil:
			s.queue.Done(k, decideAgain)
			return nil //nolint:nilerr // told to stop in the middle: nothing is lost by that
		case err != nil:
			s.c.Log.Error().Err(err).Str("formation", k.Formation).Int("group", k.Number).Msg("decision failed; trying again")
			s.queue.Done(k, decideAgain)
		default:
			s.queue.Done(k, wake)
		}
	}
	return nil
}

// decidePause is the shortest time after which a group is looked at again by the clock alone. News do not wait for it.
const decidePause = 2 * time.Millisecond

// decideAgain is the pause after a decision that failed for another reason than a conflict.
const decideAgain = 250 * time.Millisecond

// conflictPause and conflictTries bound what a decision that met others' transactions costs: the pauses double, about half a second in all.
const (
	conflictPause = time.Millisecond
	conflictTries = 10
)

func (s *Server) decideRetrying(ctx context.Context, conn *pgx.Conn, k groupKey) (wake time.Duration, err error) {
	err = retrying(ctx, conflictPause, conflictTries, func() error {
		wake, err = s.decide(ctx, conn, k)
		return err
	})
	return wake, err
}

// retrying calls do again, up to tries times and after pauses that double, as long as it fails for a reason that another try may not meet.
func retrying(ctx context.Context, pause time.Duration, tries int, do func() error) error {
	for ; ; pause, tries = 2*pause, tries-1 {
		err := do()
		if !mayRetry(err) || tries <= 1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

var errNoGroup = errors.New("the group is gone")

// decide lets fsm.Decide look at one group and carries out what it concludes, in the order that safety wants: stored durably, then
// proved in the incarnation file (S9), then told. It returns when to decide again at the latest; negative for no need.
func (s *Server) decide(ctx context.Context, conn *pgx.Conn, k groupKey) (time.Duration, error) {
	g, untold, err := s.load(ctx, conn, k)
	if err != nil {
		rollBack(ctx, conn)
		return 0, err
	}
	now := s.now()
	d := s.c.Decide(g, now)
	decided := d.Changed || len(d.Events) > 0 || len(d.Answers) > 0 || len(d.Forget) > 0 || len(d.Group.Commands) < len(g.Commands)
	if !decided && !untold {
		rollBack(ctx, conn)
		return s.wakeAfter(d), nil
	}
	have, err := s.store(ctx, conn, k, g, d, decided)
	if err != nil {
		rollBack(ctx, conn)
		return 0, err
	}
	if decided {
		s.logDecision(k, d)
	}
	if err := s.publish(ctx, conn, k, d, have); err != nil {
		return 0, err
	}
	return s.wakeAfter(d), nil
}

// wakeAfter is when to decide again at the latest; negative for no need.
func (s *Server) wakeAfter(d fsm.Decision) time.Duration {
	if d.Wake <= 0 {
		return -1
	}
	return max(d.Wake.Sub(s.now()), decidePause)
}

// stored is what autoctl.group_snapshot adds to a group.
type stored struct {
	Life  string `json:"life"`
	Nodes []struct {
		ID     fsm.NodeID `json:"id"`
		Beats  int64      `json:"beats"`
		Untold bool       `json:"untold"`
	} `json:"nodes"`
}

// load locks the group's row and then reads everything, so that nothing read is older than the decision before. It leaves the transaction open.
func (s *Server) load(ctx context.Context, conn *pgx.Conn, k groupKey) (g fsm.Group, untold bool, err error) {
	var raw []byte
	if err = conn.SendBatch(ctx, loading(k, &raw)).Close(); err != nil {
		return g, false, fmt.Errorf("read group: %w", err)
	}
	if raw == nil {
		return g, false, errNoGroup
	}
	var extra stored
	if err := errors.Join(json.Unmarshal(raw, &g), json.Unmarshal(raw, &extra)); err != nil {
		return g, false, fmt.Errorf("read group: %w", err)
	}
	for _, n := range extra.Nodes {
		s.views.beat(n.ID, n.Beats)
		untold = untold || n.Untold
	}
	if extra.Life != s.life {
		rebase(&g, s.now())
	}
	s.useSettings(&g)
	s.views.fill(&g)
	return g, untold, nil
}

// rebase moves what a former run noted on its own clock to now: waiting begins anew, and no failover is forgotten by the rate limit.
func rebase(g *fsm.Group, now fsm.Instant) {
	if g.Election != nil {
		g.Election.Began, g.Election.PhaseBegan = now, now
	}
	for i := range g.Unplanned {
		g.Unplanned[i] = now
	}
	for i := range g.Nodes {
		if g.Nodes[i].HoldUntil > 0 {
			g.Nodes[i].HoldUntil = now
		}
	}
}

// useSettings takes the stored settings if they are sound; a client that skipped the checks cannot bend the decisions.
func (s *Server) useSettings(g *fsm.Group) {
	if err := g.Settings.Validate(); err != nil {
		s.c.Log.Error().Err(err).Msg("the stored settings contradict each other; going on with the former ones")
		g.Settings = s.views.timings()
		return
	}
	s.views.setTimings(g.Settings)
}

// store makes a decision durable, or, where there is none, only ends the transaction. It returns what the incarnation file has to say before
// anybody is told.
func (s *Server) store(ctx context.Context, conn *pgx.Conn, k groupKey, before fsm.Group, d fsm.Decision, decided bool) (have proof, err error) {
	if !decided {
		if err := conn.SendBatch(ctx, ending(&have)).Close(); err != nil {
			return have, fmt.Errorf("count decisions: %w", err)
		}
		return have, nil
	}
	d.Group.Nodes = slim(d.Group.Nodes)
	raw, err := json.Marshal(d)
	if err != nil {
		return have, fmt.Errorf("encode decision: %w", err)
	}
	left := map[int64]bool{}
	for _, c := range d.Group.Commands {
		left[c.ID] = true
	}
	taken := []int64{}
	for _, c := range before.Commands {
		if !left[c.ID] {
			taken = append(taken, c.ID)
		}
	}
	if err := conn.SendBatch(ctx, storing(k, s.life, string(raw), taken, &have)).Close(); err != nil {
		return have, fmt.Errorf("store decision: %w", err)
	}
	return have, nil
}

// slim leaves out the reports: they are stored already.
func slim(nodes []fsm.Node) []fsm.Node {
	out := make([]fsm.Node, len(nodes))
	copy(out, nodes)
	for i := range out {
		out[i].Report = nil
	}
	return out
}

// publish proves the decisions stored so far and lets everybody hear of them.
func (s *Server) publish(ctx context.Context, conn *pgx.Conn, k groupKey, d fsm.Decision, have proof) error {
	if err := s.proof.Advance(have); err != nil {
		return err
	}
	raw, err := json.Marshal(fsm.Decision{Events: d.Events, Answers: d.Answers})
	if err != nil {
		return fmt.Errorf("encode decision: %w", err)
	}
	if err := conn.SendBatch(ctx, publishing(k, string(raw))).Close(); err != nil {
		rollBack(ctx, conn)
		return fmt.Errorf("publish decision: %w", err)
	}
	return nil
}

func (s *Server) logDecision(k groupKey, d fsm.Decision) {
	for _, e := range d.Events {
		s.c.Log.Info().Str("formation", k.Formation).Int("group", k.Number).Int64("node", int64(e.Node)).
			Str("rule", e.Rule).Str("event", e.Kind).Str("assigned", string(e.Assigned)).Stringer("stamp", e.Stamp).Msg(e.Reason)
	}
}
