package local_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// promote has a node elected, promoted and followed by the others, and waits until all goals hold.
func (g *group) promote(m *member, k int, others ...*member) {
	g.t.Helper()
	g.elect(m)
	m.obey(g.serve(m, k, others...))
	for _, o := range others {
		o.obey(g.follow(o, m, fsm.StateSecondary))
	}
	g.all(append([]*member{m}, others...)...)
}

// TestKilledKeeper has the keeper die after every kind of step of every goal of a group's life: the next one goes on (P3).
func TestKilledKeeper(t *testing.T) {
	g := newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	for _, m := range g.members {
		m.dies = map[string]bool{}
	}
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	g.learn(a)
	g.reach(a, g.serve(a, 0))
	a.must("create table t (id bigint primary key)")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	g.reach(a, g.serve(a, 1, b))
	g.vote(b)
	_, _ = a.sql("set statement_timeout = '300ms'; insert into t values (1)")
	a.crash()
	g.promote(b, 1, a)
	if !slices.Contains(a.steps, fsm.StepRewind) {
		t.Errorf("the old primary did not rewind: %v", a.steps)
	}
	b.must("insert into t values (2)")
	a.eventually("select string_agg(id::text, ',') from t", "2")
	drain := g.goal(b, fsm.StateDraining)
	drain.DeadlineMS = 60000
	g.reach(b, drain)
	g.vote(a)
	g.promote(a, 1, b)
	a.must("insert into t values (3)")
	b.eventually("select count(*) from t", "2")
	// Its first word is of what runs already: a switchover is not given up because of it.
	for _, m := range g.members {
		m.restartKeeper()
		if s := m.node.Status(g.ctx, m.mem.Get().Goal); s.Server.Status != fsm.ServerRunning || s.Server.Recovery != (m == b) || s.SystemID != g.systemID {
			t.Errorf("node %d: a keeper that begins says %+v", m.id, s)
		}
	}
	t.Logf("the keepers died %d and %d times", len(a.dies), len(b.dies))
}

// TestS6_TwoLostPrimaries has two primaries in a row lost with commits of their own; both are rewound to the third (P3, S6).
func TestS6_TwoLostPrimaries(t *testing.T) {
	g := newGroup(t, 3)
	a, b, c := g.members[0], g.members[1], g.members[2]
	first := g.serve(a, 0)
	first.State = fsm.StateWaitPrimary
	g.reach(a, first)
	g.learn(a)
	a.must("create table t (id bigint primary key)")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	g.reach(c, g.follow(c, a, fsm.StateSecondary))
	g.reach(a, g.serve(a, 1, b, c))
	g.vote(b)
	g.vote(c)
	_, _ = a.sql("set statement_timeout = '200ms'; insert into t select generate_series(100, 20000)")
	a.crash()
	g.promote(b, 1, c)
	b.must("insert into t values (1)")
	p := g.vote(c)
	if p.Epoch != 2 || p.Timeline != 2 {
		t.Errorf("a vote after the switch: %+v", p)
	}
	_, _ = b.sql("set statement_timeout = '200ms'; insert into t select generate_series(20001, 30000)")
	b.crash()

	t.Log("the first primary votes with a longer, older log")
	old := g.vote(a)
	if old.Epoch != 1 || old.LSN <= p.LSN || old.Compare(p) >= 0 {
		t.Errorf("the old log is %+v, the newer one %+v", old, p)
	}
	g.promote(c, 1, a, b)
	for _, m := range []*member{a, b} {
		if !slices.Contains(m.steps, fsm.StepRewind) || slices.Contains(m.steps, fsm.StepCopy) {
			t.Errorf("node %d: %v", m.id, m.steps)
		}
		m.eventually("select string_agg(id::text, ',') from t", "1")
	}
	if a.mem.Get().Generation != 2 {
		t.Errorf("generation %d after a rewind (S10)", a.mem.Get().Generation)
	}
}

