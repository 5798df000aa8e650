package local

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// slot is one of our slots. Slots of others are never looked at.
type slot struct {
	name     string
	active   int // pid of its walsender; 0 for none
	lost     bool
	xmin     bool
	restart  fsm.LSN
	physical bool
}

const slotQuery = `
	select slot_name, coalesce(active_pid, 0), coalesce(wal_status = 'lost', false), xmin is not null, coalesce(restart_lsn, '0/0')::text, slot_type = 'physical'
	from pg_replication_slots where slot_name like 'autoctl\_standby\_%'`

func listSlots(ctx context.Context, c *pgx.Conn) ([]slot, error) {
	rows, err := c.Query(ctx, slotQuery)
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (slot, error) {
		var s slot
		var restart string
		err := row.Scan(&s.name, &s.active, &s.lost, &s.xmin, &restart, &s.physical)
		s.restart, _ = fsm.ParseLSN(restart)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	return list, nil
}

// wantedSlots are the names of the slots of the goal's peers.
func wantedSlots(goal fsm.Goal) []string {
	names := make([]string, len(goal.Peers))
	for i, p := range goal.Peers {
		names[i] = StandbyName(p.Node, p.Token)
	}
	return names
}

// slotsRight says that every peer has its slot, usable, nobody else has one of ours, and nobody streams under the name of one without holding it.
func (n *Node) slotsRight(ctx context.Context, goal fsm.Goal, s sight) bool {
	if slices.ContainsFunc(s.standbys, standbyRow.stranger) {
		return false
	}
	var list []slot
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		list, err = listSlots(ctx, c)
		return err
	})
	if err != nil {
		return false
	}
	return len(missingSlots(goal, list)) == 0 && len(n.wrongSlots(goal, list, s)) == 0
}

func missingSlots(goal fsm.Goal, list []slot) []string {
	var missing []string
	for _, name := range wantedSlots(goal) {
		if !slices.ContainsFunc(list, func(s slot) bool { return s.name == name }) {
			missing = append(missing, name)
		}
	}
	return missing
}

// stranger says of a walsender that PostgreSQL counts it for a member, by its name, and that it is not the one connection that holds that member's slot.
func (r standbyRow) stranger() bool {
	return !r.active && (r.state == "streaming" || r.state == "catchup")
}

// endStrangers ends walsenders that would have one node counted twice (S11).
func endStrangers(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `select pg_terminate_backend(r.pid) from pg_stat_replication r
		where r.application_name like 'autoctl\_standby\_%' and r.state in ('streaming', 'catchup')
		and not exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_name = r.application_name)`)
	if err != nil {
		return fmt.Errorf("end a walsender under a member's name without its slot: %w", err)
	}
	return nil
}

// orphaned is how long a slot may hold back vacuum for a standby that is away: its xmin has no bound as its log has.
const orphaned = time.Minute

// wrongSlots are slots of nodes that left, slots whose log is gone (they only block the rebuild), and slots of absent standbys that hold back
// vacuum.
func (n *Node) wrongSlots(goal fsm.Goal, list []slot, _ sight) []slot {
	wanted := wantedSlots(goal)
	var wrong []slot
	for _, s := range list {
		if !slices.Contains(wanted, s.name) || s.lost || s.xmin && s.active == 0 && n.awayFor(goal, s.name) > orphaned {
			wrong = append(wrong, s)
		}
	}
	return wrong
}

// awayFor says for how long the standby of that name has not been connected.
func (n *Node) awayFor(goal fsm.Goal, name string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range goal.Peers {
		if StandbyName(p.Node, p.Token) != name {
			continue
		}
		if seen, ok := n.seen[p.Node]; ok && !seen.connected {
			return time.Since(seen.since)
		}
	}
	return 0
}

// fixSlots makes the slots as the goal wants them.
func (n *Node) fixSlots(ctx context.Context, goal fsm.Goal) error {
	s := n.newest()
	return n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		if err := endStrangers(ctx, c); err != nil {
			return err
		}
		list, err := listSlots(ctx, c)
		if err != nil {
			return err
		}
		wanted := wantedSlots(goal)
		for _, w := range n.wrongSlots(goal, list, s) {
			if slices.Contains(wanted, w.name) && !w.lost {
				err = withoutXmin(ctx, c, w.name)
			} else {
				err = dropSlot(ctx, c, w)
			}
			if err != nil {
				return err
			}
		}
		if list, err = listSlots(ctx, c); err != nil {
			return err
		}
		for _, name := range missingSlots(goal, list) {
			if _, err := c.Exec(ctx, `select pg_create_physical_replication_slot($1::name, true)`, name); err != nil {
				return fmt.Errorf("create slot %s: %w", name, err)
			}
		}
		return nil
	})
}

