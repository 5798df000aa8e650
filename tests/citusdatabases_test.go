package tests

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/cluster"
)

// tryIn runs a statement in a database of a node, over the network, and returns its rows as psql -At prints them. Options are libpq's.
func tryIn(ctx context.Context, n *cluster.Node, database, sql string, options ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := connectIn(ctx, n, database, options...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return cluster.Rows(ctx, conn, sql)
}

func connectIn(ctx context.Context, n *cluster.Node, database string, options ...string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s sslmode=require connect_timeout=2 %s", n.Addr, n.Port, n.User(), strings.Join(options, " ")))
	if err != nil {
		return nil, err
	}
	cfg.Database, cfg.DialFunc, cfg.DefaultQueryExecMode = database, n.Dial, pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, cfg)
}

// in is tryIn for what has to succeed.
func in(t *testing.T, n *cluster.Node, database, sql string) []string {
	t.Helper()
	rows, err := tryIn(t.Context(), n, database, sql)
	if err != nil {
		t.Fatalf("%s in %s on %s: %v", sql, database, n.Name, err)
	}
	return rows
}

// knows waits until every primary of the groups knows all primaries of the groups in the database, and nobody else.
func knows(c *cluster.Cluster, database string, groups ...int) { knowsBy(c, "", database, groups...) }

// knowsBy is knows for a test that needs more of libpq's options to be let in.
func knowsBy(c *cluster.Cluster, options, database string, groups ...int) {
	c.Await(late, fmt.Sprintf("groups %v know each other in database %s", groups, database), func(ctx context.Context) error {
		var want []string
		for _, g := range groups {
			p, _ := c.Serving(g)
			want = append(want, fmt.Sprintf("%d|%s|%d|true|true", g, p.Addr, p.Port))
		}
		for _, g := range groups {
			p, _ := c.Serving(g)
			have, err := tryIn(ctx, p, database, "select groupid, nodename, nodeport, isactive, hasmetadata from pg_dist_node where noderole = 'primary' order by groupid", options)
			if err != nil {
				return err
			}
			if !slices.Equal(have, want) {
				return fmt.Errorf("in %s %s knows %v, want %v", database, p.Name, have, want)
			}
		}
		return nil
	})
}

// citusPairs makes a formation with a pair for each of the groups, the coordinator's included, and waits until all know each other.
func citusPairs(c *cluster.Cluster, groups ...int) {
	for _, g := range groups {
		for _, half := range []string{"a", "b"} {
			if g == 0 {
				c.Place("coord0" + half).CreateCitus("coordinator")
			} else {
				c.Place(fmt.Sprintf("worker%d%s", g, half)).CreateCitus("worker", "--group", fmt.Sprint(g))
			}
		}
	}
	c.AwaitGroups(2*time.Minute, groups...)
	knows(c, cluster.CitusDatabase, groups...)
}

// TestCitusDatabases: a formation with more databases than one, with names that need quoting. Each has node ids of its own, all are moved together when a worker hands
// over or fails, nodes that come later have them, and one that is dropped by hand is no obstacle to the others.
func TestCitusDatabases(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	citusPairs(c, 0, 1)
	const odd = `Odd "name", 'x'`
	more := []string{"shop", odd}
	coordinator, _ := c.Serving(0)
	for _, d := range more {
		t.Log(coordinator.Autoctl("create", "database", d))
		knows(c, d, 0, 1)
	}
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "create", "database", "shop"), "has database", "show citus")
	c.Place("worker2a").CreateCitus("worker", "--group", "2")
	c.Place("worker2b").CreateCitus("worker", "--group", "2")
	c.AwaitGroups(2*time.Minute, 0, 1, 2)
	all := append([]string{cluster.CitusDatabase}, more...)
	for i, d := range all {
		knows(c, d, 0, 1, 2)
		in(t, coordinator, d, fmt.Sprintf("create table t (id int primary key, v int default %d); select create_distributed_table('t', 'id', shard_count => 8)", i))
		in(t, coordinator, d, "insert into t select generate_series(1, 100)")
	}
	mentions(t, c.Command("show", "state"), `Databases: citus, `, "shop")
	t.Log(coordinator.Autoctl("show", "citus"))

	t.Run("planned", func(t *testing.T) { databasesHandOver(t, c, all) })
	t.Run("unplanned", func(t *testing.T) { databasesFailOver(t, c, all, 2) })
	t.Run("coordinator", func(t *testing.T) { databasesFailOver(t, c, all, 0) })
	t.Run("dropped by hand", func(t *testing.T) { databasesDropped(t, c) })
}

