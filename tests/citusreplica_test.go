package tests

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// readCluster is the Citus cluster of the read replicas.
const readCluster = "reports"

// registered returns what a node says of the secondaries, as group|host|port|cluster.
func registered(ctx context.Context, n *cluster.Node) ([]string, error) {
	return tryIn(ctx, n, cluster.CitusDatabase, "select groupid, nodename, nodeport, nodecluster from pg_dist_node where noderole = 'secondary' order by groupid, nodeport")
}

// awaitReplicas waits until all primaries of the groups know exactly these replicas.
func awaitReplicas(c *cluster.Cluster, groups []int, replicas ...*cluster.Node) {
	awaitSecondaries(c, readCluster, groups, replicas...)
}

func awaitSecondaries(c *cluster.Cluster, of string, groups []int, replicas ...*cluster.Node) {
	c.Await(late, "the read replicas are registered everywhere", func(ctx context.Context) error {
		var want []string
		for _, r := range replicas {
			info, err := c.TryInfo(r.Name)
			if err != nil {
				return err
			}
			want = append(want, fmt.Sprintf("%d|%s|%d|%s", info.Group, r.Addr, r.Port, of))
		}
		slices.Sort(want)
		for _, g := range groups {
			p, _ := c.Serving(g)
			have, err := registered(ctx, p)
			if err != nil {
				return err
			}
			if slices.Sort(have); !slices.Equal(have, want) {
				return fmt.Errorf("%s knows the secondaries %v, want %v", p.Name, have, want)
			}
		}
		return nil
	})
}

// TestCitusReplicas: read replicas of all groups, created before there is anything to follow. Their queries read from replicas alone, they are refused whatever would
// make them more, they follow failovers, and one that is dead delays none.
func TestCitusReplicas(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	replica := []string{"--citus-secondary", "--citus-cluster", readCluster}
	c.Place("read1").CreateCitus("worker", append(replica, "--group", "1")...)
	c.Place("read0").CreateCitus("coordinator", replica...)
	citusPairs(c, 0, 1)
	groups := []int{0, 1}
	read0, read1 := c.Node("read0"), c.Node("read1")
	awaitReplicas(c, groups, read0, read1)
	coordinator, _ := c.Serving(0)
	coordinator.Citus("create table t (id int primary key, v int); select create_distributed_table('t', 'id', shard_count => 4)")
	coordinator.Citus("insert into t select generate_series(1, 100)")
	for _, r := range []*cluster.Node{read0, read1} {
		readsFromReplica(t, c, r, read1, 100)
	}
	uri := c.Command("show", "uri")
	t.Logf("show uri:\n%s\nshow state:\n%s", uri, c.Command("show", "state"))
	for line := range strings.Lines(uri) {
		if strings.Contains(line, read0.Addr) != strings.Contains(line, "cluster "+readCluster) {
			t.Errorf("the replica is not in its own URI alone: %s", line)
		}
	}
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "set", "node", "candidate-priority", "50", "--name", "read1"), "read replica")
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "set", "node", "replication-quorum", "true", "--name", "read1"), "read replica")
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "perform", "promotion", "--name", "read1"), "read replica")

	t.Run("follows a failover", func(t *testing.T) {
		c.Command("perform", "failover", "--group", "1")
		c.AwaitGroups(late, 1)
		awaitReplicas(c, groups, read0, read1)
		coordinator.Citus("insert into t values (101)")
		readsFromReplica(t, c, read0, read1, 101)
	})
	t.Run("dead", func(t *testing.T) { deadReplica(t, c, read1) })
	t.Run("dropped", func(t *testing.T) {
		c.Command("drop", "node", "--name", "read1", "--force")
		awaitReplicas(c, groups, read0)
	})
}

