package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// listen passes the database's calls for a decision on to the queue. What may have been missed while nobody listened is made up
// for by asking every group once.
func (s *Server) listen(ctx context.Context) error {
	conn, err := s.c.connect(ctx, Database, "autoctl listen")
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(ctx, "listen autoctl_decide"); err != nil {
		return fmt.Errorf("listen for changes: %w", err)
	}
	rows, err := conn.Query(ctx, "select formation, number from autoctl.grp")
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowToStructByPos[groupKey])
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	for _, k := range groups {
		s.queue.Wake(k)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen for changes: %w", err)
		}
		var k groupKey
		if err := json.Unmarshal([]byte(n.Payload), &k); err != nil {
			s.c.Log.Warn().Str("payload", n.Payload).Msg("unreadable call for a decision")
			continue
		}
		s.queue.Wake(k)
	}
}

// pollInterval is how often heartbeat counters are read: by so much, at most, a node is found silent too late.
const pollInterval = 100 * time.Millisecond

// pulseInterval is how often the loop shows a sign of life in the database.
const pulseInterval = time.Second

// watch reads heartbeat counters, keeps the probes going, and notices when this process itself was not running.
func (s *Server) watch(ctx context.Context) error {
	conn, err := s.c.connect(ctx, Database, "autoctl watch")
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(ctx, "set synchronous_commit = off"); err != nil {
		return fmt.Errorf("prepare to watch: %w", err)
	}
	p := newProbes(s)
	defer p.stop()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	last, pulsed := s.now(), never
	for {
		nodes, err := s.look(ctx, conn)
		if err != nil {
			return err
		}
		p.keep(ctx, nodes)
		now := s.now()
		s.noticeGap(now.Sub(last))
		last = now
		pulse := pulsed == never || now.Sub(pulsed) >= pulseInterval
		if err := s.writeViews(ctx, conn, now, pulse); err != nil {
			return err
		}
		if pulse {
			pulsed = now
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// noticeGap lets all ages begin anew after a time in which this process saw nothing: it, its server or the machine stood still. Half
// of node_lost_after is enough: what is left of it must be time in which nodes could be heard.
func (s *Server) noticeGap(gap time.Duration) {
	if limit := time.Duration(s.views.timings().NodeLostAfterMS) * time.Millisecond / 2; gap > limit {
		s.c.Log.Warn().Dur("gap", gap).Msg("the monitor stood still; all ages begin anew")
		s.views.rest()
	}
}

// watched is a node as the watch needs to know it.
type watched struct {
	ID    fsm.NodeID
	Key   groupKey
	Host  string
	Port  int
	Beats int64
}

func (s *Server) look(ctx context.Context, conn *pgx.Conn) ([]watched, error) {
	rows, err := conn.Query(ctx, `select n.id, n.formation, n.grp, n.host, n.port, coalesce(r.beats, 0)
		from autoctl.node n left join autoctl.report r on r.node = n.id`)
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	var nodes []watched
	var w watched
	ids := map[fsm.NodeID]bool{}
	_, err = pgx.ForEachRow(rows, []any{&w.ID, &w.Key.Formation, &w.Key.Number, &w.Host, &w.Port, &w.Beats}, func() error {
		if s.views.beat(w.ID, w.Beats) {
			s.queue.Wake(w.Key)
		}
		ids[w.ID] = true
		nodes = append(nodes, w)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read heartbeats: %w", err)
	}
	s.views.keepOnly(ids)
	return nodes, nil
}

// writeViews stores what probes found, and a sign of life, for those who read the state.
func (s *Server) writeViews(ctx context.Context, conn *pgx.Conn, now fsm.Instant, pulse bool) error {
	batch := &pgx.Batch{}
	for _, r := range s.views.unwritten(pulse) {
		batch.Queue("select autoctl.store_probe($1, $2, $3)", int64(r.Node), int64(r.Probed), r.Health)
	}
	if pulse {
		batch.Queue(`insert into autoctl.pulse (life, instant, since, at) values ($1, $2, $3, clock_timestamp())
			on conflict (one) do update set life = excluded.life, instant = excluded.instant, since = excluded.since, at = excluded.at`,
			s.life, int64(now), int64(s.views.sinceInstant()))
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write views: %w", err)
	}
	return nil
}

// pruneInterval is how often old events and answered commands are deleted.
const pruneInterval = time.Minute

// commandAge is how long the answers to commands are kept.
const commandAge = 7 * 24 * time.Hour

func (s *Server) prune(ctx context.Context) error {
	conn, err := s.c.connect(ctx, Database, "autoctl prune")
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	for {
		if err := pruneOnce(ctx, conn, s.c.KeepEvents, s.c.EventAge); err != nil {
			return err
		}
		if _, err := pgserver.TrimLog(s.c.logFile(), pgserver.LogLimit); err != nil {
			s.c.Log.Warn().Err(err).Msg("the server's log grows")
		}
		if !sleep(ctx, pruneInterval) {
			return nil
		}
	}
}

// pruneOnce deletes events that are older than age and not among the newest keep ones, and old answers.
func pruneOnce(ctx context.Context, conn *pgx.Conn, keep int, age time.Duration) error {
	_, err := conn.Exec(ctx, `delete from autoctl.event where at < clock_timestamp() - $1::interval
		and id <= coalesce((select id from autoctl.event order by id desc offset $2 limit 1), 0)`, age, keep)
	if err != nil {
		return fmt.Errorf("prune events: %w", err)
	}
	_, err = conn.Exec(ctx, "delete from autoctl.command where answered < clock_timestamp() - $1::interval", commandAge)
	if err != nil {
		return fmt.Errorf("prune commands: %w", err)
	}
	return nil
}
