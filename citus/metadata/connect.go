package metadata

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The defaults of [Timings].
const (
	defaultConnect = 2 * time.Second
	defaultChange  = 5 * time.Second
	defaultLock    = 3 * time.Second
	defaultSync    = 10 * time.Minute
	defaultHold    = 15 * time.Second
)

// complete returns the timings with their defaults.
func (t Timings) complete() Timings {
	for _, f := range []struct {
		d     *time.Duration
		value time.Duration
	}{{&t.Connect, defaultConnect}, {&t.Change, defaultChange}, {&t.Lock, defaultLock}, {&t.Sync, defaultSync}, {&t.Grace, citus.DefaultGrace}, {&t.Hold, defaultHold}} {
		if *f.d <= 0 {
			*f.d = f.value
		}
	}
	return t
}

// session is one connection with the primary of one group.
type session struct {
	conn  *pgx.Conn
	group citus.Group
	pid   uint32
	// plain has addresses written without the locks of the shards, see [Client.change].
	plain bool
}

// sessionName is the application name of all our sessions but those that hold.
const sessionName = "autoctl_metadata"

// open connects to the group's primary and looks who answers: a server that is not the one meant is refused here, before anything is told to it.
func (c *Client) open(ctx context.Context, t citus.Topology, g citus.Group, name string) (*session, citus.Actual, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timings.complete().Connect, fmt.Errorf("no answer within %v", c.Timings.complete().Connect))
	defer cancel()
	conn, err := c.Connect(ctx, g.Number, g.Primary, t.Database)
	if err != nil {
		return nil, citus.Actual{}, fmt.Errorf("connect to group %d at %s: %w", g.Number, g.Primary, explain(ctx, err))
	}
	s := &session{conn: conn, group: g, pid: conn.PgConn().PID()}
	a, err := s.begin(ctx, name)
	if err == nil {
		err = Check(g, a)
	}
	if err != nil {
		s.close(ctx)
		return nil, a, fmt.Errorf("look at group %d at %s: %w", g.Number, g.Primary, explain(ctx, err))
	}
	return s, a, nil
}

// preparations make a session independent of what a role or a database sets: our commits wait for no standby, since an address can be written again; and the session
// ends by itself soon after its host has vanished.
const preparations = `select set_config(name, value, false) from (values
	('application_name', $1), ('search_path', 'pg_catalog'), ('synchronous_commit', 'local'), ('client_min_messages', 'error'),
	('default_transaction_read_only', 'off'), ('default_transaction_isolation', 'read committed'), ('idle_in_transaction_session_timeout', '0'),
	('idle_session_timeout', '0'), ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '10000'),
	('citus.node_connection_timeout', '1000')) wanted(name, value)
	where current_setting(name, true) is not null`

// begin prepares the session and reads who the server is.
func (s *session) begin(ctx context.Context, name string) (citus.Actual, error) {
	if err := s.exec(ctx, preparations, name); err != nil {
		return citus.Actual{}, fmt.Errorf("prepare session: %w", err)
	}
	return Identify(ctx, s.conn)
}

// exec runs one statement without a prepared one being left behind.
func (s *session) exec(ctx context.Context, sql string, args ...any) error {
	_, err := s.conn.Exec(ctx, sql, append([]any{pgx.QueryExecModeExec}, args...)...)
	return err
}

// limit bounds the waiting for locks, and a whole statement, until it is set anew.
func (s *session) limit(ctx context.Context, lock, statement time.Duration) error {
	return s.exec(ctx, `select set_config('lock_timeout', $1, false), set_config('statement_timeout', $2, false)`, ms(lock), ms(statement))
}

// ms writes a duration for a setting of PostgreSQL: in ms, and 0, which is no limit, only for 0.
func ms(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// close says goodbye, but waits for nobody.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// explain puts the reason why a context ended in the place of the bare fact.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return cause
	}
	return err
}

// passing reports whether an error is one of those that a repetition may not meet: a lock that was not had, a deadlock, a serialization failure, a row that is being replaced.
func passing(err error) bool {
	if errors.Is(err, errNoRow) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case pgerrcode.LockNotAvailable, pgerrcode.QueryCanceled, pgerrcode.DeadlockDetected, pgerrcode.SerializationFailure:
		return true
	default:
		return false
	}
}
