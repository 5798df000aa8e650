package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/bank"
	"github.com/autoctl/autoctl/tests/cluster"
)

// citusFormation makes a coordinator and worker groups, each with a standby, and waits until all are stable.
func citusFormation(t testing.TB, workers int) *cluster.Cluster {
	t.Helper()
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	groups := []int{0}
	for _, half := range []string{"a", "b"} {
		c.Place("coord0" + half).CreateCitus("coordinator")
		for g := 1; g <= workers; g++ {
			c.Place(fmt.Sprintf("worker%d%s", g, half)).CreateCitus("worker", "--group", fmt.Sprint(g))
		}
	}
	for g := 1; g <= workers; g++ {
		groups = append(groups, g)
	}
	c.AwaitGroups(2*time.Minute, groups...)
	awaitWorkers(c, groups[1:]...)
	c.SetSettings("failover_limit=1000") // so many failures in a row are taken for poison otherwise
	return c
}

// bystander is how long a client may wait that needs nothing of what fails, and how much longer than the pause a transfer may be half visible, or a row in doubt.
const bystander = 2 * time.Second

// fault is what happens to a group's primary, and what undoes it.
type fault func(t *testing.T, primary *cluster.Node) (repair func())

// strike lets something happen to the primaries of groups while the clients of a bank work, waits until the last of them is replaced and all clients work again, and asserts that those
// who need none of the groups saw no error and hardly a pause.
func strike(t *testing.T, c *cluster.Cluster, b *bank.Bank, happens fault, groups ...int) bank.Report {
	t.Helper()
	var primaries []*cluster.Node
	for _, g := range groups {
		p, _ := c.Serving(g)
		primaries = append(primaries, p)
	}
	c.Works(b, soon)
	var repairs []func()
	b.Mark()
	for _, p := range primaries {
		if repair := happens(t, p); repair != nil {
			repairs = append(repairs, repair)
		}
	}
	last := primaries[len(primaries)-1].Name
	c.Await(late, last+" is replaced", func(context.Context) error {
		if p := serving(c, groups[len(groups)-1]); p == nil || p.Name == last {
			return errors.New("nobody else serves")
		}
		return nil
	})
	c.Works(b, late)
	r := b.Since()
	t.Logf("\n%s", r)
	others := r.Where(func(l bank.Line) bool { return !l.Touches(groups...) && !through(l, groups) })
	if n := others.Failed(); n > 0 {
		t.Errorf("clients that need nothing of groups %v saw %d errors", groups, n)
	}
	if p := others.Pause(); p > bystander {
		t.Errorf("clients that need nothing of groups %v had to wait for %v", groups, p)
	}
	if half := r.Half(); half > r.Pause()+bystander {
		t.Errorf("a transfer was half visible for %v", half)
	}
	for _, repair := range repairs {
		repair()
	}
	return r
}

// through reports whether a client works through one of the groups.
func through(l bank.Line, groups []int) bool {
	for _, g := range groups {
		if name := fmt.Sprintf("worker %d", g); l.Via == name || g == 0 && l.Via == "coordinator" {
			return true
		}
	}
	return false
}

// TestCitusWorkerFails tells of a worker group that is moved in order and whose primary fails in every way there is, while clients work through the
// coordinator and through another worker. Who needs nothing of the group notices nothing; all others go on by themselves; nothing is lost or half done.
func TestCitusWorkerFails(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	b := c.Bank([]int{1, 2}, 0, 2)
	whole := func() { t.Helper(); c.AwaitGroups(2*time.Minute, 0, 1, 2) }
	t.Run("planned", func(t *testing.T) {
		slow := readSlowly(t, c, 1, 0, 2)
		r := strike(t, c, b, func(*testing.T, *cluster.Node) func() { c.Command("perform", "failover", "--group", "1"); return nil }, 1)
		if n := r.Failed(); n > 0 {
			t.Errorf("clients saw %d errors of a planned move", n)
		}
		slow()
		whole()
	})
	t.Run("postmaster killed", func(t *testing.T) {
		strike(t, c, b, func(_ *testing.T, p *cluster.Node) func() { p.KillPostmaster(); return nil }, 1)
		whole()
	})
	t.Run("cannot be restarted", func(t *testing.T) {
		strike(t, c, b, func(t *testing.T, p *cluster.Node) func() {
			repair := unstartable(t, p)
			p.KillPostmaster()
			return repair
		}, 1)
		whole()
	})
	if c.Lab.HasLinks() {
		t.Run("host cut off", func(t *testing.T) {
			strike(t, c, b, func(_ *testing.T, p *cluster.Node) func() { p.Cut(); return p.Heal }, 1)
			whole()
		})
	}
	t.Run("host frozen", func(t *testing.T) { citusThawed(t, c, b, whole) })
	t.Run("commits in doubt", func(t *testing.T) { citusInDoubt(t, c, b, whole) })
	c.Audit(b, 0, 1, 2)
}

