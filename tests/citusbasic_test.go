package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusBasicOperation tells the life of a worker group of three, of which one has a copy that does not count and is never promoted: a primary that is cut off, both ways;
// a failover when nobody may be promoted; who confirms commits at each step, and that all three have the rows; a failover of the coordinator.
func TestCitusBasicOperation(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	c.Lab.NeedLinks()
	c.Place("worker2c").CreateCitus("worker", "--group", "2", "--candidate-priority", "0", "--replication-quorum", "false")
	c.Wait(late, cluster.States{"worker2c": cluster.Secondary})
	a, b := c.Serving(2)
	if b.Name == "worker2c" {
		b = c.Node(map[string]string{"worker2a": "worker2b", "worker2b": "worker2a"}[a.Name])
	}
	coordinator, _ := c.Serving(0)
	if got := coordinator.Citus("select nodename, nodeport from pg_dist_node where groupid = 0"); got[0] != fmt.Sprintf("%s|%d", coordinator.Addr, coordinator.Port) {
		t.Errorf("the coordinator is registered as %v", got)
	}
	for _, text := range []string{"create table t1 (a int)", "select create_distributed_table('t1', 'a', shard_count => 4)", "insert into t1 values (1), (2)"} {
		coordinator.Citus(text)
	}
	confirms(c, a, b)
	has(t, c, "1 2")

	t.Log("a primary is cut off, and the other, in turn")
	next := 3
	for _, p := range []struct{ old, heir *cluster.Node }{{a, b}, {b, a}} {
		p.old.Cut()
		if got := coordinator.Citus("select count(*) from t1 where a = $1::int", inGroup(c, "t1", 1)); len(got) != 1 {
			t.Errorf("a read of group 1 answers %v meanwhile", got)
		}
		c.Wait(late, cluster.States{p.heir.Name: cluster.WaitPrimary, "worker2c": cluster.Secondary})
		confirms(c, p.heir)
		c.Await(soon, "a row is written", func(context.Context) error {
			_, err := coordinator.TryCitus(fmt.Sprintf("insert into t1 values (%d)", next))
			return err
		})
		next++
		if got := c.Info("worker2c").Priority; got != 0 {
			t.Errorf("worker2c has the priority %d, want 0", got)
		}
		p.old.Heal()
		c.Wait(2*late, cluster.States{p.heir.Name: cluster.Primary, p.old.Name: cluster.Secondary, "worker2c": cluster.Secondary})
		confirms(c, p.heir, p.old)
	}
	has(t, c, "1 2 3 4")
	everywhere(t, c, 2, "worker2a", "worker2b", "worker2c")

	t.Log("nobody may be promoted: the failover is refused, and made when somebody is back")
	b.Stop()
	c.Wait(soon, cluster.States{a.Name: cluster.WaitPrimary})
	t.Log(c.RefusedCommand(cluster.ExitRefused, "perform", "failover", "--group", "2"))
	has(t, c, "1 2 3 4")
	b.Restart()
	c.Wait(2*late, cluster.States{a.Name: cluster.Primary, b.Name: cluster.Secondary})
	c.Command("perform", "failover", "--group", "2")
	c.Wait(late, cluster.States{b.Name: cluster.Primary, a.Name: cluster.Secondary, "worker2c": cluster.Secondary})
	confirms(c, b, a)
	slotsRight(t, c)

	t.Log("the coordinator")
	c.Command("perform", "failover", "--group", "0")
	c.AwaitGroups(late, 0, 1)
	awaitWorkers(c, 1, 2)
	has(t, c, "1 2 3 4")
	coordinator, _ = c.Serving(0)
	c.Await(soon, "the table is dropped", func(context.Context) error { _, err := coordinator.TryCitus("drop table t1"); return err })
}

// confirms waits until the primary's synchronous_standby_names has exactly the nodes given, and the monitor says the same.
func confirms(c *cluster.Cluster, primary *cluster.Node, want ...*cluster.Node) {
	c.Await(soon, fmt.Sprintf("%d nodes confirm commits of %s", len(want), primary.Name), func(context.Context) error {
		g := c.GroupOf(2)
		var slots []string
		for _, n := range g.Nodes {
			if slices.ContainsFunc(want, func(w *cluster.Node) bool { return w.Name == n.Name }) {
				slots = append(slots, n.Slot)
			}
		}
		value, err := primary.TryCitus("show synchronous_standby_names")
		if err != nil {
			return err
		}
		k, names, err := cluster.ParseSync(value[0])
		slices.Sort(slots)
		if err == nil && (k != min(1, len(want)) || !slices.Equal(names, slots)) {
			err = fmt.Errorf("%s, want %v", value[0], slots)
		}
		if len(g.Record) != 1 || g.Record[0].K != min(1, len(want)) || len(g.Record[0].Members) != len(want) {
			err = fmt.Errorf("the monitor's record is %+v", g.Record)
		}
		return err
	})
}

// has asserts what the table holds, as the coordinator reads it.
func has(t *testing.T, c *cluster.Cluster, want string) {
	t.Helper()
	p, _ := c.Serving(0)
	if got := strings.Join(p.Citus("select a from t1 order by a"), " "); got != want {
		t.Errorf("t1 has %s, want %s", got, want)
	}
}

// inGroup is a value whose shard lives in the group.
func inGroup(c *cluster.Cluster, table string, group int) string {
	p, _ := c.Serving(0)
	return p.Citus("select id from generate_series(1, 1000) id join pg_dist_placement p on p.shardid = get_shard_id_for_distribution_column($1::regclass, id) where groupid = $2 limit 1", table, group)[0]
}

// everywhere asserts that each node of a group has the same rows in the group's shards.
func everywhere(t *testing.T, c *cluster.Cluster, group int, names ...string) {
	t.Helper()
	p, _ := c.Serving(0)
	shards := p.Citus("select 't1_' || shardid from pg_dist_placement join pg_dist_shard using (shardid) where logicalrelid = 't1'::regclass and groupid = $1", group)
	for _, shard := range shards {
		c.Await(soon, shard+" is the same everywhere", func(context.Context) error {
			var first []string
			for i, name := range names {
				rows, err := c.Node(name).TryCitus("select a from " + shard + " order by a")
				if err != nil {
					return err
				}
				if i == 0 {
					first = rows
				}
				if !slices.Equal(rows, first) {
					return fmt.Errorf("%s has %v, %s has %v", name, rows, names[0], first)
				}
			}
			return nil
		})
	}
}

// slotsRight waits until each node has a slot for each other node of its group, and no other.
func slotsRight(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	c.Await(soon, "slots are right", func(context.Context) error {
		for _, n := range c.GroupOf(2).Nodes {
			var want []string
			for _, other := range c.GroupOf(2).Nodes {
				if other.Name != n.Name {
					want = append(want, other.Slot)
				}
			}
			slices.Sort(want)
			have, err := c.Node(n.Name).TryCitus(`select slot_name from pg_replication_slots order by slot_name collate "C"`)
			if err != nil {
				return err
			}
			if !slices.Equal(have, want) {
				return fmt.Errorf("%s has the slots %v, want %v", n.Name, have, want)
			}
		}
		return nil
	})
}
