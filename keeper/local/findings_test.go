package local_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/local"
)

// freeze suspends one of a member's processes, and returns what lets it go on.
func (m *member) freeze(query string) func() {
	m.t.Helper()
	pid, err := strconv.Atoi(m.must(query))
	if err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		m.t.Fatal(err)
	}
	thaw := func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	m.t.Cleanup(thaw)
	return thaw
}

// lull is how long a test watches for what must not happen, which sends no event.
func lull(d time.Duration) {
	t := time.NewTimer(d)
	<-t.C
}

// TestS2_LateCheckpointer: after an empty set PostgreSQL makes nobody wait until its checkpointer has re-read the configuration, whatever every session
// shows. A configuration settles only then (P1).
func TestS2_LateCheckpointer(t *testing.T) {
	g, a, b := pair(t)
	g.reach(a, g.serve(a, 0))
	thaw := a.freeze("select pid from pg_stat_activity where backend_type = 'checkpointer'")
	goal := g.serve(a, 1, b)
	a.obey(goal)
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		for ctx := g.ctx; ctx.Err() == nil && a.mem.Get().Settled != goal.Seq; {
			f, err := a.node.Observe(ctx, goal)
			if err != nil {
				continue
			}
			if steps := fsm.Plan(goal, f); len(steps) > 0 {
				_ = a.node.Do(ctx, goal, steps[0])
			}
		}
	}()
	a.eventually("show synchronous_standby_names", local.SyncNames(goal.Configuration, goal.Peers))
	// The standby is frozen as well: what is acknowledged now, it does not have.
	receiver := b.freeze("select pid from pg_stat_wal_receiver")
	_, err := a.sql("set statement_timeout = '500ms'; insert into t values (2)")
	t.Logf("with a checkpointer that is late a commit of which no standby has anything: %v", err)
	receiver()
	lull(time.Second)
	if got := a.mem.Get().Settled; got == goal.Seq {
		t.Error("settled while the checkpointer had not re-read")
	}
	thaw()
	select {
	case <-settled:
	case <-g.ctx.Done():
		t.Fatal("never settled")
	}
	b.freeze("select pid from pg_stat_wal_receiver")
	if _, err := a.sql("set statement_timeout = '500ms'; insert into t values (3)"); err == nil {
		t.Error("settled, and a commit was acknowledged without the standby")
	}
}

// TestH9_S7_FinalPosition: a standby that has just restarted, without an upstream, replays its log for a while, and says of none of it that it was received.
// It votes when it has read all, for everything that it had acknowledged (P1).
func TestH9_S7_FinalPosition(t *testing.T) {
	g, a, b := pair(t)
	b.must("alter system set recovery_min_apply_delay = '2s'")
	b.must("select pg_reload_conf()")
	b.eventually("show recovery_min_apply_delay", "2s")
	a.must("insert into t select generate_series(100, 5000)")
	a.must("insert into t values (2)") // acknowledged: flushed by b, and not replayed yet
	end, err := fsm.ParseLSN(a.must("select pg_current_wal_flush_lsn()"))
	if err != nil {
		t.Fatal(err)
	}
	b.crash()
	b.obey(g.goal(b, fsm.StateReportLSN))
	early := false
	g.until(b, "voted", func(steps []fsm.Step) bool {
		replayed, err := b.sql("select coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())")
		if at, bad := fsm.ParseLSN(replayed); err == nil && bad == nil && at != 0 && at < end {
			early = true
			if st := b.node.Status(g.ctx, b.mem.Get().Goal); st.Final != nil && st.Final.LSN < end {
				t.Fatalf("a final position of %v, and %v was acknowledged", st.Final.LSN, end)
			}
		}
		return len(steps) == 0
	})
	if !early {
		t.Error("the server never said less than it has: the test shows nothing")
	}
	if p := g.vote(b); p.LSN < end {
		t.Errorf("the vote is %v, and %v was acknowledged", p.LSN, end)
	}
}