// TestS3_StrayPromotion has a node that began a promotion which nobody has copied anew, although PostgreSQL would see nothing wrong (S3).
func TestS3_StrayPromotion(t *testing.T) {
	g, a, b := pair(t)
	_ = b.mem.Update(func(m *fsm.Memory) { m.Promotions = []fsm.Promotion{{Epoch: 7, Timeline: 7, Switch: 1}} })
	a.crash()
	b.crash()
	a.obey(g.serve(a, 1, b))
	b.obey(g.follow(b, a, fsm.StateSecondary))
	g.all(a, b)
	if !slices.Contains(b.steps, fsm.StepCopy) || len(b.mem.Get().Promotions) != 0 {
		t.Errorf("steps %v, promotions %v", b.steps, b.mem.Get().Promotions)
	}
}

// TestS3_TimelineNumbers has a promotion make exactly the timeline that was ordered, whatever numbers were ordered and never made (S3).
func TestS3_TimelineNumbers(t *testing.T) {
	g, a, b := pair(t)
	drain := g.goal(a, fsm.StateDraining)
	g.reach(a, drain)
	g.vote(b)
	g.epoch = 4
	g.orders = append(g.orders, fsm.Order{Timeline: 2, Epoch: 2, Node: 9}, fsm.Order{Timeline: 4, Epoch: 3, Node: 9})
	g.promote(b, 1, a)
	if got := b.must("select timeline_id from pg_control_checkpoint()"); got != "5" {
		b.eventually("select timeline_id from pg_control_checkpoint()", "5")
	}
	b.must("insert into t values (9)")
	a.eventually("select count(*) from t", "2")
	a.crash()
	b.crash()
	g.all(a, b)
	for _, m := range g.members {
		m.eventually("select count(*) from t", "2")
		if m.steps = nil; m.mem.Get().Rung != fsm.RungStream {
			t.Errorf("node %d left its rung: %s", m.id, m.mem.Get().Why)
		}
	}
}

// TestS16_Gate keeps clients out of a primary that crashed, until its standby has confirmed the end of its log (S16).
func TestS16_Gate(t *testing.T) {
	g, a, b := pair(t)
	b.crash()
	a.crash()
	g.until(a, "the gate is closed", func(s []fsm.Step) bool {
		return len(s) > 0 && s[0].Problem != nil && s[0].Problem.Code == "gate_closed"
	})
	if v, err := a.sql("select 1"); err == nil {
		t.Errorf("a client came in: %s", v)
	}
	if st := a.node.Status(g.ctx, a.mem.Get().Goal); st.Open || st.Server.Status != fsm.ServerRunning || st.Server.Recovery {
		t.Errorf("status %+v", st)
	}
	g.all(b, a)
	if got := a.must("select count(*) from t"); got != "1" {
		t.Errorf("%s rows", got)
	}
	if st := a.node.Status(g.ctx, a.mem.Get().Goal); !st.Open || st.Unconfirmed != 0 {
		t.Errorf("confirmed, and yet: %+v", st)
	}
}

// TestS16_Patience: a primary whose standby is away opens when patience runs out, and says once what nobody has confirmed; one that serves lacks nothing.
func TestS16_Patience(t *testing.T) {
	g, a, b := pair(t)
	b.crash()
	a.crash()
	goal := a.mem.Get().Goal
	goal.Seq++
	goal.Settings.GatePatienceMS = 1
	a.obey(goal)
	g.until(a, "the gate is open", func([]fsm.Step) bool { return a.node.Status(g.ctx, goal).Open })
	if st := a.node.Status(g.ctx, goal); st.Unconfirmed == 0 {
		t.Errorf("nothing is said of it: %+v", st)
	}
	if f, err := a.node.Observe(g.ctx, goal); err != nil || f.Server.Impatient {
		t.Errorf("a server that serves is told to be impatient: %+v, %v", f.Server, err)
	}
}

// TestS21_DrainDeadline has a drained primary serve again when it hears nothing newer (S21).
func TestS21_DrainDeadline(t *testing.T) {
	g, a, b := pair(t)
	drain := g.goal(a, fsm.StateDraining)
	drain.DeadlineMS = 300
	g.reach(a, drain)
	if a.mem.Get().Drained == 0 {
		t.Error("nothing was drained")
	}
	b.node.Status(g.ctx, b.mem.Get().Goal)
	g.until(a, "serves again", func(s []fsm.Step) bool {
		b.once(g.ctx)
		return len(s) == 0 && a.mem.Get().State == fsm.StatePrimary
	})
	a.must("insert into t values (2)")
	b.eventually("select count(*) from t", "2")
}

