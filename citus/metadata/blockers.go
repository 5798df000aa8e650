package metadata

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
)

// Ended is a session that was ended because it stood in the way of a change.
type Ended struct {
	PID    uint32 `json:"pid"`
	User   string `json:"user"`
	Client string `json:"client,omitempty"`
	App    string `json:"application_name,omitempty"`
	AgeMS  int64  `json:"age_ms"` // of its transaction
	Reason string `json:"reason"`
}

// The pace of a watch: it begins when a change is not done at once, and looks again and again.
const (
	watchAfter = 15 * time.Millisecond
	watchEvery = 15 * time.Millisecond
)

// supersededAfter is how long a hold for an older topology may stand in the way: it may be about to be committed for the newer, by whoever took it.
const supersededAfter = 300 * time.Millisecond

// patience says what a watch does about sessions that stand in the way.
type patience struct {
	// old ends transactions of at least this age, all ends any, once the watch has lasted as long. Zero ends none.
	old, all time.Duration
	// since is when the waiting began, for all; the zero time is when the watch begins.
	since time.Time
	// held, if set, keeps when a hold was last seen to be in the way: who waited for it too, and goes on, has the whole patience from then.
	held *time.Time
	// circles says that a wait in a circle cancels our own statement rather than leaving the choice to the deadlock detector, which would choose the client.
	circles bool
	// superseded says of the name of a session that holds the writes of a group whether it holds for nobody any more: no other that holds is ended.
	superseded func(name string) bool
	// reason is what is said of those that are ended.
	reason string
}

// watch looks from a session of its own at what s waits for, until done is closed.
type watch struct {
	client *Client
	t      citus.Topology
	s      *session
	p      patience
	ended  []Ended
}

// guard runs f, which uses s, and deals meanwhile with the sessions that s waits for.
func (c *Client) guard(ctx context.Context, t citus.Topology, s *session, p patience, f func(context.Context) error) ([]Ended, error) {
	if p.since.IsZero() {
		p.since = time.Now()
	}
	w := &watch{client: c, t: t, s: s, p: p}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.run(watching) })
	err := f(ctx)
	stop()
	wg.Wait()
	return w.ended, err
}

func (w *watch) run(ctx context.Context) {
	timer := time.NewTimer(watchAfter)
	defer timer.Stop()
	var eye *session
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if eye == nil {
			opened, _, err := w.client.open(ctx, w.t, w.s.group, sessionName)
			if err != nil {
				return // whoever waits has a deadline of his own
			}
			defer opened.close(ctx)
			eye = opened
		}
		if err := w.look(ctx, eye); err != nil {
			if ctx.Err() == nil {
				w.client.Log.Warn().Err(err).Int("group", w.s.group.Number).Msg("what stands in the way cannot be seen")
			}
			return
		}
		timer.Reset(watchEvery)
	}
}

// blocker is a session that ours waits for.
type blocker struct {
	pid          uint32
	user, app    string
	client       string
	kind, wait   string
	state, query string
	age          time.Duration
	circle       bool
}

// look asks for whom we wait, and acts on it once.
func (w *watch) look(ctx context.Context, eye *session) error {
	found, err := eye.blockers(ctx, w.s.pid)
	if err != nil {
		return err
	}
	for _, b := range found {
		if w.p.held != nil && strings.HasPrefix(b.app, holdName) {
			*w.p.held = time.Now()
		}
		if w.p.circles && b.circle {
			// Our own statement, which waits for a lock and for no standby.
			return w.s.conn.PgConn().CancelRequest(ctx)
		}
	}
	for _, b := range found {
		if reason := w.reason(b); reason != "" {
			w.end(ctx, eye, b, reason)
		}
	}
	return nil
}

