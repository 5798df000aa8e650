package tests

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusQuickStart replays the tutorial of docs/citus-quickstart.md: two coordinators and six workers, created all at once; a failover of a worker group while
// clients read and write through the coordinator and through another worker; a distributed table; a worker and then the coordinator lose a file without which
// PostgreSQL does not start, are replaced, and heal by themselves.
func TestCitusQuickStart(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := cluster.NewWith(t, cluster.TLS())
	began := time.Now()
	for _, name := range []string{"coord0a", "coord0b"} {
		c.Place(name)
	}
	for g := 1; g <= 3; g++ {
		for _, half := range []string{"a", "b"} {
			name := fmt.Sprintf("worker%d%s", g, half)
			c.Place(name).CreateCitus("worker", "--group", fmt.Sprint(g)) // before there is a coordinator
		}
	}
	c.Node("coord0a").CreateCitus("coordinator")
	c.Node("coord0b").CreateCitus("coordinator")
	c.AwaitGroups(2*time.Minute, 0, 1, 2, 3)
	t.Logf("eight nodes stable after %v", time.Since(began).Round(100*time.Millisecond))
	awaitWorkers(c, 1, 2, 3)
	t.Logf("show state:\n%s", c.Command("show", "state"))
	t.Logf("show uri:\n%s", c.Command("show", "uri"))
	primary, standby := c.Serving(0)
	uri := c.Command("show", "uri", "--formation", cluster.Formation)
	want := fmt.Sprintf("%s:%d,%s:%d/%s?", primary.Addr, primary.Port, standby.Addr, standby.Port, cluster.CitusDatabase)
	if !strings.Contains(uri, want) || !strings.Contains(uri, "target_session_attrs=read-write") {
		t.Errorf("the URI of the formation is not that of its coordinators, %s:\n%s", want, uri)
	}
	auto := strings.Join(primary.Citus("select count(*) from pg_file_settings where sourcefile like '%postgresql.auto.conf'"), "")
	if auto != "0" {
		t.Errorf("%s settings in postgresql.auto.conf, want none: a base backup would copy them", auto)
	}
	loadCompanies(t, primary)

	t.Run("failover", func(t *testing.T) { citusFailover(t, c) })
	t.Run("worker", func(t *testing.T) { citusBroken(t, c, 1) })
	t.Run("coordinator", func(t *testing.T) { citusBroken(t, c, 0) })
	primary, _ = c.Serving(0)
	t.Logf("show citus:\n%s", primary.Autoctl("show", "citus"))
	if left := primary.Citus("select * from run_command_on_all_nodes('select count(*) from pg_prepared_xacts')"); !allSay(left, "0") {
		t.Errorf("prepared transactions are left: %v", left)
	}
}

func allSay(rows []string, what string) bool {
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(r string) bool { return !strings.HasSuffix(r, "|"+what) })
}

// awaitWorkers waits until the coordinator's active workers are the primaries of the groups, and everybody says the same.
func awaitWorkers(c *cluster.Cluster, groups ...int) {
	c.Await(soon, "the workers are registered everywhere", func(context.Context) error {
		var want []string
		for _, g := range groups {
			p, _ := c.Serving(g)
			want = append(want, fmt.Sprintf("%s|%d", p.Addr, p.Port))
		}
		slices.Sort(want)
		for _, g := range append([]int{0}, groups...) {
			p, _ := c.Serving(g)
			have, err := p.TryCitus("select node_name, node_port from citus_get_active_worker_nodes() order by 1, 2")
			if err != nil {
				return err
			}
			slices.Sort(have)
			if !slices.Equal(have, want) {
				return fmt.Errorf("%s knows %v, want %v", p.Name, have, want)
			}
		}
		return nil
	})
}

// companies is how many rows the tutorial loads.
const companies = 75

func loadCompanies(t *testing.T, coordinator *cluster.Node) {
	t.Helper()
	coordinator.Citus(`create table companies (id bigserial primary key, name text not null, image_url text, created_at timestamp not null, updated_at timestamp not null)`)
	coordinator.Citus(`select create_distributed_table('companies', 'id')`)
	coordinator.Citus(fmt.Sprintf(`insert into companies (name, image_url, created_at, updated_at)
		select 'company ' || g, 'https://example.com/' || g, now(), now() from generate_series(1, %d) g`, companies))
	counts(t, coordinator)
}

func counts(t *testing.T, n *cluster.Node) {
	t.Helper()
	if got := n.Citus("select count(*) from companies"); !slices.Equal(got, []string{fmt.Sprint(companies)}) {
		t.Errorf("%s counts %v companies, want %d", n.Name, got, companies)
	}
}