// TestH5_S8_StrayPromotion: somebody promotes a standby behind the keeper's back. Commits there wait for a name that nobody has, and no client can
// override that as it can default_transaction_read_only (P2).
func TestH5_S8_StrayPromotion(t *testing.T) {
	g, a, b := pair(t)
	b.must("select pg_promote(true, 20)")
	if _, err := b.sql("set default_transaction_read_only = off; set statement_timeout = '500ms'; insert into t values (66)"); err == nil {
		t.Error("a stray promotion acknowledges writes")
	}
	a.must("set statement_timeout = 0; select 1")
	goal := g.follow(b, a, fsm.StateSecondary)
	g.reach(b, goal)
	a.must("insert into t values (2)")
	b.eventually("select string_agg(id::text, ',' order by id) from t", "1,2")
}

// TestS8_EffectiveValues: a goal counts as reached only when a session sees its values. postgresql.auto.conf, which beats every file of ours, is stripped
// of what is ours, while the server runs and before it starts.
func TestS8_EffectiveValues(t *testing.T) {
	g, a, b := pair(t)
	closed := local.SyncNames(nil, nil)
	b.must("alter system set synchronous_standby_names = ''")
	b.must("select pg_reload_conf()")
	b.eventually("show synchronous_standby_names", "")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	if got := b.must("show synchronous_standby_names"); got != closed {
		t.Errorf("reached with synchronous_standby_names %q", got)
	}
	b.must("alter system set synchronous_standby_names = ''")
	b.must("alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
	b.crash()
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	if got := b.must("show synchronous_standby_names"); got != closed {
		t.Errorf("started with synchronous_standby_names %q", got)
	}
	a.must("insert into t values (2)")
	b.eventually("select count(*) from t", "2")
}

// TestS11_OneNodeTwice: a member is one connection, the one that holds the slot of its name. A second one cannot have the slot, and one without it is
// ended: PostgreSQL would count it as a second vote of the same node (P1).
func TestS11_OneNodeTwice(t *testing.T) {
	g, a, b := pair(t)
	name := local.StandbyName(b.id, b.mem.Get().Token)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	second := func() *pgconn.PgConn {
		conn, err := pgconn.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable replication=true application_name=%s",
			a.cfg.Port, a.cfg.Superuser, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctx)) })
		return conn
	}
	start := a.must("select pg_current_wal_flush_lsn()")
	if _, err := second().Exec(ctx, "START_REPLICATION SLOT "+name+" PHYSICAL "+start+" TIMELINE 1").ReadAll(); err == nil || !strings.Contains(err.Error(), "active") {
		t.Errorf("a second connection through the slot: %v", err)
	}
	// Without the slot it streams, and PostgreSQL would count what it acknowledges for b.
	conn := second()
	conn.Frontend().SendQuery(&pgproto3.Query{String: "START_REPLICATION PHYSICAL " + start + " TIMELINE 1"})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	rows := "select count(*) from pg_stat_replication where state <> 'startup' and application_name = '" + name + "'"
	a.eventually(rows, "2")
	began := time.Now()
	g.until(a, "the stranger is ended", func([]fsm.Step) bool { return a.must(rows) == "1" })
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the stranger was ended after %v only, as wal_sender_timeout does", took)
	}
	if got := a.must("select r.pid = s.active_pid from pg_stat_replication r, pg_replication_slots s where r.application_name = s.slot_name"); got != "t" {
		t.Error("the member was ended, not the stranger")
	}
	if st := a.node.Status(ctx, a.mem.Get().Goal); len(st.Standbys) != 1 {
		t.Errorf("one node is reported as %+v", st.Standbys)
	}
	g.finish(a)
	a.must("insert into t values (2)")
}

// TestPairFindings looks at one pair for several findings.
func TestPairFindings(t *testing.T) {
	g, a, b := pair(t)
	t.Run("H15_replicator", func(t *testing.T) { h15Replicator(t, a) })
	t.Run("H25_gone_with_its_peer", func(t *testing.T) { h25GoneWithItsPeer(t, g, a, b) })
	t.Run("H26_keeper_restarts", func(t *testing.T) { h26KeeperRestarts(t, g, a, b) })
	t.Run("S24_retry_timers", func(t *testing.T) { s24RetryTimers(t, a, b) })
	t.Run("S17_idle_pair", func(t *testing.T) { s17IdlePair(t, g, a, b) })
}

