package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusRebalance tells of a formation that grows while clients work: a worker group is added and gets its share of the shards although the worker that
// shards come from dies meanwhile; the group is drained again although the coordinator dies meanwhile; and a rebalance that is stopped ends. Nothing of a
// move is left: no slot, no publication, no subscription, nothing to clean up.
func TestCitusRebalance(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	b := c.Bank([]int{1, 2}, 0, 2)
	coordinator, _ := c.Serving(0)
	for _, text := range []string{
		"create table events (id bigint primary key, payload text)",
		"select create_distributed_table('events', 'id', shard_count => 8, colocate_with => 'none')",
		"insert into events select i, repeat('x', 1000) from generate_series(1, 60000) i",
	} {
		coordinator.Citus(text)
	}
	for _, name := range []string{"worker3a", "worker3b"} {
		c.Place(name).CreateCitus("worker", "--group", "3")
	}
	c.AwaitGroups(2*time.Minute, 0, 1, 2, 3)
	awaitWorkers(c, 1, 2, 3)
	whole := func() { t.Helper(); c.AwaitGroups(2*time.Minute, 0, 1, 2, 3) }
	t.Run("grows while a source fails", func(t *testing.T) {
		source, _ := c.Serving(1)
		awaitRebalance(t, c, "select citus_rebalance_start()", func() { source.KillPostmaster() }, "finished")
		whole()
		if n := placements(c, 3); n == 0 {
			t.Error("group 3 got no shard")
		}
		nothingOfMoves(c, 0, 1, 2, 3)
	})
	t.Run("drained while the coordinator fails", func(t *testing.T) {
		p, _ := c.Serving(0)
		w, _ := c.Serving(3)
		p.Citus(fmt.Sprintf("select citus_set_node_property('%s', %d, 'shouldhaveshards', false)", w.Addr, w.Port))
		awaitRebalance(t, c, "select citus_rebalance_start(drain_only => true)", func() { p.KillPostmaster() }, "finished")
		whole()
		if n := placements(c, 3); n != 0 {
			t.Errorf("group 3 still has %d shards", n)
		}
		nothingOfMoves(c, 0, 1, 2, 3)
	})
	t.Run("stopped", func(t *testing.T) {
		p, _ := c.Serving(0)
		w, _ := c.Serving(3)
		p.Citus(fmt.Sprintf("select citus_set_node_property('%s', %d, 'shouldhaveshards', true)", w.Addr, w.Port))
		awaitRebalance(t, c, "select citus_rebalance_start()", func() { p.Citus("select citus_rebalance_stop()") }, "cancelled")
		nothingOfMoves(c, 0, 1, 2, 3)
	})
	p, _ := c.Serving(0)
	if got := p.Citus("select count(*), min(length(payload)) from events"); got[0] != "60000|1000" {
		t.Errorf("the events are %v", got)
	}
	c.Works(b, late)
	t.Logf("\n%s", b.Since())
	c.Audit(b, 0, 1, 2, 3)
	t.Run("the last of a group", func(t *testing.T) { lastOfGroup(t, c, 2, 1, 3) })
}

// lastOfGroup drops the nodes of a worker group: the last one is kept while shards live there, and goes when it has been drained as the refusal says.
func lastOfGroup(t *testing.T, c *cluster.Cluster, group int, others ...int) {
	t.Helper()
	last, other := c.Serving(group)
	c.Command("drop", "node", "--name", other.Name)
	said := last.Refused(cluster.ExitRefused, "drop", "node", "--pgdata", last.PGDATA())
	mentions(t, said, last.Name, "accounts", "events", "citus_set_node_property", "citus_rebalance_start", "--force")
	p, _ := c.Serving(0)
	p.Citus(fmt.Sprintf("select citus_set_node_property('%s', %d, 'shouldhaveshards', false)", last.Addr, last.Port))
	awaitRebalance(t, c, "select citus_rebalance_start(drain_only => true)", func() {}, "finished")
	last.Autoctl("drop", "node", "--pgdata", last.PGDATA())
	c.Await(late, last.Name+" is no worker any more", func(context.Context) error {
		p, _ := c.Serving(0)
		rows, err := p.TryCitus("select node_name, node_port from citus_get_active_worker_nodes()")
		if gone := fmt.Sprintf("%s|%d", last.Addr, last.Port); err == nil && slices.Contains(rows, gone) {
			err = fmt.Errorf("it is still registered:\n%s", c.TryCommand("show", "citus").Stdout)
		}
		return err
	})
	awaitWorkers(c, others...)
}

