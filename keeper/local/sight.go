package local

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
)

// sight is one look at the server.
type sight struct {
	at        time.Time
	status    fsm.ServerStatus
	recovery  bool
	timeline  fsm.Timeline
	position  fsm.LSN // flushed here; of a standby, the greatest of received and replayed
	replayed  fsm.LSN
	receiver  int // its pid; 0 for none
	streaming bool
	heard     time.Time // when the receiver last heard from its sender, by the server's clock
	heardAge  time.Duration
	heardAt   time.Time // the same by ours
	startup   string    // what the startup process waits for: type:event
	reader    int       // the startup process: its pid; 0 outside recovery
	final     bool
	ended     bool // its log ends with the shutdown of who wrote it; looked for while nothing is received
	standbys  []standbyRow
	hungSince time.Time
	stuck     time.Time // since when a standby has not streamed and nothing moved, or a starting server's recovery has not
	recovers  recovery  // how a starting server gets on
	version   int
}

// standbyRow is one walsender.
type standbyRow struct {
	pid    int
	name   string
	state  string
	sync   string
	flush  fsm.LSN
	active bool // it holds the slot of its name
}

// blocked says that replay waits for client sessions (S12).
func (s sight) blocked() bool {
	return strings.Contains(s.startup, "RecoveryConflict") || strings.HasPrefix(s.startup, "Lock:") || strings.HasPrefix(s.startup, "BufferPin:")
}

// readAll says that the startup process has read all that there is and waits before it looks again (S7). Waiting for the stream is not that: a
// receiver that was asked for may be about to start, and would go on acknowledging. From this wait it reads its configuration before it asks
// for another, so that one without an upstream never does.
func (s sight) readAll() bool { return strings.HasSuffix(s.startup, ":RecoveryRetrieveRetryInterval") }

// The positions are read after the row that says who receives and what the startup process waits for: where that says that nothing more can come, they are
// the last ones. What had been replayed before them is what a receiver has to be beyond.
const sightQuery = `
	with x as materialized (
		select pg_is_in_recovery() as r,
		       coalesce(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end, '0/0')::text as before,
		       coalesce((select pid from pg_stat_wal_receiver), 0) as pid,
		       coalesce((select status from pg_stat_wal_receiver), '') as status,
		       coalesce((select last_msg_receipt_time from pg_stat_wal_receiver), 'epoch'::timestamptz) as heard,
		       coalesce((select pid || ':' || coalesce(wait_event_type, '') || ':' || coalesce(wait_event, '') from pg_stat_activity where backend_type = 'startup'), '') as startup)
	select r, coalesce(case when r then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end, '0/0')::text,
	       coalesce(case when r then pg_last_wal_replay_lsn() end, '0/0')::text,
	       case when r then '' else pg_walfile_name(pg_current_wal_flush_lsn()) end,
	       before, pid, status, heard, greatest(0, extract(epoch from clock_timestamp() - heard))::float8, startup, current_setting('server_version_num')::int
	from x`

const standbyQuery = `
	select r.pid, r.application_name, r.state, r.sync_state, coalesce(r.flush_lsn, '0/0')::text,
	       exists (select from pg_replication_slots s where s.active_pid = r.pid and s.slot_name = r.application_name)
	from pg_stat_replication r where r.application_name like 'autoctl\_standby\_%'`

// look asks the server how it is, and remembers the answer as the newest sight. The watch sees at every heartbeat to it that the server still
// takes connections; whoever looks between need not.
func (n *Node) look(ctx context.Context) sight { return n.lookKnocking(ctx, 2*n.heartbeat()) }

// recent returns the newest sight if it is of this very moment, else looks.
func (n *Node) recent(ctx context.Context) sight {
	n.mu.Lock()
	s := n.sight
	recent := n.proc != nil && n.proc.Running() && s.at.After(n.life.since) && time.Since(s.at) < recently
	n.mu.Unlock()
	if recent {
		return s
	}
	return n.look(ctx)
}

// recently is how old a sight may be where one was taken just before.
const recently = 150 * time.Millisecond

// glance is what a plan for goal is made from: a look, unless the newest sight says already what matters. Of a standby that is asked for its vote that is
// that it follows still, and only what comes after its reload counts; of one that rests, and is chosen, that nothing has come since.
func (n *Node) glance(ctx context.Context, goal fsm.Goal) sight {
	n.awaits.Store(goal.AwaitEnd)
	n.mu.Lock()
	s := n.sight
	age := time.Since(s.at)
	same := n.proc != nil && n.proc.Running() && s.at.After(n.life.since) && s.status == fsm.ServerRunning && s.recovery
	follows := goal.State == fsm.StateReportLSN && !goal.AwaitEnd && n.configured != goal.Stamp && s.at.After(n.life.loadedAt) && age < n.heartbeat()
	rests := goal.State.Serves() && s.final && !s.blocked() && s.at.After(n.life.loadedAt) && age < recently
	n.mu.Unlock()
	if same && (follows || rests) {
		return s
	}
	return n.look(ctx)
}