// unstartable makes the node's server unable to start, and returns what undoes it.
func unstartable(t *testing.T, n *cluster.Node) func() {
	t.Helper()
	path := filepath.Join(n.PGDATA(), "postgresql.conf")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := func(content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set(append(slices.Clip(good), []byte("\nno_such_setting = on\n")...))
	return func() { set(good) }
}

// citusThawed tells of a worker's primary that is frozen, replaced and thawed: who is connected to it can write neither to its own shards nor to a table of
// which every node has a copy.
func citusThawed(t *testing.T, c *cluster.Cluster, b *bank.Bank, whole func()) {
	t.Helper()
	coordinator, _ := c.Serving(0)
	for _, text := range []string{"create table late (id int)", "select create_reference_table('late')"} {
		coordinator.Citus(text)
	}
	old, heir := c.Serving(1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	sql := []string{"insert into late values (1)", "update accounts set touched = touched where id = (select min(id) from accounts)", "update rates set seq = seq"}
	late := make([]func() error, len(sql))
	for i, text := range sql {
		conn, err := old.ConnectCitus(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		late[i] = func() error {
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			_, err := conn.Exec(ctx, text)
			return err
		}
	}
	strike(t, c, b, func(_ *testing.T, p *cluster.Node) func() { p.Freeze(); return nil }, 1)
	c.Await(soon, heir.Name+" serves", func(context.Context) error { return serves(c, heir.Name) })
	answers := make(chan error)
	for i := range late {
		go func() { answers <- late[i]() }()
	}
	old.Thaw()
	for range late {
		if err := <-answers; err == nil {
			t.Errorf("%s acknowledged a write after %s had taken over", old.Name, heir.Name)
		} else {
			t.Logf("a client of the thawed %s was told: %v", old.Name, err)
		}
	}
	whole()
	c.SameCopies("late", 0, 1, 2)
}

// citusInDoubt tells of a transaction that is committed on the coordinator and prepared on a worker when the worker's primary dies, and of one that the
// coordinator did not commit: the new primary has both in doubt, and whoever waits for their rows goes on soon after.
func citusInDoubt(t *testing.T, c *cluster.Cluster, b *bank.Bank, whole func()) {
	t.Helper()
	coordinator, _ := c.Serving(0)
	for _, text := range []string{"create table doubt (id int primary key, n int not null)", "select create_distributed_table('doubt', 'id', shard_count => 4)",
		"insert into doubt select i, 0 from generate_series(1, 100) i"} {
		coordinator.Citus(text)
	}
	rows := coordinator.Citus(`select id, 'doubt_' || p.shardid from doubt join pg_dist_placement p on p.shardid = get_shard_id_for_distribution_column('doubt', id)
		where p.groupid = 1 order by id limit 2`)
	var ids [2]int
	var shards [2]string
	for i, r := range rows {
		if _, err := fmt.Sscanf(r, "%d", &ids[i]); err != nil {
			t.Fatal(err)
		}
		shards[i] = r[len(fmt.Sprint(ids[i]))+1:]
	}
	var began time.Time
	released := make(chan time.Duration, 2)
	r := strike(t, c, b, func(t *testing.T, p *cluster.Node) func() {
		t.Helper()
		for i, gid := range []string{"citus_0_999999_1_0", "citus_0_999999_2_0"} {
			p.Citus(fmt.Sprintf("begin; update %s set n = n + 1 where id = %d; prepare transaction '%s'", shards[i], ids[i], gid))
		}
		coordinator.Citus("insert into pg_dist_transaction (groupid, gid) values (1, 'citus_0_999999_1_0')")
		began = time.Now()
		p.KillPostmaster()
		for i, want := range []string{"2", "1"} {
			go func() { released <- awaitRow(t, coordinator, ids[i], want, began) }()
		}
		return nil
	}, 1)
	writes := r.Where(func(l bank.Line) bool { return l.Kind == "write in group 1" && l.Via == "coordinator" }).Pause()
	for range 2 {
		after := <-released
		t.Logf("a row in doubt was released %v after the crash; writes of other rows went on after %v", after.Round(time.Millisecond), writes.Round(time.Millisecond))
		if held := after - writes; held > bystander {
			t.Errorf("a row was in doubt for %v after the failover", held)
		}
	}
	whole()
}

// awaitRow changes a row as soon as it can be, says how long after a moment that was, and asserts that what was in doubt has the outcome wanted.
func awaitRow(t *testing.T, via *cluster.Node, id int, want string, since time.Time) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(late); time.Now().Before(deadline); {
		got, err := via.TryCitus(fmt.Sprintf("update doubt set n = n + 1 where id = %d returning n", id))
		if err != nil {
			continue
		}
		if got[0] != want {
			t.Errorf("row %d has %s, want %s", id, got[0], want)
		}
		return time.Since(since)
	}
	t.Errorf("row %d cannot be changed within %v", id, late)
	return late
}
