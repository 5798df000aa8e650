package metadata

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
)

// How long a statement must have waited, since its server was told of the new primary, to be taken for one that waits for the old one; and how far apart the two looks are
// of which both must find that.
const (
	stuckAfter = 300 * time.Millisecond
	stuckAgain = 250 * time.Millisecond
)

// stuck is a session of a client that waits for another server: its transaction began before its server was told where the group went.
type stuck struct {
	pid    int32
	gpid   string // how Citus names it on other servers
	user   string
	client string
	began  time.Time // its statement
	ageMS  int64
}

// view is what one server shows: which of its sessions wait for others, and for which sessions of others it is at work.
type view struct {
	s     *session
	waits []stuck
	works []string
}

// Free ends the sessions of clients that wait for the former primary of a group although its host does not answer any more: a connection to a host that hangs, or that was cut
// off, says nothing for long, or for ever. They wait for another server, have done so since before their server was told of the new primary, and no server of the topology is
// at work for them. A client is told that an administrator ended his session (57P01), and finds the new primary when he comes back; what he had written is rolled back, on
// servers where the dead session would keep its locks as well; so it is for those that were ended earlier. Where a server of the topology does not answer, nobody is ended: it
// may be the one that is waited for.
func (c *Client) Free(ctx context.Context, t citus.Topology, group int, earlier ...Ended) ([]Ended, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timings.complete().Change)
	defer cancel()
	first, err := c.views(ctx, t, group)
	defer closeViews(ctx, first)
	if err != nil {
		return nil, err
	}
	ended, err := c.freeAll(ctx, first, group)
	var names []string
	for _, e := range append(earlier, ended...) {
		names = append(names, e.Name)
	}
	if len(names) == 0 || err != nil || len(ended) > 0 && pause(ctx, stuckAgain) != nil {
		return ended, err
	}
	for _, v := range first { // of those that hang in libpq, while they tell the old primary to cancel
		err = v.s.exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and state = 'idle in transaction'
			and clock_timestamp() - state_change > '200ms' and substring(application_name from '^citus_internal gpid=([0-9]+)$') = any ($1::text[])`, names)
		if err != nil {
			return ended, fmt.Errorf("end what a session has left on group %d: %w", v.s.group.Number, err)
		}
	}
	return ended, nil
}

// freeAll looks once more, and ends who is seen to wait in vain again.
func (c *Client) freeAll(ctx context.Context, views []*view, group int) ([]Ended, error) {
	if len(waitsInVain(views)) == 0 {
		return nil, nil
	}
	if err := pause(ctx, stuckAgain); err != nil {
		return nil, err
	}
	for _, v := range views {
		if err := v.look(ctx, group); err != nil {
			return nil, fmt.Errorf("look who waits at group %d: %w", v.s.group.Number, err)
		}
	}
	var ended []Ended
	for v, list := range waitsInVain(views) {
		for _, w := range list {
			if e, ok := c.free(ctx, v, w, group); ok {
				ended = append(ended, e)
			}
		}
	}
	return ended, nil
}

func (c *Client) views(ctx context.Context, t citus.Topology, group int) ([]*view, error) {
	var views []*view
	var failed error
	for _, a := range each(ctx, t, func(ctx context.Context, g citus.Group) (*view, error) {
		s, _, err := c.open(ctx, t, g, sessionName)
		if err != nil {
			return nil, err
		}
		v := &view{s: s}
		if err := v.look(ctx, group); err != nil {
			s.close(ctx)
			return nil, err
		}
		return v, nil
	}) {
		if a.err != nil {
			failed = fmt.Errorf("look who waits at group %d: %w", a.group.Number, a.err)
			continue
		}
		views = append(views, a.value)
	}
	return views, failed
}

func closeViews(ctx context.Context, views []*view) {
	for _, v := range views {
		v.s.close(ctx)
	}
}

// look looks at one server. Who waits for another server is seen to wait for a client, and works all the same.
func (v *view) look(ctx context.Context, group int) error {
	rows, err := v.s.conn.Query(ctx, `select a.pid, `+globalPID+`, coalesce(a.usename, ''), coalesce(host(a.client_addr), ''), a.query_start, (extract(epoch from clock_timestamp() - a.xact_start) * 1000)::bigint
		from pg_stat_activity a, autoctl.topology t
		where t.group_id = $1 and a.backend_type = 'client backend' and a.application_name !~ '^(citus_|autoctl)' and a.state = 'active' and a.wait_event = 'ClientRead'
		and a.xact_start < t.changed and clock_timestamp() - greatest(t.changed, a.query_start) >= $2::float8 * '1ms'::interval and a.query !~* '^\s*copy'`,
		pgx.QueryExecModeExec, group, float64(stuckAfter.Milliseconds()))
	if err != nil {
		return err
	}
	v.waits, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (stuck, error) {
		var w stuck
		err := r.Scan(&w.pid, &w.gpid, &w.user, &w.client, &w.began, &w.ageMS)
		return w, err
	})
	if err != nil {
		return err
	}
	rows, err = v.s.conn.Query(ctx, `select substring(application_name from '^citus_internal gpid=([0-9]+)$') from pg_stat_activity
		where state = 'active' and application_name ~ '^citus_internal gpid=[0-9]+$'`, pgx.QueryExecModeExec)
	if err != nil {
		return err
	}
	v.works, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// waitsInVain are the sessions for which no server is at work, by the server that has them.
func waitsInVain(views []*view) map[*view][]stuck {
	busy := map[string]bool{}
	for _, v := range views {
		for _, name := range v.works {
			busy[name] = true
		}
	}
	found := map[*view][]stuck{}
	for _, v := range views {
		for _, w := range v.waits {
			if !busy[w.gpid] {
				found[v] = append(found[v], w)
			}
		}
	}
	return found
}

// free ends one session, unless it has gone on meanwhile. One that waits for a synchronous standby is another thing, and is spared.
func (c *Client) free(ctx context.Context, v *view, w stuck, group int) (Ended, bool) {
	e := Ended{PID: uint32(w.pid), User: w.user, Client: w.client, AgeMS: w.ageMS, Name: w.gpid, Reason: fmt.Sprintf("group %d has moved, and it waits for the former primary, which does not answer", group)}
	tag, err := v.s.conn.Exec(ctx, `select pg_terminate_backend($1::int) where exists (select from pg_stat_activity where pid = $1::int and state = 'active' and wait_event = 'ClientRead'
		and query_start = $2)`, pgx.QueryExecModeExec, w.pid, w.began)
	if err != nil || tag.RowsAffected() == 0 {
		return e, false
	}
	c.Log.Warn().Int("group", v.s.group.Number).Uint32("pid", e.PID).Str("user", e.User).Str("client", e.Client).Int64("age_ms", e.AgeMS).Str("reason", e.Reason).
		Msg("a session that waits in vain was ended")
	v.s.say(ctx, e)
	return e, true
}

// say writes to the server's log why a session was ended, since the client is told no more than that an administrator did it.
func (s *session) say(ctx context.Context, e Ended) {
	note := fmt.Sprintf("do $autoctl$ begin raise log 'autoctl ends the session of process %d, whose transaction is %d ms old: %s'; end $autoctl$",
		e.PID, e.AgeMS, strings.NewReplacer("'", "", "%", "", "$", "").Replace(e.Reason))
	_, _ = s.conn.Exec(ctx, note, pgx.QueryExecModeSimpleProtocol)
}
