package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// load is clients that read and write through several nodes while something happens, each statement by statement, and the errors and pauses that they saw.
type load struct {
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	errs   map[string][]error
	slow   map[string]time.Duration
	counts map[string]int
}

// kinds are what clients do: in single statements, in transactions over several shards of one group, over several groups, and reads.
var kinds = map[string]func(ctx context.Context, c *pgx.Conn) error{
	"read": func(ctx context.Context, c *pgx.Conn) error {
		var n int
		return c.QueryRow(ctx, "select count(*) from accounts", pgx.QueryExecModeExec).Scan(&n)
	},
	"single": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "update accounts set balance = balance where id = $1", pgx.QueryExecModeExec, 1+rand.IntN(240))
		return err
	},
	"reference": func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "update rates set rate = rate", pgx.QueryExecModeExec)
		return err
	},
	"several": func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			for _, id := range ordered(3) {
				if _, err := tx.Exec(ctx, "update accounts set balance = balance where id = $1", pgx.QueryExecModeExec, id); err != nil {
					return err
				}
			}
			return nil
		})
	},
	"transfer": func(ctx context.Context, c *pgx.Conn) error {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			for i, id := range ordered(2) {
				if _, err := tx.Exec(ctx, "update accounts set balance = balance + $2 where id = $1", pgx.QueryExecModeExec, id, 1-2*i); err != nil {
					return err
				}
			}
			return nil
		})
	},
}

// ordered returns n different accounts in order, as applications do that want no deadlocks.
func ordered(n int) []int {
	ids := rand.Perm(240)[:n]
	slices.Sort(ids)
	for i := range ids {
		ids[i]++
	}
	return ids
}

// startLoad runs clients of every kind through each of the servers, with a breath between statements so that a small machine keeps up.
func startLoad(t *testing.T, through map[string]*pgtest.Server) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{stop: cancel, errs: map[string][]error{}, slow: map[string]time.Duration{}, counts: map[string]int{}}
	for where, s := range through {
		for kind, do := range kinds {
			name := kind + " through the " + where
			l.wg.Go(func() { l.client(ctx, name, s.Conninfo(), do) })
		}
	}
	t.Cleanup(func() {
		cancel()
		l.wg.Wait()
	})
	return l
}

func (l *load) client(ctx context.Context, name, conninfo string, do func(context.Context, *pgx.Conn) error) {
	var conn *pgx.Conn
	whole := context.WithoutCancel(ctx) // no statement is broken off by the end of the test
	defer func() {
		if conn != nil {
			_ = conn.Close(whole)
		}
	}()
	for ctx.Err() == nil {
		var err error
		if conn == nil || conn.IsClosed() {
			if conn, err = pgx.Connect(whole, conninfo); err != nil {
				l.note(name, err, 0)
				continue
			}
		}
		began := time.Now()
		err = do(whole, conn)
		l.note(name, err, time.Since(began))
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l *load) note(name string, err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[name]++
	l.slow[name] = max(l.slow[name], took)
	if err != nil {
		l.errs[name] = append(l.errs[name], err)
	}
}

// more waits until every client has done something more.
func (l *load) more(t *testing.T, what *lab) {
	t.Helper()
	l.mu.Lock()
	before := maps.Clone(l.counts)
	l.mu.Unlock()
	what.await("every client goes on", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, n := range l.counts {
			if n < before[name]+3 {
				return false
			}
		}
		return true
	})
}

// end stops the clients, and tells what they did and how long the longest took.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	for name, n := range l.counts {
		t.Logf("%-32s %5d, the longest %v, %d errors", name, n, l.slow[name].Round(time.Millisecond), len(l.errs[name]))
	}
}

// clean fails the test if any client saw an error.
func (l *load) clean(t *testing.T) {
	t.Helper()
	for name, errs := range l.errs {
		t.Errorf("%s: %d errors, such as %v", name, len(errs), fmt.Errorf("first: %w", errs[0]))
	}
}

// ended fails the test if any client saw another error than that its session, or its transaction, was ended in favour of others.
func (l *load) ended(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, errs := range l.errs {
		for _, err := range errs {
			pg, ok := errors.AsType[*pgconn.PgError](err)
			if !ok || pg.Code != pgerrcode.AdminShutdown && pg.Code != pgerrcode.DeadlockDetected {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
