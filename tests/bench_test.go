package tests

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// runs is how often each fault is measured: AUTOCTL_BENCH_RUNS, or 5.
func runs() int { return positive("AUTOCTL_BENCH_RUNS", 5) }

// times are the results of one fault.
type times []time.Duration

// report prints median and spread, and hands the median to the benchmark.
func (ts times) report(b *testing.B, what string) {
	b.Helper()
	slices.Sort(ts)
	median := ts[len(ts)/2]
	b.Logf("%-48s median %6.2f s   spread %.2f .. %.2f s   (%d runs)", what,
		median.Seconds(), ts[0].Seconds(), ts[len(ts)-1].Seconds(), len(ts))
	b.ReportMetric(median.Seconds(), "s/gap")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkGap measures, for each fault, the longest time without an
// acknowledged write as four clients see it that write one row at a time by the
// multi-host URI, with the default timings. No acknowledged row may be lost.
func BenchmarkGap(b *testing.B) {
	for _, nodes := range []int{2, 3, 5} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) { benchmarkGaps(b, nodes) })
	}
}

func benchmarkGaps(b *testing.B, nodes int) {
	b.Helper()
	c := cluster.New(b)
	c.Lab.NeedLinks()
	c.AddAll([]string{"n1", "n2", "n3", "n4", "n5"}[:nodes]...)
	// The one setting that is not the default: so many failures in a row count as
	// poison otherwise, and the group would restart in place.
	c.Command("set", "formation", "settings", "failover_limit=1000")
	faults := []struct {
		name   string
		inject func(primary *cluster.Node) (repair func())
		// heir says that a client which knows only the other nodes is watched too.
		heir bool
	}{
		{"planned switchover", func(*cluster.Node) func() { c.Failover(); return nil }, false},
		{"postmaster killed", func(p *cluster.Node) func() { p.KillPostmaster(); return nil }, false},
		{"postmaster killed, cannot be restarted", func(p *cluster.Node) func() { repair := p.BreakConfig(); p.KillPostmaster(); return repair }, false},
		{"host cut off, as clients see it", func(p *cluster.Node) func() { p.Cut(); return p.Heal }, true},
	}
	for _, f := range faults {
		b.Run(strings.ReplaceAll(f.name, " ", "_"), func(b *testing.B) {
			var gaps, writable times
			for range runs() {
				gap, first := measure(b, c, f.inject, f.heir)
				gaps, writable = append(gaps, gap), append(writable, first)
			}
			if f.heir {
				writable.report(b, "host cut off, until the new primary is writable")
			}
			gaps.report(b, f.name)
		})
	}
}

// measure injects one fault under load and returns the longest gap that the
// clients saw, and with heir how long after the fault a client that knows only
// the other nodes had its first acknowledgement.
func measure(b *testing.B, c *cluster.Cluster, inject func(*cluster.Node) func(), heir bool) (gap, writable time.Duration) {
	b.Helper()
	settle(b, c)
	primary := c.PrimaryNode()
	w := c.Writer()
	ctx, cancel := context.WithTimeout(b.Context(), late)
	defer cancel()
	heirs := c.ServiceURI(heirsOf(c, primary)...)
	began := w.Elapsed()
	first := make(chan time.Duration, 1)
	go func() {
		if heir && ledger.Probe(ctx, heirs, c.Lab.Dial) == nil {
			first <- w.Elapsed() - began
		}
		close(first)
	}()
	repair := inject(primary)
	writable = <-first
	for range 4 {
		c.Writes(w, late)
	}
	gap = w.LongestGap(began).Length
	if repair != nil {
		repair()
	}
	settle(b, c)
	c.Verify(w)
	return gap, writable
}

// settle waits until all nodes are back, and for longer than a member that
// comes and goes is held off.
func settle(b *testing.B, c *cluster.Cluster) {
	b.Helper()
	c.Await(2*time.Minute, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Right(late)
}

func heirsOf(c *cluster.Cluster, primary *cluster.Node) []string {
	var names []string
	for _, n := range c.Group().Nodes {
		if n.Name != primary.Name {
			names = append(names, n.Name)
		}
	}
	return names
}

// BenchmarkCreate measures the time from "create monitor" to a primary and a
// secondary.
func BenchmarkCreate(b *testing.B) {
	var all times
	for range runs() {
		began := time.Now()
		c := cluster.New(b)
		c.Add("n1")
		c.Add("n2")
		c.Await(late, "primary and secondary", func(context.Context) error {
			if err := recovered(c); err != nil {
				return err
			}
			if n := len(c.Group().Nodes); n != 2 {
				return fmt.Errorf("%d nodes", n)
			}
			return nil
		})
		all = append(all, time.Since(began))
		for _, n := range []*cluster.Node{c.Monitor, c.Node("n1"), c.Node("n2")} {
			n.Crash()
		}
	}
	all.report(b, "create monitor and two nodes")
}

// BenchmarkIdle measures what a keeper costs when nothing happens: its share of
// a core, and its resident memory.
func BenchmarkIdle(b *testing.B) {
	c := cluster.New(b)
	c.AddAll("n1", "n2")
	settle(b, c)
	n := c.Node("n1")
	const span = 20 * time.Second
	before := cpuTime(b, n.PID())
	timer := time.NewTimer(span)
	<-timer.C
	share := float64(cpuTime(b, n.PID())-before) / float64(span)
	memory := residentMemory(b, n.PID())
	b.Logf("an idle keeper: %.2f %% of a core, %d MiB", 100*share, memory>>20)
	b.ReportMetric(100*share, "%core")
	b.ReportMetric(float64(memory>>20), "MiB")
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what a process has used in user and system mode; the kernel counts
// in hundredths of a second.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func residentMemory(b *testing.B, pid int) int {
	b.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
