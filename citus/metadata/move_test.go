package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// caught waits until a standby has replayed all that its primary has.
func (l *lab) caught(primary, standby *pgtest.Server) {
	lsn := primary.Query("select pg_current_wal_flush_lsn()")
	l.await("the standby has replayed all", func() bool { return standby.Query("select pg_last_wal_replay_lsn() >= '"+lsn+"'") == "t" })
}

// whole checks that no transfer is half done and that every node sees the same.
func (l *lab) whole(servers ...*pgtest.Server) {
	l.t.Helper()
	for _, s := range servers {
		if got := s.Query("select sum(balance) from accounts"); got != "24000" {
			l.t.Errorf("the accounts hold %s as seen on port %d", got, s.Port)
		}
		if got := s.Query("select count(*) from pg_prepared_xacts"); got != "0" {
			l.t.Errorf("%s prepared transactions on port %d", got, s.Port)
		}
		if got := s.Query("select count(*) from pg_stat_activity where application_name like 'autoctl_hold%'"); got != "0" {
			l.t.Errorf("%s sessions hold on port %d", got, s.Port)
		}
	}
}

// A planned move of a worker under load through the coordinator and through another worker: clients wait, and see no error. A hold that is withdrawn leaves all as it was.
func TestPlannedMove(t *testing.T) {
	l := newFormation(t, 2)
	old, heir := l.servers[1], l.standby(1)
	clients := startLoad(t, map[string]*pgtest.Server{"coordinator": l.servers[0], "other worker": l.servers[2]})
	hold := func() (*metadata.Held, time.Duration) {
		t.Helper()
		began := time.Now()
		held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "move", Planned: true, To: address(heir)}), 1)
		if err != nil {
			t.Fatal(err)
		}
		if missing, ended := held.Missing(), held.Ended(); len(missing) > 0 || len(ended) > 0 {
			t.Errorf("missing %v, ended %v", missing, ended)
		}
		return held, time.Since(began).Round(time.Millisecond)
	}
	for range 5 {
		held, took := hold()
		t.Logf("held after %v, and released", took)
		held.Release(within(t))
	}
	if got := l.servers[0].Query("select nodeport from pg_dist_node where groupid = 1"); got != fmt.Sprint(old.Port) {
		t.Errorf("holds that were withdrawn have left the address %s", got)
	}
	held, took := hold()
	began := time.Now()
	l.caught(old, heir)
	heir.Exec("select pg_promote()")
	promoted := time.Since(began)
	moved := l.move(1, address(heir))
	// Another reconciler hears of it at the same time.
	other := make(chan metadata.Report, 1)
	go func() { other <- l.client.Push(context.Background(), moved) }()
	began = time.Now()
	r := held.Commit(within(t), moved)
	routed := time.Since(began)
	if !r.Routed(1) || !r.Propagated(1) {
		t.Errorf("committed: %s", describe(r))
	}
	old.Stop(pgserver.StopImmediate)
	t.Logf("held after %v, promoted after %v, told after %v", took, promoted.Round(time.Millisecond), routed.Round(time.Millisecond))
	if r := <-other; !r.Routed(1) {
		t.Errorf("the other reconciler: %s", describe(r))
	}
	clients.more(t, l)
	clients.end(t)
	clients.clean(t)
	held.Release(within(t))
	l.whole(l.servers[0], heir, l.servers[2])
}

// A planned move of the coordinator under load through the workers: what they write to reference tables waits, all else goes on, and nobody sees an error.
func TestPlannedCoordinatorMove(t *testing.T) {
	l := newFormation(t, 2)
	old, heir := l.servers[0], l.standby(0)
	clients := startLoad(t, map[string]*pgtest.Server{"worker 1": l.servers[1], "worker 2": l.servers[2]})
	clients.more(t, l)
	began := time.Now()
	held, err := l.client.Hold(within(t), l.wish(0, &citus.Hold{ID: "move", Planned: true, To: address(heir)}), 0)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	l.caught(old, heir)
	heir.Exec("select pg_promote()")
	r := held.Commit(within(t), l.move(0, address(heir)))
	if !r.Routed(0) || !r.Propagated(0) {
		t.Errorf("committed: %s", describe(r))
	}
	old.Stop(pgserver.StopImmediate)
	t.Logf("held after %v, told after %v", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	clients.more(t, l)
	clients.end(t)
	clients.clean(t)
	held.Release(within(t))
	l.await("the former coordinator's transactions are resolved", func() bool {
		l.client.Recover(within(t), l.top)
		return l.servers[1].Query("select count(*) from pg_prepared_xacts") == "0" && l.servers[2].Query("select count(*) from pg_prepared_xacts") == "0"
	})
	l.whole(heir, l.servers[1], l.servers[2])
}

// A third server hangs, before the move begins or in the midst of it: the others hold and are told without it, the end of the move waits for it no longer than a moment, and it is
// told when it is back.
func TestMoveWithoutFrozen(t *testing.T) {
	l := newFormation(t, 3)
	const limit = 2 * time.Second
	for _, first := range []bool{true, false} {
		thaw := func() {}
		if first {
			thaw = freeze(t, l.servers[3])
		}
		began := time.Now()
		held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "move", Planned: true, To: l.other()}), 1)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if !first {
			thaw = freeze(t, l.servers[3])
		}
		began = time.Now()
		moved := l.move(1, l.other())
		done := make(chan metadata.Report, 1)
		go func() { done <- held.Commit(context.Background(), moved) }()
		<-held.Settled()
		settled := time.Since(began)
		for _, g := range []int{0, 1, 2} {
			if got := l.servers[g].Query("select nodename from pg_dist_node where groupid = 1"); got != moved.Group(1).Primary.Host {
				t.Errorf("settled, and group %d knows %s", g, got)
			}
		}
		r := <-done
		t.Logf("hangs from the first %v: held after %v, settled after %v, all over after %v", first, took.Round(time.Millisecond), settled.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		if settled > limit || took > defaultConnect+limit {
			t.Errorf("held after %v, settled after %v", took, settled)
		}
		if !r.Routed(1) || r.Propagated(1) {
			t.Errorf("without one: %s", describe(r))
		}
		held.Release(within(t))
		thaw()
		l.await("propagated", func() bool { return l.client.Reconcile(within(t), moved).Propagated(1) })
	}
	l.whole(l.servers[0], l.servers[1], l.servers[2], l.servers[3])
}