// awaitRebalance starts a rebalance, lets something happen while a shard is on its way, and waits until the job is over.
func awaitRebalance(t *testing.T, c *cluster.Cluster, start string, happens func(), want string) {
	t.Helper()
	var job string
	c.Await(late, start, func(context.Context) error {
		p, _ := c.Serving(0)
		rows, err := p.TryCitus(start)
		if err == nil && rows[0] == "<nil>" {
			err = fmt.Errorf("there is nothing to move")
		}
		if err == nil {
			job = rows[0]
		}
		return err
	})
	began := time.Now()
	c.Await(late, "a shard is on its way", func(context.Context) error {
		p, _ := c.Serving(0)
		_, err := p.TryCitus("select 1 / count(*) from pg_dist_background_task where status = 'running' and job_id = " + job)
		return err
	})
	happens()
	c.Await(3*time.Minute, "the rebalance is "+want, func(ctx context.Context) error {
		p := serving(c, 0)
		if p == nil {
			return fmt.Errorf("nobody serves group 0")
		}
		rows, err := p.TryCitus("select state, (select string_agg(status || ' ' || coalesce(message, ''), ', ') from pg_dist_background_task t where t.job_id = j.job_id) from pg_dist_background_job j where job_id = " + job)
		if err == nil && !strings.HasPrefix(rows[0], want+"|") {
			err = fmt.Errorf("it is %s", rows[0])
		}
		return err
	})
	t.Logf("%s: %s after %v", start, want, time.Since(began).Round(100*time.Millisecond))
}

// serving is the node that serves a group, nil while there is none.
func serving(c *cluster.Cluster, group int) *cluster.Node {
	for _, n := range c.GroupOf(group).Nodes {
		if n.Reported.Serves() && n.Assigned.Serves() {
			return c.Node(n.Name)
		}
	}
	return nil
}

// placements counts the shards of distributed tables that a group has.
func placements(c *cluster.Cluster, group int) int {
	p, _ := c.Serving(0)
	var n int
	_, _ = fmt.Sscan(p.Citus("select count(*) from pg_dist_placement join pg_dist_shard using (shardid) join pg_dist_partition using (logicalrelid) where partmethod = 'h' and groupid = $1", group)[0], &n)
	return n
}

// nothingOfMoves waits until nothing is left of shards that were moved: what Citus cleans up itself, it does every 15 s.
func nothingOfMoves(c *cluster.Cluster, groups ...int) {
	c.Await(late, "nothing is left of moves", func(context.Context) error {
		for _, g := range groups {
			p, standby := c.Serving(g)
			for _, n := range []*cluster.Node{p, standby} {
				if n == nil {
					return fmt.Errorf("group %d has no standby", g)
				}
				rows, err := n.TryCitus(`select 'slot ' || slot_name from pg_replication_slots where slot_name like 'citus_shard_%'
					union all select 'subscription ' || subname from pg_subscription union all select 'publication ' || pubname from pg_publication where pubname like 'citus_shard_%'
					union all select 'cleanup ' || object_name from pg_dist_cleanup`)
				if err != nil {
					return err
				}
				if len(rows) > 0 {
					return fmt.Errorf("%s has %v", n.Name, rows)
				}
			}
		}
		return nil
	})
}