func (n *Node) lookKnocking(ctx context.Context, good time.Duration) sight {
	s := n.lookOnce(ctx, good)
	if s.rests() && !s.final {
		// Two looks with the same replay position, the startup process waiting at both: it has read everything (S7). The look before may be the first.
		first := n.newest()
		if !first.rests() || first.replayed != s.replayed || first.at.Before(n.bornAt()) || s.at.Sub(first.at) < apart {
			t := time.NewTimer(apart)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
			first, s = s, n.lookOnce(ctx, good)
		}
		s.final = s.rests() && s.replayed == first.replayed
	}
	n.keep(s)
	return s
}

// apart is how long two looks that prove a log to be read are apart at least.
const apart = 3 * time.Millisecond

// rests says that a standby receives nothing and waits before it looks for more.
func (s sight) rests() bool {
	return s.status == fsm.ServerRunning && s.recovery && s.receiver == 0 && s.readAll()
}

// bornAt is when the present server process was started or adopted.
func (n *Node) bornAt() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life.since
}

func (n *Node) lookOnce(ctx context.Context, good time.Duration) sight {
	s := sight{at: time.Now(), status: fsm.ServerStopped}
	p := n.process()
	if p == nil {
		n.dropSession(ctx)
		return s
	}
	s.status = n.knock(ctx, good)
	if s.status == fsm.ServerStarting {
		s.recovers = n.lookRecovery(p)
	}
	if s.status == fsm.ServerStarting || s.status == fsm.ServerStopped {
		return s
	}
	var received, replayed, walfile, before, state string
	var age float64
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, sightQuery).Scan(&s.recovery, &received, &replayed, &walfile, &before, &s.receiver, &state, &s.heard, &age, &s.startup, &s.version)
	})
	if err != nil {
		n.config().Log.Debug().Err(err).Msg("server asked in vain")
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == pgerrcode.TooManyConnections {
			n.answered() // a full server is alive (S18)
		}
		if s.status == fsm.ServerRunning {
			return n.unanswered(s)
		}
		return s
	}
	n.answered()
	s.streaming = state == "streaming" && beyond(received, before)
	s.heardAge = time.Duration(age * float64(time.Second))
	if pid, event, found := strings.Cut(s.startup, ":"); found {
		s.reader, _ = strconv.Atoi(pid)
		s.startup = event
	}
	n.measure(&s, received, replayed, walfile)
	if !s.recovery {
		if s.standbys, err = n.lookStandbys(ctx); err != nil {
			return n.unanswered(s)
		}
	}
	return s
}

// unanswered stands in for a server that admits connections and did not answer a question: it is as it was, until that has gone on for so long
// that it counts as hung.
func (n *Node) unanswered(s sight) sight {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life.tried.IsZero() {
		n.life.tried = time.Now()
	}
	switch {
	case n.sight.status == fsm.ServerHung || time.Since(n.life.tried) > n.hungAfter():
		s.status = fsm.ServerHung
	case n.sight.status == fsm.ServerRunning && n.sight.at.After(n.life.since):
		return n.sight
	default:
		s.status = fsm.ServerStarting
	}
	return s
}

// answered notes an answer on the persistent session.
func (n *Node) answered() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.life.tried = time.Time{}
}

// measure derives positions and the timeline.
func (n *Node) measure(s *sight, received, replayed, walfile string) {
	flushed, _ := fsm.ParseLSN(received) // PostgreSQL's own text
	if !s.recovery {
		s.position = flushed
		s.timeline = timelineOf(walfile)
		return
	}
	s.replayed, _ = fsm.ParseLSN(replayed)
	n.mu.Lock()
	if s.receiver != 0 && n.life.received != 0 && flushed > n.life.received {
		n.life.moved = true
	}
	if s.receiver != 0 {
		n.life.received = flushed
	}
	s.position = s.replayed
	if n.life.moved || flushed > s.replayed {
		s.position = max(s.position, flushed)
	}
	if s.receiver == 0 && n.life.moved && (s.blocked() || s.readAll()) {
		s.final = true // what was received is known, whether it has been replayed or waits for a client
	}
	control := n.data.control()
	n.mu.Unlock()
	s.timeline = endTimeline(n.config().DataDir, control, s.position)
	s.ended = s.receiver == 0 && endsInShutdown(n.config().DataDir, s.timeline, s.position, n.config().Binaries.Version.Major, control.WALSegmentSize)
}