// defaultConnect is what opening a session with a server that hangs takes.
const defaultConnect = 2 * time.Second

// The coordinator's own hand-over ends who holds it up as well, on a worker, and says why in that server's log.
func TestGraceOfCoordinator(t *testing.T) {
	l := newFormation(t, 1)
	long := l.servers[1].Connect()
	for _, sql := range []string{"begin", "update rates set rate = rate"} {
		if _, err := long.Exec(within(t), sql); err != nil {
			t.Fatal(err)
		}
	}
	held, err := l.client.Hold(within(t), l.wish(0, &citus.Hold{ID: "stern", Planned: true, GraceMS: 600}), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release(within(t))
	if ended := held.Ended(); len(ended) != 1 || !strings.Contains(ended[0].Reason, "older than the grace of 600ms") {
		t.Errorf("ended %+v", ended)
	}
	_, err = long.Exec(within(t), "select 1")
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != pgerrcode.AdminShutdown {
		t.Errorf("the client saw %v", err)
	}
	log, err := os.ReadFile(l.servers[1].LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "autoctl ends the session of process") || !strings.Contains(string(log), "the writes of group 0 are held for a planned move") {
		t.Error("the server's log does not say why the session was ended")
	}
}

// A transaction that lasts longer than the grace is ended, and others are not; without force the hold fails instead.
func TestGrace(t *testing.T) {
	l := newFormation(t, 2)
	long, other := l.servers[2].Connect(), l.servers[2].Connect()
	for _, sql := range []string{"begin", "update accounts set balance = balance"} {
		if _, err := long.Exec(within(t), sql); err != nil {
			t.Fatal(err)
		}
	}
	polite := l.wish(1, &citus.Hold{ID: "polite", Planned: true, GraceMS: 600, NoForce: true})
	if held, err := l.client.Hold(within(t), polite, 1); err == nil {
		held.Release(within(t))
		t.Error("held while a transaction was under way")
	}
	if _, err := long.Exec(within(t), "select 1"); err != nil {
		t.Errorf("ended without force: %v", err)
	}
	began := time.Now()
	held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "stern", Planned: true, GraceMS: 600}), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release(within(t))
	ended := held.Ended()
	if len(ended) != 1 || !strings.Contains(ended[0].Reason, "older than the grace") {
		t.Errorf("ended %+v", ended)
	}
	t.Logf("held after %v; ended: %+v", time.Since(began).Round(time.Millisecond), ended)
	if _, err := long.Exec(within(t), "select 1"); err == nil {
		t.Error("the long transaction goes on")
	}
	if _, err := other.Exec(within(t), "select 1"); err != nil {
		t.Errorf("a session that stood in nobody's way was ended: %v", err)
	}
	if got := l.servers[2].Query("select balance from accounts where id = 1"); got != "100" {
		t.Errorf("reads under a hold: %s", got)
	}
}

// A session that waits for a synchronous standby is never ended: ended there it would commit on the workers what was never replicated (finding 13).
func TestSyncRepIsSpared(t *testing.T) {
	l := newFormation(t, 2)
	c := l.servers[0]
	c.Stop(pgserver.StopFast)
	c.Params["synchronous_standby_names"] = "nobody"
	c.Write()
	c.Start()
	waiter := c.Connect()
	if _, err := waiter.Exec(within(t), "begin; update accounts set balance = balance"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(context.Background(), "commit")
		done <- err
	}()
	l.await("the commit waits", func() bool {
		return c.Query("select count(*) from pg_stat_activity where wait_event = 'SyncRep' and backend_type = 'client backend'") != "0"
	})
	if held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "x", Planned: true, GraceMS: 300}), 1); err == nil {
		held.Release(within(t))
		t.Error("held over a commit under way")
	}
	select {
	case err := <-done:
		t.Fatalf("the commit was ended: %v", err)
	default:
	}
	delete(c.Params, "synchronous_standby_names")
	c.Write()
	c.Reload()
	if err := <-done; err != nil {
		t.Errorf("the commit: %v", err)
	}
}