// TestCitusStandbys: standbys that are registered with Citus because an operator asked for that. Sessions that want so read from them, they change places with their primary
// in a failover, one that is away is taken out, and all are when nobody asks any more.
func TestCitusStandbys(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	citusPairs(c, 0, 1)
	groups := []int{0, 1}
	c.Command("set", "formation", "settings", "citus_standbys=1")
	coordinator, spare := c.Serving(0)
	first, second := c.Serving(1)
	awaitSecondaries(c, "default", groups, spare, second)
	coordinator.Citus("create table t (id int primary key, v int); select create_distributed_table('t', 'id', shard_count => 4)")
	coordinator.Citus("insert into t select generate_series(1, 100)")
	c.Await(soon, "a session reads from the standby", func(ctx context.Context) error {
		r, err := coordinator.Run(ctx, []string{"PGOPTIONS=-c citus.use_secondary_nodes=always"}, filepath.Join(machine.PostgresBin(t), "psql"), "-At",
			"-h", coordinator.Addr, "-p", fmt.Sprint(coordinator.Port), "-U", coordinator.User(), "-d", cluster.CitusDatabase, "-c", "explain (costs off) select * from t where id = 1")
		if want := fmt.Sprintf("host=%s port=%d", second.Addr, second.Port); err == nil && !strings.Contains(r.Stdout, want) {
			err = fmt.Errorf("it reads not at %s: %s %s", second.Name, r.Stdout, r.Stderr)
		}
		return err
	})
	began := time.Now()
	c.Command("perform", "failover", "--group", "1")
	t.Logf("planned: %v", time.Since(began).Round(time.Millisecond))
	c.AwaitGroups(late, 1)
	knows(c, cluster.CitusDatabase, 0, 1)
	awaitSecondaries(c, "default", groups, spare, first)
	second.Crash()
	c.Await(late, first.Name+" serves", func(context.Context) error { return serves(c, first.Name) })
	knows(c, cluster.CitusDatabase, 0, 1)
	awaitSecondaries(c, "default", groups, spare)
	second.Restart()
	awaitSecondaries(c, "default", groups, spare, second)
	coordinator.Citus("insert into t values (101)")
	c.Command("set", "formation", "settings", "citus_standbys=0")
	awaitSecondaries(c, "default", groups)
}

// readsFromReplica makes sure that a replica's queries see so many rows, soon, and get them from the worker's replica.
func readsFromReplica(t *testing.T, c *cluster.Cluster, at, worker *cluster.Node, rows int) {
	t.Helper()
	c.Await(soon, fmt.Sprintf("%s sees %d rows", at.Name, rows), func(ctx context.Context) error {
		got, err := at.TryCitus("select count(*) from t")
		if err == nil && !slices.Equal(got, []string{fmt.Sprint(rows)}) {
			err = fmt.Errorf("it sees %v", got)
		}
		return err
	})
	plan := strings.Join(at.Citus("explain (costs off) select * from t where id = 1"), "\n")
	if want := fmt.Sprintf("host=%s port=%d", worker.Addr, worker.Port); !strings.Contains(plan, want) {
		t.Errorf("%s does not read at %s:\n%s", at.Name, want, plan)
	}
	if _, err := at.TryCitus("update t set v = 1"); err == nil {
		t.Errorf("%s takes writes", at.Name)
	}
}

// deadReplica takes a replica's host off the network: planned and unplanned failovers of its group are as fast as without it.
func deadReplica(t *testing.T, c *cluster.Cluster, dead *cluster.Node) {
	t.Helper()
	dead.Freeze()
	began := time.Now()
	before, standby := c.Serving(1)
	c.Command("perform", "failover", "--group", "1")
	t.Logf("planned, with a replica that is frozen: %v", time.Since(began).Round(time.Millisecond))
	c.AwaitGroups(late, 1)
	knows(c, cluster.CitusDatabase, 0, 1)
	if now, _ := c.Serving(1); now.Name != standby.Name {
		t.Errorf("%s serves, want %s", now.Name, standby.Name)
	}
	dead.Kill()
	began = time.Now()
	standby.KillPostmaster()
	c.Await(late, before.Name+" serves", func(context.Context) error { return serves(c, before.Name) })
	knows(c, cluster.CitusDatabase, 0, 1)
	t.Logf("unplanned, with a replica that is dead: %v", time.Since(began).Round(time.Millisecond))
	c.AwaitGroups(2*time.Minute, 0, 1)
}

