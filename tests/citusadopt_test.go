package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// skipping is a setup in which pg_hba.conf of the nodes is the user's.
func skipping() cluster.Setup {
	s := cluster.TLS()
	s.Flags = func(n *cluster.Node) []string {
		if n.Name == "monitor" {
			return []string{"--auth", "trust", "--ssl-self-signed"}
		}
		return []string{"--auth", "trust", "--ssl-self-signed", "--skip-pg-hba"}
	}
	return s
}

// TestCitusSkipHBA: nodes whose pg_hba.conf is written by hand. As long as they do not let each other in, activate says who is refused by whom and what to write; then it
// registers them.
func TestCitusSkipHBA(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, skipping())
	coordinator, worker := c.Place("coord0a"), c.Place("worker1a")
	coordinator.CreateCitus("coordinator")
	worker.CreateCitus("worker", "--group", "1")
	c.Wait(patience, cluster.States{"coord0a": cluster.Single, "worker1a": cluster.Single})
	said := coordinator.Refused(cluster.ExitFailed, "activate")
	t.Log(said)
	mentions(t, said, "no pg_hba.conf entry", fmt.Sprintf(`host "%s"`, coordinator.Addr), "hint: every node must admit all nodes", "hostssl citus all")
	for _, n := range []*cluster.Node{coordinator, worker} {
		for _, from := range []*cluster.Node{coordinator, worker} {
			n.Admit(fmt.Sprintf("hostssl %s all %s/32 trust", cluster.CitusDatabase, from.Addr))
		}
	}
	t.Log(coordinator.Autoctl("activate"))
	knows(c, cluster.CitusDatabase, 0, 1)
	coordinator.Citus("create table t (id int primary key); select create_distributed_table('t', 'id', shard_count => 4)")
	worker.Citus("insert into t select generate_series(1, 10)")
	worker.Autoctl("activate") // from anywhere, again and again
}

