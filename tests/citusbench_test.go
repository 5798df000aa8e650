package tests

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/bank"
	"github.com/autoctl/autoctl/tests/cluster"
)

// BenchmarkCitusCreate measures the time from "create monitor" to a coordinator and three worker groups that are stable, each with a standby.
func BenchmarkCitusCreate(b *testing.B) {
	cluster.NeedsCitus(b)
	var all times
	for range runs() {
		began, busy := time.Now(), busyCores(b)
		c := cluster.NewWith(b, cluster.TLS())
		monitor := time.Since(began)
		var nodes []*cluster.Node
		for _, half := range []string{"a", "b"} {
			nodes = append(nodes, c.Place("coord0"+half))
			for g := 1; g <= 3; g++ {
				nodes = append(nodes, c.Place(fmt.Sprintf("worker%d%s", g, half)))
			}
		}
		placed := time.Since(began)
		for i, n := range nodes {
			if i%4 == 0 {
				n.CreateCitus("coordinator")
			} else {
				n.CreateCitus("worker", "--group", fmt.Sprint(i%4))
			}
		}
		c.AwaitGroups(2*time.Minute, 0, 1, 2, 3)
		all = append(all, time.Since(began))
		b.Logf("the monitor answers after %.1f s, the hosts are there after %.1f s, all nodes are stable after %.1f s; the machine's cores were busy for %.1f s",
			monitor.Seconds(), placed.Seconds(), time.Since(began).Seconds(), (busyCores(b) - busy).Seconds())
		b.Logf("\n%s", c.Command("show", "events", "--count", "200"))
		for _, n := range append(nodes, c.Monitor) {
			n.Crash()
		}
	}
	all.report(b, "create a monitor, two coordinators, six workers")
}

// busyCores is for how long the cores of the machine together have been busy; the kernel counts in hundredths of a second.
func busyCores(b *testing.B) time.Duration {
	b.Helper()
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	var user, nice, system int64
	if _, err := fmt.Sscanf(string(content), "cpu %d %d %d", &user, &nice, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+nice+system) * 10 * time.Millisecond
}

// BenchmarkCitusGap measures the longest time without a success of clients who write to a worker group and read from it, each through the coordinator and through
// another worker, statement by statement.
func BenchmarkCitusGap(b *testing.B) {
	c := citusFormation(b, 2)
	clients := c.BankOf(bank.Config{Groups: []int{1, 2}, Kinds: []string{"write in group 1", "read in group 1"}, Pause: 5 * time.Millisecond}, 0, 2)
	faults := []struct {
		name   string
		inject func(*cluster.Node) func()
	}{
		{"planned", func(*cluster.Node) func() { c.Command("perform", "failover", "--group", "1"); return nil }},
		{"postmaster killed", func(p *cluster.Node) func() { p.KillPostmaster(); return nil }},
		{"host cut off", func(p *cluster.Node) func() { p.Cut(); return p.Heal }},
	}
	for _, f := range faults {
		b.Run(strings.ReplaceAll(f.name, " ", "_"), func(b *testing.B) {
			pauses := map[string]times{}
			for range runs() {
				c.Await(2*time.Minute, "the groups are whole", func(context.Context) error { return groupsWhole(c, 0, 1, 2) })
				c.Works(clients, late)
				p, heir := c.Serving(1)
				clients.Mark()
				repair := f.inject(p)
				c.Await(late, heir.Name+" serves", func(context.Context) error { return serves(c, heir.Name) })
				c.Works(clients, late)
				for _, l := range clients.Since() {
					name := l.Kind + " through " + l.Via
					pauses[name] = append(pauses[name], l.Pause)
					if f.name == "planned" && l.Failed > 0 {
						b.Errorf("%s: %d errors, such as %v", name, l.Failed, l.First)
					}
				}
				if repair != nil {
					repair()
				}
			}
			b.Logf("where the time went:\n%s", c.Command("show", "events", "--timings", "--group", "1", "--count", "3"))
			for _, via := range []string{"coordinator", "worker 2"} {
				for _, kind := range []string{"read", "write"} {
					name := kind + " in group 1 through " + via
					pauses[name].report(b, f.name+": "+name)
				}
			}
		})
	}
	c.Audit(clients, 0, 1, 2)
}

// groupsWhole is nil when each of the groups has a primary and a secondary, and nothing is in between.
func groupsWhole(c *cluster.Cluster, groups ...int) error {
	for _, number := range groups {
		g := c.GroupOf(number)
		if g == nil || g.Election != nil || len(g.Record) != 1 {
			return fmt.Errorf("group %d is in between", number)
		}
		for _, n := range g.Nodes {
			if n.Reported != n.Assigned || n.Reported != cluster.Primary && n.Reported != cluster.Secondary {
				return fmt.Errorf("%s is %s, assigned %s", n.Name, n.Reported, n.Assigned)
			}
		}
	}
	return nil
}