// databasesHandOver moves group 1 while clients write in every database through the coordinator and through another worker: none sees an error.
func databasesHandOver(t *testing.T, c *cluster.Cluster, all []string) {
	t.Helper()
	coordinator, _ := c.Serving(0)
	other, _ := c.Serving(2)
	ctx, stop := context.WithCancel(t.Context())
	type client struct {
		name  string
		count chan int
		err   chan error
	}
	var clients []client
	for _, d := range all {
		for _, via := range []*cluster.Node{coordinator, other} {
			cl := client{name: d + " via " + via.Name, count: make(chan int, 1), err: make(chan error, 1)}
			conn, err := connectIn(ctx, via, d)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
				n := 0
				for ctx.Err() == nil {
					if _, err := conn.Exec(context.WithoutCancel(ctx), fmt.Sprintf("update t set v = v + 1 where id = %d", 1+n%100)); err != nil {
						cl.err <- err
						break
					}
					n++
				}
				cl.count <- n
			}()
			clients = append(clients, cl)
		}
	}
	t.Log(c.Command("perform", "failover", "--group", "1"))
	stop()
	for _, cl := range clients {
		if n := <-cl.count; n == 0 {
			t.Errorf("%s did nothing", cl.name)
		}
		select {
		case err := <-cl.err:
			t.Errorf("%s: %v", cl.name, err)
		default:
		}
	}
	for _, d := range all {
		knows(c, d, 0, 1, 2)
	}
	c.AwaitGroups(late, 0, 1, 2)
}

// databasesFailOver kills a group's primary for good: each database of every node learns the new address.
func databasesFailOver(t *testing.T, c *cluster.Cluster, all []string, group int) {
	t.Helper()
	before, standby := c.Serving(group)
	before.BreakPgControl()
	before.KillPostmaster()
	c.Await(late, standby.Name+" serves", func(context.Context) error { return serves(c, standby.Name) })
	for _, d := range all {
		knows(c, d, 0, 1, 2)
		n, _ := c.Serving(1)
		c.Await(soon, "all rows are there in "+d, func(ctx context.Context) error {
			got, err := tryIn(ctx, n, d, "select count(*) from t")
			if err == nil && !slices.Equal(got, []string{"100"}) {
				t.Errorf("%s counts %v rows in %s", n.Name, got, d)
			}
			return err
		})
	}
	c.AwaitGroups(2*time.Minute, 0, 1, 2)
}

// databasesDropped drops a database by hand on all primaries: show citus says so, the rest goes on and can hand over, and drop database ends it.
func databasesDropped(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, g := range []int{0, 1, 2} {
		p, _ := c.Serving(g)
		in(t, p, "postgres", "drop database shop with (force)")
	}
	coordinator, _ := c.Serving(0)
	text := coordinator.Autoctl("show", "citus")
	t.Log(text)
	mentions(t, text, `there is no database "shop"`, "autoctl drop database")
	c.Command("perform", "failover", "--group", "2")
	knows(c, cluster.CitusDatabase, 0, 1, 2)
	c.AwaitGroups(late, 0, 1, 2)
	t.Log(c.Command("drop", "database", "shop"))
	c.Await(soon, "nobody looks for the database any more", func(context.Context) error {
		coordinator, _ := c.Serving(0)
		if text := coordinator.Autoctl("show", "citus"); strings.Contains(text, "shop") {
			return fmt.Errorf("show citus: %s", text)
		}
		return nil
	})
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "drop", "database", cluster.CitusDatabase), "first database")
}
