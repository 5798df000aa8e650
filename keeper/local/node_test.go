package local_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/local"
)

// TestPair is the life of a group of two: created, protected, handed over, failed over, and whole again (P1, P2, P3).
func TestPair(t *testing.T) {
	g, a, b := pair(t)
	if got, want := a.must("show synchronous_standby_names"), `ANY 1 ("autoctl_standby_2_`+b.mem.Get().Token+`")`; got != want {
		t.Errorf("synchronous_standby_names is %s, not %s", got, want)
	}
	if a.mem.Get().Settled != a.mem.Get().Goal.Configuration.Seq {
		t.Errorf("settled %d, configuration %d", a.mem.Get().Settled, a.mem.Get().Goal.Configuration.Seq)
	}
	if got := b.must("show synchronous_standby_names"); !strings.Contains(got, "closed") {
		t.Errorf("the standby's set can be satisfied: %s", got)
	}
	a.must("insert into t values (2)")
	if err := a.node.Reconfigure(a.cfg); err != nil {
		t.Fatal(err)
	}
	if !a.node.Status(g.ctx, a.mem.Get().Goal).Open {
		t.Error("a reload of the keeper makes it say that clients are turned away")
	}

	t.Log("a planned hand-over")
	drain := g.goal(a, fsm.StateDraining)
	drain.DeadlineMS = 10000
	g.reach(a, drain)
	drained := a.mem.Get().Drained
	vote := g.vote(b)
	if drained == 0 || vote.LSN < drained {
		t.Fatalf("drained at %v, the vote is %v", drained, vote)
	}
	if vote.LSN != drained {
		t.Errorf("the end of the shutdown checkpoint is %v by arithmetic, %v by the standby", drained, vote.LSN)
	}
	g.elect(b)
	b.obey(g.serve(b, 1, a))
	g.until(b, "promoted", func([]fsm.Step) bool {
		return b.mem.Get().Promotions != nil && slices.Contains(b.steps, fsm.StepPromote)
	})
	a.obey(g.follow(a, b, fsm.StateSecondary))
	g.all(a, b)
	if slices.Contains(a.steps, fsm.StepRewind) || slices.Contains(a.steps, fsm.StepCopy) {
		t.Errorf("a drained primary was not taken back as it is: %v", a.steps)
	}
	b.must("insert into t values (3)")
	a.eventually("select count(*) from t", "3")

	t.Log("a crash, with a commit that nobody has confirmed")
	g.vote(a)
	if _, err := b.sql("begin; insert into t values (4); set statement_timeout = '1s'; commit"); err == nil {
		t.Error("a commit was acknowledged without a standby (P1)")
	}
	b.crash()
	a.crash() // S7: a vote from a restarted standby
	g.elect(a)
	if p := g.vote(a); p.Epoch != 2 || p.Timeline != 2 {
		t.Errorf("the vote is %+v", p)
	}
	a.obey(g.serve(a, 1, b))
	b.obey(g.follow(b, a, fsm.StateSecondary))
	g.all(a, b)
	if !slices.Contains(b.steps, fsm.StepRewind) {
		t.Errorf("the old primary did not rewind: %v", b.steps)
	}
	a.must("insert into t values (5)")
	b.eventually("select string_agg(id::text, ',' order by id) from t", "1,2,3,5")
	if _, err := b.sql("insert into t values (6)"); err == nil {
		t.Error("a standby took a write (P2)")
	}
}

// TestDamaged has a standby without pg_control made again by a copy, the damaged data being kept until then (P3, P6).
func TestDamaged(t *testing.T) {
	g, a, b := pair(t)
	b.crash()
	if err := os.Remove(filepath.Join(b.cfg.DataDir, "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	generation := b.mem.Get().Generation
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	if !slices.Contains(b.steps, fsm.StepCopy) || b.mem.Get().Generation <= generation {
		t.Errorf("steps %v, generation %d after %d", b.steps, b.mem.Get().Generation, generation)
	}
	a.must("insert into t values (2)")
	b.eventually("select count(*) from t", "2")
}

// TestStandbyName is what users see in pg_stat_replication.
func TestStandbyName(t *testing.T) {
	if got := local.StandbyName(3, "ab12cd34"); got != "autoctl_standby_3_ab12cd34" {
		t.Error(got)
	}
}
