package formation

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// coordinator starts a coordinator without workers that has a reference table in database postgres and in database two.
func coordinator(t *testing.T) (*pgtest.Server, func(ctx context.Context, database string) (*pgx.Conn, error)) {
	t.Helper()
	pgtest.BinariesWithCitus(t)
	s := pgtest.NewStarted(t, conf.Params{"shared_preload_libraries": "citus", "wal_level": "logical", "max_prepared_transactions": "20", "citus.node_conninfo": "sslmode=disable"})
	connect := func(ctx context.Context, database string) (*pgx.Conn, error) {
		return pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable", s.Port, database))
	}
	s.Exec("create database two")
	for _, database := range []string{"postgres", "two"} {
		c, err := connect(t.Context(), database)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.PgConn().Exec(t.Context(), fmt.Sprintf(`create extension citus; select citus_set_coordinator_host('127.0.0.1', %d);
			create table rates (rate int); select create_reference_table('rates'); insert into rates values (1)`, s.Port)).ReadAll()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, connect
}

// TestHoldAllExpires: no hold ends by itself while that of another database waits for a transaction; all do so once the last is complete.
func TestHoldAllExpires(t *testing.T) {
	s, connect := coordinator(t)
	const lasts, grace = 400 * time.Millisecond, 600 * time.Millisecond
	k := New(Parts{Client: &metadata.Client{Timings: metadata.Timings{Hold: lasts}, Connect: func(ctx context.Context, _ int, _ citus.Address, database string) (*pgx.Conn, error) {
		return connect(ctx, database)
	}}})
	k.topology.Databases = []string{"two"}
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Timeout)
	defer cancel()
	long, err := connect(ctx, "two")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = long.Close(context.WithoutCancel(ctx)) }()
	if _, err := long.PgConn().Exec(ctx, "begin; update rates set rate = 2").ReadAll(); err != nil {
		t.Fatal(err)
	}
	id, err := strconv.ParseInt(s.Query("select system_identifier from pg_control_system()"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	at := citus.Address{Host: "127.0.0.1", Port: s.Port}
	top := citus.Topology{Database: "postgres", Groups: []citus.Group{{
		Epoch: citus.Epoch{Incarnation: 1, Number: 1}, Primary: at, Serving: true, SystemID: uint64(id), Hold: &citus.Hold{Planned: true, To: at, GraceMS: grace.Milliseconds()},
	}}}
	began := time.Now()
	held, err := k.holdAll(ctx, top, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release(ctx)
	if took := time.Since(began); took < grace || len(held.Ended()) != 1 {
		t.Fatalf("the second database did not wait for the transaction: held after %v, ended %+v", took, held.Ended())
	}
	if held.Over() {
		t.Error("a hold has ended before all were complete")
	}
	for !held.parts[0].Over() || !held.parts[1].Over() {
		select {
		case <-ctx.Done():
			t.Fatal("the holds do not end by themselves")
		case <-time.After(5 * time.Millisecond):
		}
	}
	if took := time.Since(began); took < grace+lasts {
		t.Errorf("the holds have ended after %v", took)
	}
	if err := held.complete(ctx); err == nil {
		t.Error("holds that are over are taken for complete")
	}
}

// TestOverIsNotHeld: the monitor is not told that the writes are held once they are not any more in some database; what was sent on is not in hand, and was held.
func TestOverIsNotHeld(t *testing.T) {
	over := (&metadata.Client{}).Catch(t.Context(), citus.Topology{}, 1)
	for _, c := range []struct {
		held *heldAll
		want uint64
	}{{nil, 7}, {&heldAll{parts: []*metadata.Held{nil}}, 7}, {&heldAll{parts: []*metadata.Held{nil, over}}, 0}} {
		k := New(Parts{})
		k.hand = holding{id: 7, level: true, held: c.held}
		var r fsm.Report
		if k.Supplement(&r); r.Held != c.want {
			t.Errorf("%+v: held under %d, want %d", c.held, r.Held, c.want)
		}
	}
}
