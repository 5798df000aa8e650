package metadata_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
)

// TestHoldsSpared: who writes the new address of one group leaves alone whoever holds the writes of another, although both want the locks of the reference tables.
func TestHoldsSpared(t *testing.T) {
	l := newFormation(t, 2)
	held, err := l.client.Hold(within(t), l.wish(2, &citus.Hold{ID: "other", Planned: true}), 2)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.settled(l.client.Push(within(t), l.move(1, citus.Address{Host: "localhost", Port: l.servers[1].Port}))) // the same server by another name
	t.Logf("told after %v", time.Since(began).Round(time.Millisecond))
	for g, s := range l.servers {
		if got := s.Query("select count(*) from pg_stat_activity where application_name like 'autoctl_hold 2%'"); got != "1" {
			t.Errorf("%s sessions hold on group %d", got, g)
		}
	}
	if r := held.Commit(within(t), l.move(2, citus.Address{Host: "localhost", Port: l.servers[2].Port})); !r.Propagated(2) {
		t.Errorf("committed: %s", describe(r))
	}
	held.Release(within(t))
}

// TestShortSpared: a planned hold that is not had, because clients' short transactions follow one another too closely, ends none of them, however long it lasts.
func TestShortSpared(t *testing.T) {
	l := newFormation(t, 1)
	const grace = 500 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 4 {
		conn := l.servers[0].Connect()
		all.Go(func() {
			for ctx.Err() == nil {
				for _, sql := range []string{"begin", fmt.Sprintf("update accounts set balance = balance where id = %d", i+1), "select pg_sleep(0.25)", "commit"} {
					if _, err := conn.Exec(context.WithoutCancel(ctx), sql); err != nil {
						t.Errorf("%s: %v", sql, err)
						return
					}
				}
			}
		})
	}
	l.await("they write", func() bool {
		return l.servers[0].Query("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and pid <> pg_backend_pid()") != "0"
	})
	began := time.Now()
	var held *metadata.Held
	var err error
	if held, err = l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "short", Planned: true, GraceMS: grace.Milliseconds()}), 1); err == nil {
		for _, e := range held.Ended() {
			t.Errorf("ended: %+v", e)
		}
		held.Release(within(t))
	}
	t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
	stop()
	all.Wait()
}