func dropSlot(ctx context.Context, c *pgx.Conn, s slot) error {
	tick := time.NewTicker(promotePoll)
	defer tick.Stop()
	for {
		if s.active != 0 {
			if _, err := c.Exec(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null`, s.name); err != nil {
				return fmt.Errorf("end the walsender of slot %s: %w", s.name, err)
			}
		}
		_, err := c.Exec(ctx, `select pg_drop_replication_slot($1::name)`, s.name)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != pgerrcode.ObjectInUse {
			if err != nil {
				return fmt.Errorf("drop slot %s: %w", s.name, err)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("drop slot %s: %w", s.name, err)
		}
	}
}

// withoutXmin makes a slot anew at the same place in the log: a copy takes the position and not the horizon.
func withoutXmin(ctx context.Context, c *pgx.Conn, name string) error {
	const tmp = "autoctl_tmp"
	_, _ = c.Exec(ctx, `select pg_drop_replication_slot('autoctl_tmp') from pg_replication_slots where slot_name = 'autoctl_tmp'`)
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`select pg_copy_physical_replication_slot($1::name, $2::name)`, []any{name, tmp}},
		{`select pg_drop_replication_slot($1::name)`, []any{name}},
		{`select pg_copy_physical_replication_slot($1::name, $2::name)`, []any{tmp, name}},
		{`select pg_drop_replication_slot($1::name)`, []any{tmp}},
	} {
		if _, err := c.Exec(ctx, q.sql, q.args...); err != nil {
			return fmt.Errorf("renew slot %s: %w", name, err)
		}
	}
	return nil
}

// housePace is how often slots on standbys are advanced.
const housePace = 5 * time.Second

// keepHouse advances slots on a standby, and clears up after a swap once the node streams or serves.
func (n *Node) keepHouse(ctx context.Context) {
	every(ctx, func() time.Duration { return housePace }, func(ctx context.Context) {
		if _, err := pgserver.TrimLog(n.config().LogFile, pgserver.LogLimit); err != nil {
			n.config().Log.Warn().Err(err).Msg("the server's log grows")
		}
		s, goal := n.newest(), n.memory.Get().Goal
		if s.status != fsm.ServerRunning || s.recovery && !s.streaming {
			return
		}
		if s.recovery {
			if err := n.advanceSlots(ctx, goal, s.replayed); err != nil {
				n.config().Log.Debug().Err(err).Msg("slots not advanced")
			}
		}
		if st, err := n.staging(ctx); err == nil && exists(st.Old) && (s.recovery && goal.State == fsm.StateSecondary || !s.recovery && goal.State.Serves()) {
			if err := st.DiscardOld(); err != nil {
				n.config().Log.Warn().Err(err).Msg("replaced data directory not removed")
			}
		}
	})
}

// advanceSlots moves each slot of this standby to where the upstream keeps log for that peer, so that a promotion finds neither too little nor the
// whole past. The upstream itself would need nothing before our own position.
func (n *Node) advanceSlots(ctx context.Context, goal fsm.Goal, replayed fsm.LSN) error {
	if goal.Upstream == nil || len(goal.Peers) == 0 {
		return nil
	}
	kept, err := n.keptUpstream(ctx, *goal.Upstream)
	if err != nil {
		return err
	}
	return n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		list, err := listSlots(ctx, c)
		if err != nil {
			return err
		}
		for _, p := range goal.Peers {
			name, to := StandbyName(p.Node, p.Token), replayed
			if p.Node != goal.Upstream.Node {
				to = min(replayed, max(kept[StandbyName(p.Node, p.Token)], p.Kept))
			}
			i := slices.IndexFunc(list, func(s slot) bool { return s.name == name })
			if i < 0 || list[i].active != 0 || list[i].lost || to <= list[i].restart {
				continue
			}
			if _, err := c.Exec(ctx, `select pg_replication_slot_advance($1::name, $2::text::pg_lsn)`, name, to.String()); err != nil {
				return fmt.Errorf("advance slot %s: %w", name, err)
			}
		}
		return nil
	})
}

// keptUpstream asks the upstream where its slots are.
func (n *Node) keptUpstream(ctx context.Context, u fsm.Upstream) (map[string]fsm.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := n.replication(ctx, u)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := query(ctx, conn, `select slot_name, coalesce(restart_lsn, '0/0')::text from pg_replication_slots where slot_name like 'autoctl\_standby\_%'`)
	if err != nil {
		return nil, fmt.Errorf("ask the upstream for its slots: %w", err)
	}
	kept := map[string]fsm.LSN{}
	for _, r := range rows {
		kept[r[0]], _ = fsm.ParseLSN(r[1])
	}
	return kept, nil
}
