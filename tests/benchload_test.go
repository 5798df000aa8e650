package tests

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/cluster"
)

// tables is how many tables the benchmark with many of them creates: AUTOCTL_BENCH_TABLES, or 10,000.
func tables() int { return positive("AUTOCTL_BENCH_TABLES", 10_000) }

// gigabytes is how large the data directory of the benchmark with much data is: AUTOCTL_BENCH_DATA, or 1.
func gigabytes() int { return positive("AUTOCTL_BENCH_DATA", 1) }

// positive is the number in a variable of the environment, or another where there is none.
func positive(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// burden is something that may make servers slow to stop, to recover or to be promoted.
type burden struct {
	name string
	// settings are PostgreSQL's, in force on every node from a restart on.
	settings []string
	// once is done before the first fault, each before every one; it returns what ends it.
	once func(*testing.B, *cluster.Cluster)
	each func(*testing.B, *cluster.Cluster) (end func())
}

func burdens() []burden {
	return []burden{
		{name: "500 connections", settings: []string{"max_connections = 700"}, each: hold500},
		{name: fmt.Sprintf("%d tables", tables()), settings: []string{"max_locks_per_transaction = 256"}, once: createTables},
		{name: fmt.Sprintf("%d GB of data", gigabytes()), settings: []string{"max_wal_size = '2GB'"}, once: load},
		{name: "400 MB dirty", settings: []string{"shared_buffers = '512MB'", "checkpoint_timeout = '1h'", "max_wal_size = '8GB'"}, once: fill, each: dirty},
	}
}

// BenchmarkGapUnder measures the gaps of a switchover and of a killed postmaster as BenchmarkGap does, under burdens.
func BenchmarkGapUnder(b *testing.B) {
	for _, load := range burdens() {
		b.Run(strings.ReplaceAll(load.name, " ", "_"), func(b *testing.B) {
			c := cluster.New(b)
			c.Lab.NeedLinks()
			c.AddAll("n1", "n2")
			c.Command("set", "formation", "settings", "failover_limit=1000")
			reconfigure(b, c, load.settings)
			if load.once != nil {
				load.once(b, c)
			}
			for _, what := range []string{"planned switchover", "postmaster killed"} {
				inject := func(p *cluster.Node) func() {
					if what == "postmaster killed" {
						p.KillPostmaster()
					} else {
						c.Failover()
					}
					return nil
				}
				var gaps times
				for range runs() {
					settle(b, c)
					end := func() {}
					if load.each != nil {
						end = load.each(b, c)
					}
					gap, _ := measure(b, c, inject, false)
					end()
					gaps = append(gaps, gap)
				}
				gaps.report(b, what+", "+load.name)
			}
		})
	}
}

// reconfigure sets parameters on every node and has each server started once over them.
func reconfigure(b *testing.B, c *cluster.Cluster, settings []string) {
	b.Helper()
	for _, name := range []string{"n1", "n2"} {
		for _, s := range settings {
			c.Node(name).SQL("alter system set " + s)
		}
	}
	for range 2 {
		c.Failover()
		settle(b, c)
	}
}

// hold500 opens sessions on the primary, which its end closes.
func hold500(b *testing.B, c *cluster.Cluster) (end func()) {
	b.Helper()
	cfg, err := pgx.ParseConfig(c.ServiceURI(c.PrimaryNode().Name))
	if err != nil {
		b.Fatal(err)
	}
	cfg.DialFunc = c.Lab.Dial
	var held []*pgx.Conn
	for range 500 {
		conn, err := pgx.ConnectConfig(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		held = append(held, conn)
	}
	return func() {
		for _, conn := range held {
			_ = conn.Close(context.WithoutCancel(b.Context())) // most have been ended by their server
		}
	}
}

// Each statement of these is short: a query of the cluster's has 10 s.

func createTables(b *testing.B, c *cluster.Cluster) {
	b.Helper()
	const batch = 250
	p := c.PrimaryNode()
	for done := 0; done < tables(); done += batch {
		p.SQL(fmt.Sprintf(`do $$ begin for i in 1..%d loop execute format('create table burden_%%s (id int)', %d + i); end loop; end $$`, batch, done))
	}
}

func load(b *testing.B, c *cluster.Cluster) {
	b.Helper()
	p := c.PrimaryNode()
	p.SQL("create table bulk (filler text)")
	p.SQL("alter table bulk alter filler set storage plain")
	for range gigabytes() * 20 { // 50 MB at a time
		p.SQL("insert into bulk select repeat('x', 7900) from generate_series(1, 6400) i")
	}
	settle(b, c)
}

// The table of the burden of a dirty cache: so many rows of 1 kB.
const (
	burdenRows  = 350_000
	burdenBatch = 17_500
)

func fill(b *testing.B, c *cluster.Cluster) {
	b.Helper()
	p := c.PrimaryNode()
	p.SQL("create table burden (id int primary key, hits int not null, filler text) with (fillfactor = 90)")
	for from := 0; from < burdenRows; from += burdenBatch {
		p.SQL(fmt.Sprintf("insert into burden select i, 0, repeat('x', 1000) from generate_series(%d, %d) i", from, from+burdenBatch-1))
	}
	settle(b, c)
}

// dirty changes every page of the table, so that the cache is full of what a checkpoint would have to write.
func dirty(b *testing.B, c *cluster.Cluster) (end func()) {
	b.Helper()
	p := c.PrimaryNode()
	for from := 0; from < burdenRows; from += burdenBatch {
		p.SQL(fmt.Sprintf("update burden set hits = hits + 1 where id %% 7 = 0 and id between %d and %d", from, from+burdenBatch-1))
	}
	return func() {}
}

// BenchmarkFastForward measures an election whose preferred candidate lacks what another standby has.
func BenchmarkFastForward(b *testing.B) {
	c := cluster.New(b)
	c.Lab.NeedLinks()
	c.AddAll("n1", "n2", "n3")
	c.Command("set", "formation", "settings", "failover_limit=1000", "replication_stall_after=60s")
	var gaps times
	for range runs() {
		settle(b, c)
		p := c.PrimaryNode()
		behind := c.Node(heirsOf(c, p)[0])
		c.SetPriority(behind.Name, 90)
		gap, _ := measure(b, c, func(p *cluster.Node) func() {
			c.Lab.CutLink(p.Host, behind.Host)
			p.SQL("select pg_logical_emit_message(true, 'bench', repeat('x', 1000000))")
			p.KillPostmaster()
			return c.Lab.Heal
		}, false)
		gaps = append(gaps, gap)
		c.SetPriority(behind.Name, 50)
	}
	forwards := 0
	for _, e := range c.Events(0) {
		if e.Kind == "goal" && e.Assigned == "fast_forward" {
			forwards++
		}
	}
	if forwards < runs() {
		b.Errorf("%d of %d elections passed through fast_forward", forwards, runs())
	}
	gaps.report(b, "postmaster killed, with a fast_forward")
}

// BenchmarkRejoin measures how long a former primary whose log has left the group's history takes, under load, to be a secondary again: by a rewind.
func BenchmarkRejoin(b *testing.B) {
	c := cluster.New(b)
	c.Lab.NeedLinks()
	c.AddAll("n1", "n2")
	c.Command("set", "formation", "settings", "failover_limit=1000")
	var spans times
	for range runs() {
		settle(b, c)
		p := c.PrimaryNode()
		w := c.Writer()
		p.Cut()
		c.Await(late, "another primary", func(context.Context) error {
			if g, err := c.TryGroup(); err != nil || g.Election != nil || c.Info(p.Name).Assigned.Serves() {
				return fmt.Errorf("the group still has its old primary: %w", err)
			}
			return nil
		})
		c.Writes(w, late)
		began := time.Now()
		p.Heal()
		settle(b, c)
		spans = append(spans, time.Since(began))
		c.Verify(w)
	}
	rewound := 0
	for _, name := range []string{"n1", "n2"} {
		log, err := os.ReadFile(c.Node(name).Log())
		if err != nil {
			b.Fatal(err)
		}
		rewound += strings.Count(string(log), "rewind ended")
		if strings.Count(string(log), `"step":"copy"`) > 1 {
			b.Error("a copy was made instead of a rewind")
		}
	}
	b.Logf("%d rewinds in %d rejoins", rewound, len(spans))
	spans.report(b, "old primary a secondary again, by rewind")
}
