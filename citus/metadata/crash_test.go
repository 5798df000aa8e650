package metadata_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// saboteur is a client's network: at the nth statement that contains a text something happens, before the server has it or after.
type saboteur struct {
	text  string
	left  int
	after bool
	act   func()

	mu    sync.Mutex
	conns []net.Conn
	dead  bool
	done  bool
	over  context.CancelFunc // of what the client does
}

var errCrashed = errors.New("the process has crashed")

// crash ends all connections as the kernel does for a process that is gone, and lets none be opened any more.
func (s *saboteur) crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	s.over()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

func (s *saboteur) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		_ = c.Close()
		return nil, errCrashed
	}
	s.conns = append(s.conns, c)
	return &tapped{Conn: c, s: s}, nil
}

// now counts a statement, and reports whether it is the one.
func (s *saboteur) now(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done || !bytes.Contains(b, []byte(s.text)) {
		return false
	}
	s.left--
	s.done = s.left <= 0
	return s.done
}

// tapped is a connection that the saboteur listens to.
type tapped struct {
	net.Conn
	s *saboteur
}

func (c *tapped) Write(b []byte) (int, error) {
	if !c.s.now(b) {
		return c.Conn.Write(b)
	}
	if !c.s.after {
		c.s.act()
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b)
	<-time.After(20 * time.Millisecond) // the server has it by now, and is at work
	c.s.act()
	return n, err
}

// client returns a client whose every connection goes through the saboteur.
func (s *saboteur) client(t *testing.T) *metadata.Client {
	t.Helper()
	connect := func(ctx context.Context, _ int, at citus.Address, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", at.Host, at.Port, database))
		if err != nil {
			return nil, err
		}
		cfg.DialFunc = s.dial
		return pgx.ConnectConfig(ctx, cfg)
	}
	return &metadata.Client{Connect: connect, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.ErrorLevel)}
}

// The statements at which something happens, as they are on the wire. A commit stands alone.
const (
	pauses   = "citus_pause_node_within_txn"
	updates  = "citus_update_node"
	notes    = "insert into autoctl.topology"
	commits  = "commit\x00"
	resolves = "recover_prepared_transactions"
)

// crash is a step at which an actor crashes.
type crash struct {
	text  string
	nth   int
	after bool
}

// occurs says whether a move has the step: where the old primary is gone, two servers are left whose writes can be held.
func (c crash) occurs(planned bool) bool { return planned || c.text != pauses || c.nth <= 2 }

func (c crash) String() string {
	when := "before"
	if c.after {
		when = "after"
	}
	return fmt.Sprintf("%s %q %d", when, bytes.Trim([]byte(c.text), "\x00"), c.nth)
}

var crashes = []crash{
	{pauses, 1, true}, {pauses, 2, false}, {pauses, 3, true}, {updates, 1, false}, {updates, 1, true}, {updates, 2, true}, {notes, 1, true}, {notes, 2, true},
	{commits, 1, false}, {commits, 1, true}, {commits, 2, false}, {commits, 2, true}, {resolves, 1, false}, {resolves, 2, true},
}

// TestCrashes has an actor of a move crash at each of its steps, while clients work: who moves the group, which goes on or not as whoever takes over decides; a server that is told; the
// coordinator's. Each time all converges, on one outcome: every node knows the same places under the same epochs, nothing is held, and no transaction is left prepared. The
// moves are between two names of one server, so that the metadata are all that can go wrong: the death of who moves costs a client no more than a session or a transaction that
// stood in the way of an address which nobody held the writes for.
func TestCrashes(t *testing.T) {
	l := newFormation(t, 2)
	clients := startLoad(t, map[string]*pgtest.Server{"coordinator": l.servers[0], "other worker": l.servers[2]})
	steps := crashes
	if testing.Short() {
		steps = []crash{{pauses, 2, true}, {updates, 1, true}, {commits, 1, true}}
	}
	for i, c := range steps {
		for _, planned := range []bool{true, false} {
			if !c.occurs(planned) {
				continue
			}
			t.Run(fmt.Sprintf("mover/%v/planned %v", c, planned), func(t *testing.T) {
				s := &saboteur{text: c.text, left: c.nth, after: c.after}
				s.act = s.crash
				began := l.attempt(t, s, planned)
				if !s.done {
					t.Error("the move had no such step")
				}
				l.converges(t, began || i%2 == 0)
				clients.more(t, l)
			})
		}
	}
	clients.ended(t)
	for i, c := range steps {
		if i%2 == 1 && !testing.Short() {
			continue // a server takes its time to start
		}
		group := 2 * (i / 2 % 2)
		t.Run(fmt.Sprintf("server of group %d/%v", group, c), func(t *testing.T) {
			s := &saboteur{text: c.text, left: c.nth, after: c.after}
			var restarted sync.WaitGroup
			s.act = func() {
				l.servers[group].Stop(pgserver.StopImmediate)
				restarted.Go(l.servers[group].Start)
			}
			began := l.attempt(t, s, true)
			restarted.Wait()
			if !s.done {
				t.Error("the move had no such step")
			}
			l.converges(t, began)
			clients.more(t, l)
		})
	}
	clients.end(t)
	l.whole(l.servers[0], l.servers[1], l.servers[2])
}

// other is the other name of group 1's server.
func (l *lab) other() citus.Address {
	at := l.top.Group(1).Primary
	if at.Host == "127.0.0.1" {
		at.Host = "localhost"
	} else {
		at.Host = "127.0.0.1"
	}
	return at
}

// attempt is a move by a client that a saboteur has in hand. It reports whether the point was passed from which there is no way back: the promotion.
func (l *lab) attempt(t *testing.T, s *saboteur, planned bool) (promoted bool) {
	t.Helper()
	client := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.mu.Lock()
	s.over = cancel
	s.mu.Unlock()
	wish := l.wish(1, &citus.Hold{ID: t.Name(), Planned: planned, To: l.other(), GraceMS: 2000})
	held, err := client.Hold(ctx, wish, 1)
	s.mu.Lock()
	dead := s.dead
	s.mu.Unlock()
	if err != nil || dead {
		if err != nil && !dead {
			t.Logf("not held: %v", err)
		}
		if held != nil {
			held.Release(ctx)
		}
		l.wish(1, nil)
		return false
	}
	held.Commit(ctx, l.move(1, l.other()))
	held.Release(ctx)
	return true
}

// converges has another reconciler take over. Where nobody was promoted it may as well be that the move is given up.
func (l *lab) converges(t *testing.T, moves bool) {
	t.Helper()
	if top := l.top.Group(1); moves && top.Hold != nil || moves && len(t.Name())%3 == 0 {
		l.move(1, l.other())
	}
	began := time.Now()
	l.await("all is propagated", func() bool {
		r := l.client.Reconcile(within(t), l.top)
		return r.Propagated(0) && r.Propagated(1) && r.Propagated(2)
	})
	const held = `select count(*) from pg_stat_activity where application_name like 'autoctl_hold%'`
	const places = `select string_agg(format('%s %s:%s %s.%s', group_id, host, port, incarnation, epoch), ', ' order by group_id) from autoctl.topology`
	for _, s := range l.servers {
		l.await("nothing is held", func() bool { return s.Query(held) == "0" })
		if want, got := l.servers[0].Query(places), s.Query(places); got != want {
			t.Errorf("port %d was told %s, the coordinator %s", s.Port, got, want)
		}
		l.await("nothing of ours is prepared", func() bool { return s.Query("select count(*) from pg_prepared_xacts where gid !~ '^citus_'") == "0" })
	}
	t.Logf("converged after %v", time.Since(began).Round(time.Millisecond))
}