// s17IdlePair: on a pair without work no message of replication need be young. The standby is not lost, and the standby's keeper has seen the
// primary a moment ago, by asking it.
func s17IdlePair(t *testing.T, g *group, a, b *member) {
	t.Helper()
	b.must("alter system set wal_receiver_status_interval = 0")
	b.must("select pg_reload_conf()")
	b.eventually("show wal_receiver_status_interval", "0")
	lull(2500 * time.Millisecond)
	if _, err := a.node.Observe(g.ctx, a.mem.Get().Goal); err != nil {
		t.Fatal(err)
	}
	age := a.must("select round(extract(epoch from now() - reply_time) * 1000) from pg_stat_replication")
	st := a.node.Status(g.ctx, a.mem.Get().Goal)
	if len(st.Standbys) != 1 || !st.Standbys[0].Streaming || st.Standbys[0].LostMS != 0 {
		t.Errorf("the last reply is %s ms old: %+v", age, st.Standbys)
	}
	if seen := b.node.Status(g.ctx, b.mem.Get().Goal).PrimarySeenMS; seen < 0 || seen > 1500 {
		t.Errorf("the primary was seen %d ms ago", seen)
	}
}

// s24RetryTimers: the timers of PostgreSQL that hide in a failover are in force as the group's settings say.
func s24RetryTimers(t *testing.T, a, b *member) {
	t.Helper()
	for name, want := range map[string]string{
		"wal_retrieve_retry_interval": "200ms", "wal_receiver_status_interval": "1s", "wal_receiver_timeout": "5s", "wal_sender_timeout": "10s",
	} {
		for _, m := range []*member{a, b} {
			if got := m.must("show " + name); got != want {
				t.Errorf("node %d: %s is %s, not %s", m.id, name, got, want)
			}
		}
	}
	// A standby whose upstream is away for a moment is back long before PostgreSQL's own 5 s.
	a.must("select pg_terminate_backend(pid) from pg_stat_replication")
	began := time.Now()
	a.eventually("select count(*) from pg_stat_replication where state = 'streaming'", "1")
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("streams again after %v", took)
	}
}

// h15Replicator: the role by which peers come is no superuser and may read no table; what it may do beyond streaming is what pg_rewind needs.
func h15Replicator(t *testing.T, a *member) {
	t.Helper()
	if got := a.must("select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = '" + local.Replicator + "'"); got != "f" {
		t.Error("the replication role has more than it needs")
	}
	if got := a.must("select has_table_privilege('" + local.Replicator + "', 't', 'select')"); got != "f" {
		t.Error("the replication role reads tables")
	}
	if got := a.must("select count(*) from pg_roles where rolname ~ 'autoctl|health|probe' and rolsuper"); got != "0" {
		t.Errorf("%s roles of ours are superusers", got)
	}
}

// h25GoneWithItsPeer: what a peer has on a node, its lines in pg_hba.conf and its slot, goes when the peer does.
func h25GoneWithItsPeer(t *testing.T, g *group, a, b *member) {
	t.Helper()
	hba := func() string {
		text, err := os.ReadFile(filepath.Join(a.cfg.DataDir, "pg_hba.conf"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	slots := "select count(*) from pg_replication_slots"
	before := hba()
	for i := range 3 {
		goal := g.serve(a, 1, b)
		goal.Peers = append(goal.Peers, fsm.Peer{Node: fsm.NodeID(9 + i), Name: "guest", Host: "127.0.0.9", Port: 5432, Token: fmt.Sprintf("%08x", i)})
		g.reach(a, goal)
		if !strings.Contains(hba(), "127.0.0.9") || a.must(slots) != "2" {
			t.Fatal("the peer was not admitted: the test shows nothing")
		}
		g.reach(a, g.serve(a, 1, b))
		if after := hba(); after != before || a.must(slots) != "1" {
			t.Errorf("left of the peer: %s slots, and pg_hba.conf\n%s", a.must(slots), after)
		}
	}
}

// h26KeeperRestarts: a keeper that ends again and again, whatever is wrong with it, leaves the server alone.
func h26KeeperRestarts(t *testing.T, g *group, a, b *member) {
	t.Helper()
	pid := func() int {
		p, err := pgserver.Adopt(a.cfg.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		return p.PID()
	}
	before := pid()
	for i := range 12 {
		a.restartKeeper()
		g.finish(a)
		a.must(fmt.Sprintf("insert into t values (%d)", 10+i))
	}
	if after := pid(); after != before {
		t.Errorf("process %d became %d", before, after)
	}
	b.eventually("select count(*) from t", "13")
}
