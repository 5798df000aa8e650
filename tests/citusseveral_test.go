package tests

import (
	"context"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/bank"
	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusSeveralFail tells of a formation in which something else happens while a worker group fails over: a third node is frozen, another worker dies, the
// coordinator dies, the coordinator's standby is being rebuilt, another failover is halfway. Clients work through the coordinator and through a worker
// that nothing happens to.
func TestCitusSeveralFail(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 3)
	b := c.Bank([]int{1, 2, 3}, 0, 3)
	whole := func() { t.Helper(); c.AwaitGroups(2*late, 0, 1, 2, 3) }
	t.Run("a third node is frozen", func(t *testing.T) {
		frozen, _ := c.Serving(2)
		r := strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){
			1: killed,
			2: func(p *cluster.Node) func() { p.FreezePostmaster(); return nil },
		}), 2, 1)
		needless := r.Where(func(l bank.Line) bool { return !l.Touches(2) && !through(l, []int{2}) })
		if p := needless.Pause(); p > failover+bystander {
			t.Errorf("clients that need nothing of the frozen node had to wait for %v", p)
		}
		frozen.Thaw()
		whole()
	})
	t.Run("two workers at once", func(t *testing.T) {
		strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){1: killed, 2: killed}), 1, 2)
		whole()
	})
	t.Run("the coordinator and a worker at once", func(t *testing.T) {
		strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){0: crashed, 1: killed}), 0, 1)
		whole()
	})
	t.Run("the coordinator's standby is being rebuilt", func(t *testing.T) {
		_, standby := c.Serving(0)
		standby.BreakPgControl()
		standby.KillPostmaster()
		strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){1: killed}), 1)
		whole()
	})
	t.Run("in the middle of another", func(t *testing.T) {
		_, heir := c.Serving(1)
		reached, release := heir.HoldPromotion()
		strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){
			1: func(p *cluster.Node) func() {
				p.KillPostmaster()
				c.Await(soon, heir.Name+" is halfway", reached)
				return nil
			},
			0: crashed,
			2: func(p *cluster.Node) func() { p.KillPostmaster(); release(); return nil },
		}), 1, 0, 2)
		whole()
		heir.SQL("alter system reset recovery_end_command")
	})
	c.Audit(b, 0, 1, 2, 3)
}

// failover is how long a group of these may be without service when its postmaster is killed.
const failover = 2 * time.Second

// killed ends the postmaster.
func killed(p *cluster.Node) func() {
	p.KillPostmaster()
	return nil
}

// crashed ends everything on the host. Of a coordinator the postmaster alone is not killed together with that of a worker: its sessions then go on to commit on
// the workers what its standby has not got, as PostgreSQL has them do, and what the worker that died has prepared of it is rolled back by the successor.
func crashed(p *cluster.Node) func() {
	p.Crash()
	return p.Restart
}

// each lets something else happen to the primary of each group.
func each(c *cluster.Cluster, what map[int]func(*cluster.Node) func()) fault {
	of := map[string]func(*cluster.Node) func(){}
	for g, do := range what {
		p, _ := c.Serving(g)
		of[p.Name] = do
	}
	return func(_ *testing.T, p *cluster.Node) func() { return of[p.Name](p) }
}

// TestCitusCoordinatorFails tells of the coordinator: it is moved in order, killed, cut off, and frozen while a change of a table of which every node has a
// copy waits for its standby. Who works through a worker and needs no such table notices nothing.
func TestCitusCoordinatorFails(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	b := c.Bank([]int{1, 2}, 0, 1)
	whole := func() { t.Helper(); c.AwaitGroups(2*late, 0, 1, 2) }
	t.Run("planned", func(t *testing.T) {
		r := strike(t, c, b, func(*testing.T, *cluster.Node) func() { c.Command("perform", "failover", "--group", "0"); return nil }, 0)
		for _, l := range r.Where(func(l bank.Line) bool { return l.Via != "coordinator" && l.Failed > 0 }) {
			t.Errorf("%s through %s saw %d errors of a planned move", l.Kind, l.Via, l.Failed)
		}
		whole()
	})
	t.Run("killed", func(t *testing.T) {
		strike(t, c, b, each(c, map[int]func(*cluster.Node) func(){0: killed}), 0)
		whole()
	})
	if c.Lab.HasLinks() {
		t.Run("cut off", func(t *testing.T) {
			strike(t, c, b, func(_ *testing.T, p *cluster.Node) func() { p.Cut(); return p.Heal }, 0)
			whole()
		})
		t.Run("waiting for its standby", func(t *testing.T) { citusUnreplicated(t, c, b, whole) })
	}
	c.Audit(b, 0, 1, 2)
}

// citusUnreplicated tells of a coordinator that has committed a change of all copies of a table, and waits for its standby to have that, when it is frozen and replaced. Thawed,
// it must not tell the workers to commit what its successor does not know of.
func citusUnreplicated(t *testing.T, c *cluster.Cluster, b *bank.Bank, whole func()) {
	t.Helper()
	old, heir := c.Serving(0)
	for _, text := range []string{"create table unreplicated (id int)", "select create_reference_table('unreplicated')"} {
		old.Citus(text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*late)
	defer cancel()
	conn, err := old.ConnectCitus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	acknowledged := make(chan error, 1)
	strike(t, c, b, func(*testing.T, *cluster.Node) func() {
		c.Lab.CutLink(old.Host, heir.Host)
		go func() {
			_, err := conn.Exec(ctx, "insert into unreplicated values (1)")
			acknowledged <- err
		}()
		c.Await(soon, "a commit waits for the standby", func(context.Context) error {
			_, err := old.TryCitus("select 1 / count(*) from pg_stat_activity where wait_event = 'SyncRep' and query like '%unreplicated%' and pid <> pg_backend_pid()")
			return err
		})
		old.Freeze()
		return nil
	}, 0)
	c.Lab.HealLink(old.Host, heir.Host)
	old.Thaw()
	if err := <-acknowledged; err == nil {
		t.Error("a commit was acknowledged that the successor does not know of")
	} else {
		t.Logf("its client was told: %v", err)
	}
	whole()
	c.SameCopies("unreplicated", 0, 1, 2)
}
