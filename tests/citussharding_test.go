package tests

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// services are those of docs/citus-sharding.md: each has a role, a schema of the same name, and the table that it writes to.
var services = []struct{ name, table, insert, size string }{
	{"user", `create table users (id serial primary key, name text not null, email text not null)`,
		`insert into users (name, email) select 'user ' || i, 'user' || i || '@example.com' from generate_series(1, %d) i`, "100"},
	{"time", `create table query_details (id serial primary key, ip_address inet not null, query_time timestamp not null)`,
		`insert into query_details (ip_address, query_time) select '198.18.0.1', now() from generate_series(1, %d) i`, "100"},
	{"ping", `create table ping_results (id serial primary key, host text not null, result text not null)`,
		`insert into ping_results (host, result) select 'host ' || i, repeat('x', 500) from generate_series(1, %d) i`, "30000"},
}

// TestCitusServices tells of three services that share a formation, each with a role and a distributed schema of its own, which live whole on a worker
// each. They write through the coordinator's URI while every group fails over, and while the schemas are rebalanced; each finds its tables by its role's
// name alone, and no row that it was told of is missing.
func TestCitusServices(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	writers := map[string]*ledger.Writer{}
	for _, s := range services {
		p, _ := c.Serving(0)
		p.Citus(fmt.Sprintf(`create role "%s" login`, s.name))
		p.Citus(fmt.Sprintf(`create schema "%[1]s" authorization "%[1]s"`, s.name))
		p.Citus(fmt.Sprintf(`select citus_schema_distribute('"%s"')`, s.name))
		conn := connectAs(ctx, t, c, s.name)
		for _, text := range []string{s.table, strings.Replace(s.insert, "%d", s.size, 1)} {
			if _, err := conn.Exec(ctx, text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		_ = conn.Close(ctx)
		w, err := ledger.Start(ctx, ledger.Config{URI: uriOf(c, s.name), Dial: c.Lab.Dial, File: filepath.Join(c.Lab.Dir(), s.name), Clients: 1, Distributed: true, StatementTimeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		writers[s.name] = w
	}
	all := func() {
		t.Helper()
		for name, w := range writers {
			t.Logf("service %s writes", name)
			c.Writes(w, late)
		}
	}
	all()
	t.Logf("before the rebalance:\n%s", strings.Join(schemas(c), "\n"))

	for _, g := range []int{1, 2, 0} {
		p, _ := c.Serving(g)
		began := map[string]time.Duration{}
		for name, w := range writers {
			began[name] = w.Elapsed()
		}
		p.KillPostmaster()
		all()
		for name, w := range writers {
			t.Logf("group %d failed over: service %s could not write for %v", g, name, w.LongestGap(began[name]).Length.Round(10*time.Millisecond))
		}
		c.AwaitGroups(2*late, 0, 1, 2)
	}
	awaitWorkers(c, 1, 2)
	t.Run("rebalanced", func(t *testing.T) {
		p, _ := c.Serving(0)
		before := schemas(c)
		// By disk size, to which Citus adds 100 MB for each schema: these are smaller.
		if job := p.Citus("select citus_rebalance_start() where set_config('citus.rebalancer_by_disk_size_base_cost', '1MB', false) <> ''"); job[0] != "<nil>" {
			c.Await(2*late, "rebalanced", func(context.Context) error {
				if state := p.Citus("select state from citus_rebalance_status()"); state[0] != "finished" {
					return errors.New(state[0])
				}
				return nil
			})
		}
		all()
		after := schemas(c)
		t.Logf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		alone(t, after)
	})
	for name, w := range writers {
		v, err := w.Verify(ctx, uriOf(c, name))
		if err == nil {
			err = v.Err()
		}
		if err != nil {
			t.Errorf("service %s: %v", name, err)
		}
		t.Logf("service %s: %d rows acknowledged, none missing", name, v.Acknowledged)
	}
}

// alone asserts that the largest schema has a worker of its own.
func alone(t *testing.T, rows []string) {
	t.Helper()
	at := map[string]string{}
	for _, r := range rows {
		name, place, _ := strings.Cut(r, "|")
		at[name] = place
	}
	if at["ping"] == at["user"] || at["ping"] == at["time"] || at["user"] != at["time"] {
		t.Errorf("the schemas are at %v, want the largest alone", at)
	}
}

// schemas says in which group each schema lives.
func schemas(c *cluster.Cluster) []string {
	p, _ := c.Serving(0)
	return p.Citus(`select distinct n.nspname, p.groupid from pg_dist_schema s join pg_namespace n on n.oid = s.schemaid join pg_class k on k.relnamespace = n.oid
		join pg_dist_shard d on d.logicalrelid = k.oid join pg_dist_placement p using (shardid) order by 1`)
}

// uriOf is the formation's URI as show uri prints it, for a role.
func uriOf(c *cluster.Cluster, role string) string {
	return strings.Replace(formationURI(c, "read-write"), "postgres://", "postgres://"+role+"@", 1)
}

// formationURI is the formation's URI of that access, as show uri prints it.
func formationURI(c *cluster.Cluster, access string) string {
	for line := range strings.Lines(c.Command("show", "uri")) {
		if f := strings.Split(line, "|"); len(f) == 4 && strings.TrimSpace(f[0]) == "formation" && strings.TrimSpace(f[2]) == access {
			return strings.TrimSpace(f[3])
		}
	}
	return ""
}

// connectAs opens a session by the formation's URI.
func connectAs(ctx context.Context, t *testing.T, c *cluster.Cluster, role string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(uriOf(c, role))
	if err != nil {
		t.Fatal(err)
	}
	cfg.DialFunc = c.Lab.Dial
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