// blockers are the sessions that pid waits for now.
func (s *session) blockers(ctx context.Context, pid uint32) ([]blocker, error) {
	rows, err := s.conn.Query(ctx, `with recursive chain(pid, depth) as (
			select unnest(pg_blocking_pids($1::int)), 1
			union select next, depth + 1 from chain, unnest(pg_blocking_pids(pid)) next where depth < 5 and pid not in (0, $1::int))
		select a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), coalesce(a.backend_type, ''), coalesce(a.wait_event, ''),
			coalesce(a.state, ''), coalesce(a.query, ''), coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8,
			exists (select from chain where pid = $1::int) or exists (
				-- somebody waits for us in the midst of a transaction that may hold rows on other servers, which this one cannot see
				select from pg_locks l join pg_stat_activity w using (pid) where not l.granted and l.locktype = 'advisory' and w.xact_start < w.query_start
				and $1::int = any (pg_blocking_pids(l.pid))
				and exists (select from pg_locks o where o.pid = l.pid and o.granted and o.locktype = 'advisory'))
		from pg_stat_activity a where a.pid in (select pid from chain where depth = 1)`, pgx.QueryExecModeExec, int32(pid))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (blocker, error) {
		var b blocker
		var pid int32
		var age float64
		err := r.Scan(&pid, &b.user, &b.app, &b.client, &b.kind, &b.wait, &b.state, &b.query, &age, &b.circle)
		b.pid, b.age = uint32(pid), time.Duration(age*float64(time.Second))
		return b, err
	})
}

// reason says why a blocker is to be ended now; empty when it is not.
func (w *watch) reason(b blocker) string {
	waited := time.Since(w.p.since)
	if w.p.held != nil && !w.p.held.IsZero() && !strings.HasPrefix(b.app, holdName) {
		waited = min(waited, time.Since(*w.p.held))
	}
	switch {
	case b.kind != "client backend" && !strings.HasPrefix(b.kind, "Citus Background Task"):
		return "" // the metadata daemon would not react, and nobody else holds such locks for long
	case strings.HasPrefix(b.app, holdName):
		if w.p.superseded != nil && waited >= supersededAfter && w.p.superseded(b.app) {
			return "it holds writes for a topology that is no longer"
		}
		return ""
	case b.committing(), b.app == sessionName && waited < commitPatience:
		return "" // another reconciler is done soon, unless it registers somebody
	case w.p.old > 0 && b.age >= w.p.old && waited >= w.p.old:
		return w.p.reason
	case w.p.all > 0 && waited >= w.p.all:
		return w.p.reason
	default:
		return ""
	}
}

// committing reports whether a session may be in the midst of its commit. One that waits for a synchronous standby has decided already: ended there it would commit on the
// workers what was never replicated. One that is about to is done soon.
func (b blocker) committing() bool {
	if b.wait == "SyncRep" {
		return true
	}
	if b.state != "active" {
		return false
	}
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(b.query)), " ")
	return slices.Contains([]string{"commit", "end", "prepare"}, strings.TrimRight(word, ";"))
}

// end ends one session.
func (w *watch) end(ctx context.Context, eye *session, b blocker, reason string) {
	// What waited goes on the moment that this is done, and ends the watch: the rest must be said all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// It is looked at again in the same breath: it may have begun to commit since. The function stands outside of the conditions, whose order is the planner's; and
	// Citus has one of that name for numbers of another type.
	tag, err := eye.conn.Exec(ctx, `select pg_terminate_backend($1::int) where exists (select from pg_stat_activity where pid = $1::int and wait_event is distinct from 'SyncRep')`,
		pgx.QueryExecModeExec, int32(b.pid))
	if err != nil || tag.RowsAffected() == 0 || slices.ContainsFunc(w.ended, func(e Ended) bool { return e.PID == b.pid }) {
		return
	}
	e := Ended{PID: b.pid, User: b.user, Client: b.client, App: b.app, AgeMS: b.age.Milliseconds(), Reason: reason}
	w.ended = append(w.ended, e)
	w.client.Log.Warn().Int("group", w.s.group.Number).Uint32("pid", e.PID).Str("user", e.User).Str("client", e.Client).Int64("age_ms", e.AgeMS).Str("reason", reason).
		Msg("a session that stood in the way was ended")
	eye.say(ctx, e)
}

// say writes to the server's log why a session was ended, since the client is told no more than that an administrator did it.
func (s *session) say(ctx context.Context, e Ended) {
	note := fmt.Sprintf("do $autoctl$ begin raise log 'autoctl ends the session of process %d, whose transaction is %d ms old: %s'; end $autoctl$",
		e.PID, e.AgeMS, strings.NewReplacer("'", "", "%", "", "$", "").Replace(e.Reason))
	_, _ = s.conn.Exec(ctx, note, pgx.QueryExecModeSimpleProtocol)
}