// citusFailover moves group 2 while clients work through the coordinator and through another worker: none of them sees an error.
func citusFailover(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	coordinator, _ := c.Serving(0)
	other, _ := c.Serving(1)
	before, _ := c.Serving(2)
	ctx, stop := context.WithCancel(t.Context())
	load := &citusLoad{}
	for _, via := range []*cluster.Node{coordinator, other} {
		for kind := range citusWork {
			load.start(ctx, via, kind)
		}
	}
	c.Await(soon, "all clients work", func(context.Context) error { return load.working() })
	trace := c.Command("perform", "failover", "--group", "2")
	c.Await(soon, "all clients work again", func(context.Context) error { return load.working() })
	stop()
	load.wait()
	t.Logf("perform failover --group 2:\n%s", trace)
	t.Logf("%d statements, the longest took %v", load.done, load.longest.Round(time.Millisecond))
	for _, err := range load.errs {
		t.Errorf("a client saw: %v", err)
	}
	after, _ := c.Serving(2)
	if after.Name == before.Name {
		t.Errorf("%s still serves group 2", after.Name)
	}
	for _, want := range [][2]string{{before.Name, "draining"}, {after.Name, "prepare_promotion"}, {after.Name, "wait_primary"}, {before.Name, "demoted"}, {before.Name, "catchingup"},
		{before.Name, "secondary"}, {after.Name, "primary"}} {
		if !slices.ContainsFunc(strings.Split(trace, "\n"), func(l string) bool {
			return strings.Contains(l, want[0]) && strings.HasSuffix(strings.TrimSpace(l), want[1])
		}) {
			t.Errorf("the trace does not show %s becoming %s", want[0], want[1])
		}
	}
	c.AwaitGroups(late, 2)
	awaitWorkers(c, 1, 2, 3)
	counts(t, coordinator)
}

// citusBroken takes a group's primary the file without which it does not start: the other node takes over, the rows are all there, and it heals by itself.
func citusBroken(t *testing.T, c *cluster.Cluster, group int) {
	t.Helper()
	before, standby := c.Serving(group)
	t.Logf("%s loses pg_control", before.Name)
	before.BreakPgControl()
	before.KillPostmaster()
	c.Await(late, standby.Name+" serves", func(context.Context) error { return serves(c, standby.Name) })
	c.AwaitGroups(2*time.Minute, 0, 1, 2, 3)
	awaitWorkers(c, 1, 2, 3)
	coordinator, _ := c.Serving(0)
	counts(t, coordinator)
	other, _ := c.Serving(2)
	counts(t, other)
	if info := c.Info(before.Name); info.Timeline != c.Info(standby.Name).Timeline {
		t.Errorf("%s is on timeline %d", before.Name, info.Timeline)
	}
}

// citusWork is what clients do: single statements, queries, and transactions over several groups.
var citusWork = [][]string{
	{"update companies set updated_at = now() where id = %d"},
	{"select * from companies where id = %d", "select count(*) from companies where id >= %d"},
	{"begin", "update companies set updated_at = now() where id = %d", "update companies set updated_at = now() where id = %d", "commit"},
}

// citusLoad is a set of clients.
type citusLoad struct {
	group sync.WaitGroup

	mu      sync.Mutex // guards what follows
	done    int
	rounds  map[string]int
	longest time.Duration
	errs    []error
	seen    map[string]int
}

func (l *citusLoad) start(ctx context.Context, via *cluster.Node, kind int) {
	name := fmt.Sprintf("%s, work %d", via.Name, kind)
	l.group.Go(func() {
		if err := l.run(ctx, via, kind, name); err != nil && ctx.Err() == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.errs = append(l.errs, fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (l *citusLoad) run(ctx context.Context, via *cluster.Node, kind int, name string) error {
	conn, err := via.ConnectCitus(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i := 0; ctx.Err() == nil; i++ {
		for step, text := range citusWork[kind] {
			began := time.Now()
			if strings.Contains(text, "%d") {
				text = fmt.Sprintf(text, 1+(i+step*7+kind*25)%companies)
			}
			if _, err := conn.Exec(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
			l.note(name, time.Since(began))
		}
	}
	return nil
}

func (l *citusLoad) note(name string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rounds == nil {
		l.rounds, l.seen = map[string]int{}, map[string]int{}
	}
	l.done++
	l.rounds[name]++
	l.longest = max(l.longest, took)
}

// working returns nil when each client has done something since it was last asked.
func (l *citusLoad) working() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	if len(l.errs) > 0 {
		return nil // told at the end
	}
	if len(l.rounds) < 2*len(citusWork) {
		return errors.New("not all have begun")
	}
	for name, n := range l.rounds {
		if n <= l.seen[name] {
			errs = append(errs, fmt.Errorf("%s does nothing", name))
		}
	}
	if len(errs) == 0 {
		maps.Copy(l.seen, l.rounds)
	}
	return errors.Join(errs...)
}

func (l *citusLoad) wait() { l.group.Wait() }