// TestCitusCertificates: nodes that know each other by their servers' certificates alone, through a failover of a worker. A role of an application's own needs a certificate
// with its name, of which Citus is told.
func TestCitusCertificates(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	a := newAuthority(t)
	pem := map[string]string{}
	for _, name := range []string{"autoctl_node", "report"} {
		pem[name+".crt"], pem[name+".key"] = a.issue(name, time.Hour)
	}
	for name, content := range pem {
		if err := os.WriteFile(filepath.Join(a.Dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	own := fmt.Sprintf("sslrootcert=%s sslcert=%s sslkey=%s", a.File, filepath.Join(a.Dir, "autoctl_node.crt"), filepath.Join(a.Dir, "autoctl_node.key"))
	c := cluster.NewWith(t, cluster.Setup{
		Options: "sslmode=verify-full&" + strings.ReplaceAll(own, " ", "&"),
		Flags: func(n *cluster.Node) []string {
			return append([]string{"--auth", "cert"}, a.server(n, "verify-full")...)
		},
	})
	run := func(sql string) []string {
		t.Helper()
		rows, err := tryIn(t.Context(), c.Node("coord0a"), cluster.CitusDatabase, sql, own)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return rows
	}
	coordinator := c.Place("coord0a")
	coordinator.CreateCitus("coordinator")
	for _, name := range []string{"worker1a", "worker1b"} {
		c.Place(name).CreateCitus("worker", "--group", "1")
	}
	c.AwaitGroups(2*time.Minute, 1)
	knowsBy(c, own, cluster.CitusDatabase, 0, 1)
	run("create table t (id int primary key)")
	run("select create_distributed_table('t', 'id', shard_count => 4)")
	run("insert into t select generate_series(1, 100)")
	c.Command("perform", "failover", "--group", "1")
	knowsBy(c, own, cluster.CitusDatabase, 0, 1)
	c.AwaitGroups(late, 1)
	if got := run("select count(*) from t"); got[0] != "100" {
		t.Errorf("the coordinator counts %v rows", got)
	}

	t.Log("a role of an application's own")
	info := fmt.Sprintf("sslcert=%s sslkey=%s", coordinator.WriteFile("report.crt", pem["report.crt"], 0o644), coordinator.WriteFile("report.key", pem["report.key"], 0o600))
	run("create role report login")
	run("grant select on t to report")
	count := func() (n int, err error) {
		conn, err := connectIn(t.Context(), coordinator, cluster.CitusDatabase, own)
		if err != nil {
			return 0, err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		if _, err := conn.Exec(t.Context(), "set session authorization report"); err != nil {
			return 0, err
		}
		err = conn.QueryRow(t.Context(), "select count(*) from t").Scan(&n)
		return n, err
	}
	if _, err := count(); err == nil {
		t.Error("the role is let in with the node's own certificate")
	} else {
		t.Log(err)
	}
	run(fmt.Sprintf("insert into pg_dist_authinfo (nodeid, rolename, authinfo) values (0, 'report', '%s')", info))
	if n, err := count(); err != nil || n != 100 {
		t.Errorf("the role counts %d rows: %v", n, err)
	}
}

// TestCitusAdoption takes over a Citus cluster that was made by hand, while it runs: a coordinator that is no node of its own metadata, or is under another name, and two
// workers, whose groups are what they were. Who is named wrong is refused, and nothing of the data moves.
func TestCitusAdoption(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	setup := cluster.Setup{}
	c := cluster.NewWith(t, setup)
	names := []string{"coord", "first", "second"}
	for _, name := range names {
		n := c.Place(name)
		byHand(t, n, "--data-checksums", "shared_preload_libraries = 'citus'", "citus.node_conninfo = 'sslmode=disable'", "max_prepared_transactions = 50")
		start(t, n)
		plainly(t, n, "postgres", "create database citus")
		plainly(t, n, cluster.CitusDatabase, "create extension citus")
	}
	coord, first, second := c.Node("coord"), c.Node("first"), c.Node("second")
	// The order and the numbers are not those that the monitor would give.
	plainly(t, coord, cluster.CitusDatabase, fmt.Sprintf("select citus_add_node('%s', %d, groupid => 7)", first.Addr, first.Port))
	plainly(t, coord, cluster.CitusDatabase, fmt.Sprintf("select citus_add_node('%s', %d, groupid => 4)", second.Addr, second.Port))
	plainly(t, coord, cluster.CitusDatabase, "create table t (id int primary key); select create_distributed_table('t', 'id', shard_count => 8); insert into t select generate_series(1, 100)")
	ids := plainly(t, coord, cluster.CitusDatabase, "select nodeid, groupid from pg_dist_node where groupid > 0 order by 1")
	placed := plainly(t, coord, cluster.CitusDatabase, "select shardid, groupid from pg_dist_placement order by 1")

	create := func(n *cluster.Node, role string, flags ...string) []string {
		args := n.CreateArgs()
		args[1] = role
		return append(args, flags...)
	}
	mentions(t, coord.Refused(cluster.ExitPrecondition, create(coord, "worker")...), "belongs to the coordinator", "autoctl create coordinator")
	mentions(t, first.Refused(cluster.ExitPrecondition, create(first, "coordinator", "--dbname", cluster.CitusDatabase)...), "in group 7", "autoctl create worker --group 7")
	mentions(t, first.Refused(cluster.ExitPrecondition, create(first, "worker", "--group", "1")...), "belongs to group 7", "--group 7")
	coord.CreateCitus("coordinator")
	c.Wait(late, cluster.States{"coord": cluster.Single})
	c.Await(late, "show citus shows the workers as foreign", func(context.Context) error {
		if text := coord.Autoctl("show", "citus"); strings.Count(text, "left alone") < 2 {
			return fmt.Errorf("it says\n%s", text)
		}
		return nil
	})
	if got := plainly(t, coord, cluster.CitusDatabase, "select count(*) from t"); got[0] != "100" {
		t.Errorf("the coordinator counts %v rows", got)
	}
	first.CreateCitus("worker")
	second.CreateCitus("worker", "--group", "4")
	c.Wait(late, cluster.States{"coord": cluster.Single, "first": cluster.Single, "second": cluster.Single})
	for name, group := range map[string]int{"first": 7, "second": 4} {
		if got := c.Info(name).Group; got != group {
			t.Errorf("%s is in group %d, want %d", name, got, group)
		}
	}
	c.Await(late, "all is as it should be", func(context.Context) error {
		return asWanted(coord.Autoctl("show", "citus"))
	})
	for what, pair := range map[string][2][]string{
		"node ids":   {ids, plainly(t, coord, cluster.CitusDatabase, "select nodeid, groupid from pg_dist_node where groupid > 0 order by 1")},
		"placements": {placed, plainly(t, coord, cluster.CitusDatabase, "select shardid, groupid from pg_dist_placement order by 1")},
	} {
		if strings.Join(pair[0], ",") != strings.Join(pair[1], ",") {
			t.Errorf("the %s were %v and are %v", what, pair[0], pair[1])
		}
	}
	standby := c.Place("standby")
	standby.CreateCitus("worker", "--group", "7")
	c.AwaitGroups(2*time.Minute, 7)
	c.Command("perform", "failover", "--group", "7")
	c.Await(late, "the coordinator finds all rows", func(ctx context.Context) error {
		got, err := tryPlain(ctx, coord, cluster.CitusDatabase, "select count(*) from t")
		if err == nil && got[0] != "100" {
			t.Errorf("the coordinator counts %v rows", got)
		}
		return err
	})
}

// asWanted is an error while show citus shows a difference.
func asWanted(text string) error {
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		cells := strings.Split(line, "|")
		if i >= 2 && (len(cells) < 6 || strings.TrimSpace(cells[5]) != "" || strings.TrimSpace(cells[4]) != "all") {
			return fmt.Errorf("show citus says:\n%s", text)
		}
	}
	return nil
}

// tryPlain is tryIn without TLS.
func tryPlain(ctx context.Context, n *cluster.Node, database, sql string) ([]string, error) {
	return tryIn(ctx, n, database, sql, "sslmode=disable")
}

// plainly is in without TLS.
func plainly(t *testing.T, n *cluster.Node, database, sql string) []string {
	t.Helper()
	rows, err := tryPlain(t.Context(), n, database, sql)
	if err != nil {
		t.Fatalf("%s in %s on %s: %v", sql, database, n.Name, err)
	}
	return rows
}