// TestS12_BlockedReplay has a vote end a receiver that goes on acknowledging while a query holds up replay, and a promotion end the query (S12).
func TestS12_BlockedReplay(t *testing.T) {
	g, a, b := pair(t)
	a.must("insert into t select generate_series(10, 1000)")
	b.eventually("select count(*) from t", "992")
	b.must("alter system set max_standby_streaming_delay = -1")
	b.must("select pg_reload_conf()")
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", b.cfg.Port, b.cfg.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "begin isolation level repeatable read; select count(*) from t"); err != nil {
		t.Fatal(err)
	}
	a.must("delete from t")
	a.must("vacuum t")
	a.must("insert into t values (7)")
	b.eventually("select wait_event from pg_stat_activity where backend_type = 'startup'", "RecoveryConflictSnapshot")
	end := a.must("select pg_current_wal_flush_lsn()")
	p := g.vote(b)
	if want, _ := fsm.ParseLSN(end); p.LSN < want {
		t.Errorf("the vote %v is behind what was acknowledged, %v", p, end)
	}
	a.crash()
	g.elect(b)
	g.reach(b, g.serve(b, 0))
	if got := b.must("select string_agg(id::text, ',') from t"); got != "7" {
		t.Errorf("rows %s", got)
	}
	if !slices.Contains(b.steps, fsm.StepEndBlockers) {
		t.Errorf("steps %v", b.steps)
	}
}

// TestS1_SettleWithoutAnswer removes a member whose receiver is frozen: its walsender proves nothing, and is ended (S1).
func TestS1_SettleWithoutAnswer(t *testing.T) {
	g, a, b := pair(t)
	pid, err := strconv.Atoi(b.must("select pid from pg_stat_wal_receiver"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	sender := a.must("select pid from pg_stat_replication")
	began := time.Now()
	g.reach(a, g.serve(a, 0))
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := a.must("select count(*) from pg_stat_replication where pid = " + sender); got != "0" {
		t.Error("the walsender that did not answer is still there")
	}
	a.must("insert into t values (2)")
}

// TestSlots keeps what others made, and drops what belongs to nobody any more.
func TestSlots(t *testing.T) {
	g, a, b := pair(t)
	a.must("select pg_create_physical_replication_slot('barman', true)")
	a.must("select pg_create_physical_replication_slot('autoctl_standby_9_00000009', true)")
	again := g.serve(a, 1, b)
	g.reach(a, again)
	if got := a.must("select string_agg(slot_name, ',' order by slot_name) from pg_replication_slots"); got != "autoctl_standby_2_0000abc1,barman" {
		t.Errorf("slots %s", got)
	}
	if got := b.must("select string_agg(slot_name, ',') from pg_replication_slots"); got != "autoctl_standby_1_0000abc0" {
		t.Errorf("slots of the standby %s", got)
	}
	st := a.node.Status(g.ctx, a.mem.Get().Goal)
	if len(st.Standbys) != 1 || !st.Standbys[0].Streaming || st.Standbys[0].LostMS != 0 {
		t.Errorf("standbys %+v", st.Standbys)
	}
}

// TestH15_Password streams, copies and rewinds as a role with a password, which no file of PostgreSQL's and no argument holds (P7).
func TestH15_Password(t *testing.T) {
	secret := `s3:cr\et'"`
	g := newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	for _, m := range g.members {
		if err := m.node.Close(); err != nil {
			t.Fatal(err)
		}
		m.cfg.Auth, m.cfg.PasswordFile = "scram-sha-256", filepath.Join(m.cfg.StateDir, "password")
		if err := os.WriteFile(m.cfg.PasswordFile, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.open()
		m.socket = true
	}
	g.diverge(a, b)
	g.promote(b, 1, a)
	if !slices.Contains(a.steps, fsm.StepRewind) {
		t.Errorf("steps %v", a.steps)
	}
	for _, m := range g.members {
		for _, name := range []string{"data/autoctl.conf", "data/postgresql.auto.conf", "data/pg_hba.conf", "state/postgresql.log"} {
			content, err := os.ReadFile(filepath.Join(filepath.Dir(m.cfg.DataDir), name))
			if err == nil && strings.Contains(string(content), secret[:5]) {
				t.Errorf("node %d: %s holds the password", m.id, name)
			}
		}
	}
}