// beyond says that what was received reaches what had been replayed. The receiver of a standby whose log has left the upstream's is sent the part that they
// share, from the beginning of its segment, again and again, and says each time that it streams: it never gets there.
func beyond(received, replayed string) bool {
	r, _ := fsm.ParseLSN(received) // PostgreSQL's own text
	p, _ := fsm.ParseLSN(replayed)
	return r >= p
}

// lookStandbys returns the walsenders of standbys.
func (n *Node) lookStandbys(ctx context.Context) ([]standbyRow, error) {
	var list []standbyRow
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, standbyQuery)
		if err != nil {
			return fmt.Errorf("list standbys: %w", err)
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (standbyRow, error) {
			var r standbyRow
			var flush string
			err := row.Scan(&r.pid, &r.name, &r.state, &r.sync, &flush, &r.active)
			r.flush, _ = fsm.ParseLSN(flush)
			return r, err
		})
		return err
	})
	return list, err
}

// keep makes s the newest sight and says so if it is news.
func (n *Node) keep(s sight) {
	n.mu.Lock()
	was := n.sight
	if s.at.Before(was.at) { // whoever looked was held up, and somebody else has looked since
		n.mu.Unlock()
		return
	}
	if s.status == fsm.ServerHung && !was.hungSince.IsZero() {
		s.hungSince = was.hungSince
	} else if s.status == fsm.ServerHung {
		s.hungSince = s.at
	}
	if s.status == fsm.ServerRunning && s.recovery && !s.streaming {
		s.stuck = s.at
		if !was.stuck.IsZero() && was.position == s.position && was.replayed == s.replayed {
			s.stuck = was.stuck
		}
	}
	if s.status == fsm.ServerStarting && was.status == s.status && was.at.After(n.life.since) {
		s.stuck = was.recovers.stuck(was.stuck, &s.recovers)
	}
	if s.status == fsm.ServerRunning && !s.recovery && n.life.writable.IsZero() && n.proc != nil {
		n.life.writable, n.life.gateEnd = s.at, s.position
	}
	s.heardAt = was.heardAt
	if s.streaming && !s.heard.Equal(was.heard) {
		// It came between the two looks; when exactly, the server's clock says, which may have been set meanwhile.
		s.heardAt = s.at.Add(-s.heardAge)
		if s.heardAt.Before(was.at) {
			s.heardAt = was.at
		}
	}
	n.sight = s
	news := n.track(s)
	news = news || was.status != s.status || was.recovery != s.recovery || was.timeline != s.timeline
	if !n.awaits.Load() { // what it waits for is told with the vote, and not before, in the way of it
		news = news || was.final != s.final || was.streaming != s.streaming
	}
	n.mu.Unlock()
	if news {
		n.signal()
	}
}

// expectation is for how long after a new goal a primary looks out for standbys that are to come, and expectPace how often: they connect without a word
// to anybody, and the group is unprotected until the monitor hears of it.
const (
	expectation = 10 * time.Second
	expectPace  = 100 * time.Millisecond
)

// watchPace is the heartbeat, or less while a standby is expected.
func (n *Node) watchPace() time.Duration {
	goal := n.memory.Get().Goal
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watched.goal != goal.Stamp {
		n.watched.goal, n.watched.since = goal.Stamp, time.Now()
	}
	missing := false
	for _, p := range goal.Peers {
		missing = missing || !n.seen[p.Node].settled
	}
	if missing && goal.State.Serves() && time.Since(n.watched.since) < expectation {
		return min(expectPace, ms(n.settings().HeartbeatMS))
	}
	return ms(n.settings().HeartbeatMS)
}

// watchServer looks at every heartbeat, whatever the executor does.
func (n *Node) watchServer(ctx context.Context) {
	every(ctx, n.watchPace, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		s := n.lookKnocking(ctx, n.heartbeat()/2)
		if s.status == fsm.ServerRunning {
			_, _ = n.inspectWithin(ctx, runningControlPace) // those who must act find it done
		}
	})
}

// newest returns the newest sight.
func (n *Node) newest() sight {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sight
}

func timelineOf(walfile string) fsm.Timeline {
	if len(walfile) < 8 {
		return 0
	}
	var t uint32
	if _, err := fmt.Sscanf(walfile[:8], "%X", &t); err != nil {
		return 0
	}
	return fsm.Timeline(t)
}

// Reach is how far this server, a standby, has the log on its disk at this moment; 0 where it does not say. [Node.Status] tells what was seen at the last look.
func (n *Node) Reach(ctx context.Context) fsm.LSN {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var text string
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `select coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0')::text`).Scan(&text)
	})
	if err != nil {
		return 0
	}
	at, _ := fsm.ParseLSN(text) // PostgreSQL's own text
	return at
}
