package tests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusReads tells of reading on the coordinator's standby: the read-only URI of show uri leads there, queries of distributed tables are answered, with what the
// workers have, and writes are refused; readers go on while a worker fails over and while the coordinator does.
func TestCitusReads(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	b := c.Bank([]int{1, 2}, 0)
	uri := formationURI(c, "read-only")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	conn, err := connectReading(ctx, c, uri)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct{ sql, want string }{
		{"select pg_is_in_recovery()", "true"},
		{"select count(*) > 0 from accounts", "true"},
		{"select sum(seq) >= 0 from rates", "true"},
		{"with busy as (select account from entries order by account limit 10) select count(*) > 0 from accounts join busy on id = account", "true"},
	} {
		var got bool
		if err := conn.QueryRow(ctx, q.sql).Scan(&got); err != nil || fmt.Sprint(got) != q.want {
			t.Errorf("%s: %v, %v, want %s", q.sql, got, err, q.want)
		}
	}
	for _, sql := range []string{"insert into entries values (1, 0, 0)", "update rates set seq = 0", "update accounts set balance = 0 where id = 1", "create table t (id int)"} {
		_, err := conn.Exec(ctx, sql)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || !strings.Contains(refused.Message, "not currently allowed") && refused.Code != "25006" {
			t.Errorf("%s on a standby: %v, want a refusal", sql, err)
		}
		t.Logf("%s: %v", sql, err)
	}
	_ = conn.Close(ctx)

	r := newReader(ctx, c, uri)
	defer r.stop()
	for _, g := range []int{1, 0} {
		p, _ := c.Serving(g)
		r.mark()
		p.KillPostmaster()
		c.Works(b, late)
		c.Await(soon, "readers go on", func(context.Context) error { return r.goesOn() })
		t.Logf("group %d failed over: %s", g, r)
		c.AwaitGroups(2*late, 0, 1, 2)
	}
	standby, err := connectReading(ctx, c, uri)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = standby.Close(ctx) }()
	var in bool
	if err := standby.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&in); err != nil || !in {
		t.Errorf("the read-only URI leads to a primary although there is a standby (%v)", err)
	}
	c.Audit(b, 0, 1, 2)
}

// connectReading opens a session by the read-only URI of show uri.
func connectReading(ctx context.Context, c *cluster.Cluster, uri string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		return nil, err
	}
	cfg.User, cfg.DialFunc, cfg.ConnectTimeout = c.Monitor.User(), c.Lab.Dial, time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// reader is a client that asks for a sum of a distributed table, again and again.
type reader struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	last    time.Time
	done    int
	longest time.Duration
	errs    []error
}

func newReader(ctx context.Context, c *cluster.Cluster, uri string) *reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{cancel: cancel, last: time.Now()}
	r.wg.Go(func() {
		var conn *pgx.Conn
		for ctx.Err() == nil {
			var err error
			if conn == nil || conn.IsClosed() {
				conn, err = connectReading(ctx, c, uri)
			}
			if err == nil {
				err = conn.QueryRow(ctx, "select sum(balance) from accounts").Scan(new(int))
			}
			r.note(err)
			<-time.After(10 * time.Millisecond)
		}
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	})
	return r
}

func (r *reader) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.errs = append(r.errs, err)
		return
	}
	r.longest, r.last, r.done = max(r.longest, time.Since(r.last)), time.Now(), r.done+1
}

func (r *reader) mark() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.longest, r.done, r.errs = 0, 0, nil
}

// goesOn is nil when the last answer is fresh.
func (r *reader) goesOn() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.last) > time.Second {
		return fmt.Errorf("no answer for %v, such as %w", time.Since(r.last), errors.Join(r.errs[max(0, len(r.errs)-1):]...))
	}
	return nil
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d answers on the coordinator's standby, the longest without one %v, %d errors, such as %.300v", r.done, r.longest.Round(time.Millisecond), len(r.errs),
		errors.Join(r.errs[:min(1, len(r.errs))]...))
}

func (r *reader) stop() {
	r.cancel()
	r.wg.Wait()
}