// pooler stands for a connection pooler on a node's host: it passes on what comes in, and counts.
type pooler struct {
	port  int
	count atomic.Int64
}

// newPooler starts a pooler in front of a node's server.
func newPooler(t *testing.T, n *cluster.Node) *pooler {
	t.Helper()
	l, err := n.Listen(t.Context(), net.JoinHostPort(n.Addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &pooler{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			p.count.Add(1)
			go pass(t.Context(), n, in)
		}
	}()
	return p
}

func pass(ctx context.Context, n *cluster.Node, in net.Conn) {
	defer in.Close()
	out, err := n.Dial(ctx, "tcp", net.JoinHostPort(n.Addr, fmt.Sprint(n.Port)))
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(way[1], way[0])
			done <- struct{}{}
		}()
	}
	<-done
}

// pools waits until every primary sends what is for group 1 to this address, or nowhere else, in every database.
func pools(c *cluster.Cluster, databases []string, want string) {
	c.Await(late, fmt.Sprintf("pg_dist_poolinfo says %q everywhere", want), func(ctx context.Context) error {
		for _, d := range databases {
			for _, g := range []int{0, 1, 2} {
				p, _ := c.Serving(g)
				have, err := tryIn(ctx, p, d, "select groupid, poolinfo from pg_dist_poolinfo join pg_dist_node using (nodeid) order by 1")
				if err != nil {
					return err
				}
				if text := strings.Join(have, ","); text != want {
					return fmt.Errorf("%s says %q in %s, want %q", p.Name, text, d, want)
				}
			}
		}
		return nil
	})
}

// TestCitusProxyPort: a worker's connection pooler takes what other nodes send to the worker. pg_dist_poolinfo has its address on every node and in every database, under
// the id that the node has there, and changes with the primary: to the new one's own pooler, or to none.
func TestCitusProxyPort(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	for _, name := range []string{"coord0a", "worker1a", "worker1b", "worker2a"} {
		c.Place(name)
	}
	pooled := map[string]*pooler{"worker1a": newPooler(t, c.Node("worker1a")), "worker1b": newPooler(t, c.Node("worker1b"))}
	c.Node("coord0a").CreateCitus("coordinator")
	for name, p := range pooled {
		c.Node(name).CreateCitus("worker", "--group", "1", "--proxyport", fmt.Sprint(p.port))
	}
	c.Node("worker2a").CreateCitus("worker", "--group", "2")
	c.AwaitGroups(2*time.Minute, 1)
	knows(c, cluster.CitusDatabase, 0, 1, 2)
	c.Node("coord0a").Autoctl("create", "database", "shop")
	databases := []string{cluster.CitusDatabase, "shop"}
	where := func() (string, *pooler) {
		p, _ := c.Serving(1)
		return fmt.Sprintf("1|host=%s port=%d", p.Addr, pooled[p.Name].port), pooled[p.Name]
	}
	want, before := where()
	pools(c, databases, want)
	coordinator := c.Node("coord0a")
	coordinator.Citus("create table t (id int primary key, v int); select create_distributed_table('t', 'id', shard_count => 4)")
	if before.count.Load() == 0 {
		t.Error("nothing went through the pooler")
	}
	c.Command("perform", "failover", "--group", "1")
	knows(c, cluster.CitusDatabase, 0, 1, 2)
	want, after := where()
	pools(c, databases, want)
	had := after.count.Load()
	for _, via := range []string{"coord0a", "worker2a"} {
		c.Node(via).Citus("update t set v = 1")
	}
	if after.count.Load() == had {
		t.Error("nothing went through the new primary's pooler")
	}
	c.AwaitGroups(late, 1)

	t.Log("a pooler that is taken away")
	now, _ := c.Serving(1)
	now.Autoctl("config", "set", "node.proxy_port", "0")
	now.Autoctl("reload")
	pools(c, databases, "")
}
