package metadata_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// freeze stops a server with all its processes, as a host that hangs does; the returned function thaws it.
func freeze(t *testing.T, s *pgtest.Server) func() {
	t.Helper()
	pid := s.Process.PID()
	signal := func(sig syscall.Signal) {
		pids := []int{pid}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			t.Fatal(err)
		}
		for f := range strings.FieldsSeq(string(children)) {
			var child int
			if _, err := fmt.Sscan(f, &child); err == nil {
				pids = append(pids, child)
			}
		}
		for _, p := range pids {
			_ = syscall.Kill(p, sig)
		}
	}
	signal(syscall.SIGSTOP)
	thaw := sync.OnceFunc(func() { signal(syscall.SIGCONT) })
	t.Cleanup(thaw)
	return thaw
}

// doubt leaves a transaction of the coordinator's prepared on group 1, decided and not yet carried out there, as a crash between the two does. It returns what will be
// seen once it is.
func (l *lab) doubt() (account int) {
	l.t.Helper()
	shard := l.servers[0].Query("select format('accounts_%s', shardid) from pg_dist_shard join pg_dist_placement using (shardid) where logicalrelid = 'accounts'::regclass and groupid = 1 order by shardid limit 1")
	if _, err := fmt.Sscan(l.servers[1].Query("select min(id) from "+shard), &account); err != nil {
		l.t.Fatal(err)
	}
	l.servers[1].Exec(fmt.Sprintf("begin; update %s set balance = balance + 0 where id = %d; prepare transaction 'citus_0_1_987654321_0'", shard, account))
	l.servers[0].Exec("insert into pg_dist_transaction values (1, 'citus_0_1_987654321_0')")
	return account
}

// A worker's primary dies while another worker's server hangs: the writes of its group go to the promoted standby at once, through the coordinator and through the other workers,
// what was in doubt is decided, and the server that hung is put right when it is back.
func TestUnplannedMove(t *testing.T) {
	l := newFormation(t, 3)
	heir := l.standby(1)
	account := l.doubt()
	l.caught(l.servers[1], heir)
	thaw := freeze(t, l.servers[3])
	l.servers[1].Stop(pgserver.StopImmediate)
	began := time.Now()
	held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "crash", To: address(heir)}), 1)
	if err != nil {
		t.Fatal(err)
	}
	holding := time.Since(began)
	heir.Exec("select pg_promote()")
	began = time.Now()
	moved := l.move(1, address(heir))
	done := make(chan metadata.Report, 1)
	go func() { done <- held.Commit(context.Background(), moved) }()
	for _, g := range []int{0, 2} {
		l.await("the address is known", func() bool {
			return l.servers[g].Query("select nodeport from pg_dist_node where groupid = 1") == fmt.Sprint(heir.Port)
		})
	}
	known := time.Since(began)
	conn := l.servers[2].Connect()
	if _, err := conn.Exec(within(t), fmt.Sprintf("update accounts set balance = balance where id = %d", account)); err != nil {
		t.Errorf("the account in doubt: %v", err)
	}
	t.Logf("held after %v, known to all that answer after %v, the account in doubt after %v", holding.Round(time.Millisecond), known.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	if r := <-done; !r.Routed(1) || r.Propagated(1) {
		t.Errorf("with one server hung: %s", describe(r))
	}
	thaw()
	l.await("propagated", func() bool { return l.client.Reconcile(within(t), moved).Propagated(1) })
	l.whole(l.servers[0], heir, l.servers[2], l.servers[3])
}

// A coordinator's move: the promoted one tells the workers by itself, whoever of them is away, and what the former reconciler still held is let go.
func TestCoordinatorMove(t *testing.T) {
	l := newFormation(t, 2)
	heir := l.standby(0)
	left := l.servers[1].Connect()
	for _, sql := range []string{"set application_name = 'autoctl_hold 2 1.1 1.1'", "begin", "select citus_pause_node_within_txn(nodeid) from pg_dist_node where groupid = 2"} {
		if _, err := left.Exec(within(t), sql); err != nil {
			t.Fatal(err)
		}
	}
	l.caught(l.servers[0], heir)
	l.servers[0].Stop(pgserver.StopImmediate)
	thaw := freeze(t, l.servers[2])
	heir.Exec("select pg_promote()")
	began := time.Now()
	moved := l.move(0, address(heir))
	r := l.client.Push(within(t), moved)
	if !r.Routed(0) || r.Propagated(0) {
		t.Errorf("with one worker hung: %s", describe(r))
	}
	if got := l.servers[1].Query("select nodeport from pg_dist_node where groupid = 0"); got != fmt.Sprint(heir.Port) {
		t.Errorf("the worker that answers knows %s", got)
	}
	t.Logf("told after %v", time.Since(began).Round(time.Millisecond))
	thaw()
	l.await("propagated", func() bool { return l.client.Reconcile(within(t), moved).Propagated(0) })
	if _, err := left.Exec(within(t), "select 1"); err == nil {
		t.Error("the former reconciler's hold goes on")
	}
	l.await("the metadata are synchronized", func() bool {
		return heir.Query("select count(*) from pg_dist_node where not metadatasynced") == "0"
	})
	heir.Exec("create table after (id int primary key); select create_distributed_table('after', 'id', shard_count => 4); insert into after select generate_series(1, 20); update rates set rate = 2")
	for _, s := range []*pgtest.Server{l.servers[1], l.servers[2]} {
		if got := s.Query("select rate from rates"); got != "2" {
			t.Errorf("the rate is %s on port %d", got, s.Port)
		}
	}
	l.whole(heir, l.servers[1], l.servers[2])
}

// Reconcilers that overlap, each with a topology of its own, in any order and again and again: the newest wins everywhere, and no address stays that an older one brought.
func TestOverlap(t *testing.T) {
	l := newFormation(t, 2)
	base := l.top
	at := func(epoch int) citus.Topology {
		top := base
		top.Groups = append([]citus.Group(nil), base.Groups...)
		g := top.Group(1)
		g.Epoch.Number = uint64(epoch)
		// One server under two names.
		if g.Primary.Host = "127.0.0.1"; epoch%2 == 0 {
			g.Primary.Host = "localhost"
		}
		return top
	}
	const last = 8
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for _, epoch := range rand.Perm(last) {
				l.client.Push(context.Background(), at(epoch+1))
			}
		})
	}
	wg.Wait()
	l.settled(l.client.Push(within(t), at(last)))
	r := l.client.Push(within(t), at(last-1))
	if r.Changed() || !strings.Contains(describe(r), "newer") {
		t.Errorf("an older topology: %s", describe(r))
	}
	for g, s := range l.servers {
		if got := s.Query("select nodename from pg_dist_node where groupid = 1"); got != "localhost" {
			t.Errorf("group %d knows %s", g, got)
		}
	}
}
