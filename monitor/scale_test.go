package monitor

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// BenchmarkScale measures what a monitor with many groups of two nodes costs, and how fast it is with them: AUTOCTL_BENCH_GROUPS, or 50 and 500. The
// monitor is a process of its own with a durable PostgreSQL; the keepers are pretended, all in the benchmark's process, each with the two connections and
// the heartbeats of a real one.
func BenchmarkScale(b *testing.B) {
	counts := []int{50, 500}
	if n, err := strconv.Atoi(os.Getenv("AUTOCTL_BENCH_GROUPS")); err == nil && n > 0 {
		counts = []int{n}
	}
	for _, groups := range counts {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			s := newScale(b, groups)
			s.settle()
			s.idle(20 * time.Second)
			s.failovers(60)
			s.reports(10 * time.Second)
			b.ReportMetric(0, "ns/op")
		})
	}
}

// scale is a monitor and its many pretended keepers; keepers 2i and 2i+1 are group i.
type scale struct {
	b       *testing.B
	bench   *bench
	daemon  *exec.Cmd
	world   *world
	keepers []*keeper
	moved   atomic.Uint64 // added to each position that is reported
}

func newScale(b *testing.B, groups int) *scale {
	b.Helper()
	s := &scale{b: b, bench: newBench(b), world: newWorld()}
	s.bench.troubled = true
	s.bench.c.Parameters = map[string]string{"max_connections": fmt.Sprint(4*groups + 100)}
	s.bench.create()
	s.daemon = s.bench.spawn(false)
	b.Cleanup(func() { _ = s.daemon.Process.Kill(); _ = s.daemon.Wait() })
	client := s.bench.dial()
	settings := fsm.DefaultSettings()
	settings.FailoverLimit = 1000
	if err := client.SetSettings(b.Context(), settings); err != nil {
		b.Fatal(err)
	}
	for i := range 2 * groups {
		formation := fmt.Sprintf("f%d", i/2)
		if i%2 == 0 {
			if err := client.CreateFormation(b.Context(), monitorapi.Formation{Name: formation, Kind: "pgsql", Database: "postgres"}); err != nil {
				b.Fatal(err)
			}
		}
		s.add(client, formation, i)
	}
	return s
}

func (s *scale) add(client *monitorapi.Client, formation string, i int) {
	s.b.Helper()
	r := registration(i + 1)
	r.Formation = formation
	got, err := client.Register(s.b.Context(), r)
	if err != nil {
		s.b.Fatal(err)
	}
	own, err := monitorapi.New(s.bench.uri(), monitorapi.Options{Software: "test"})
	if err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(own.Close)
	k := &keeper{client: own, id: got.Node, token: r.Token, beat: time.Duration(fsm.DefaultSettings().HeartbeatMS) * time.Millisecond, behave: s.behave}
	s.keepers = append(s.keepers, k)
	k.live(s.bench)
}

// behave reports what the world says, further on in the log each time.
func (s *scale) behave(goal fsm.Goal) fsm.Report {
	r := s.world.obey(goal)
	if r.Server.Status == fsm.ServerRunning && r.Vote == nil {
		r.Position.LSN += fsm.LSN(s.moved.Add(8))
	}
	return r
}

// settle waits until every group has a primary and a secondary.
func (s *scale) settle() {
	s.b.Helper()
	began := time.Now()
	for i := 0; i < len(s.keepers); i += 2 {
		a, b := s.keepers[i], s.keepers[i+1]
		eventually(s.b, fmt.Sprintf("group %d has a primary and a secondary", i/2), func() bool {
			return slices.Contains([]fsm.State{a.present().State, b.present().State}, fsm.StatePrimary) &&
				slices.Contains([]fsm.State{a.present().State, b.present().State}, fsm.StateSecondary)
		})
	}
	s.b.Logf("%d groups stand %.1f s after the last registration", len(s.keepers)/2, time.Since(began).Seconds())
}

// idle measures what heartbeats cost.
func (s *scale) idle(span time.Duration) {
	s.b.Helper()
	conn := s.bench.super()
	wal := func() (at int64) {
		if err := conn.QueryRow(s.b.Context(), `select pg_current_wal_insert_lsn() - '0/0'`).Scan(&at); err != nil {
			s.b.Fatal(err)
		}
		return at
	}
	before, log := s.used(), wal()
	<-time.After(span)
	after := s.used()
	nodes := float64(len(s.keepers))
	s.b.Logf("heartbeats alone: monitor %.1f %% of a core and %d MiB, its PostgreSQL %.1f %% and %d MiB; %.1f MB of WAL a node and day",
		100*share(after.daemon-before.daemon, span), after.daemonMB, 100*share(after.server-before.server, span), after.serverMB,
		float64(wal()-log)/nodes*float64(24*time.Hour/span)/1e6)
}

// failovers lets the server of one group after the other die, and measures from the report to the first goal that the standby hears, and to the one
// that makes it primary.
func (s *scale) failovers(count int) {
	s.b.Helper()
	var first, chosen []time.Duration
	before, began := s.used(), time.Now()
	for n := range count {
		i := n * 7919 % (len(s.keepers) / 2) * 2
		victim, heir := s.keepers[i], s.keepers[i+1]
		if heir.present().State.Serves() {
			victim, heir = heir, victim
		}
		f, c := s.failover(victim, heir)
		first, chosen = append(first, f), append(chosen, c)
	}
	used := s.used()
	s.b.Logf("%d failovers, report to push: p50 %.1f ms, p99 %.1f ms; to the order to serve, the vote between: p50 %.1f ms, p99 %.1f ms; all the while monitor %.1f %% of a core, PostgreSQL %.1f %%",
		count, quantile(first, 0.5), quantile(first, 0.99), quantile(chosen, 0.5), quantile(chosen, 0.99),
		100*share(used.daemon-before.daemon, time.Since(began)), 100*share(used.server-before.server, time.Since(began)))
	s.b.ReportMetric(quantile(first, 0.99), "ms/push-p99")
}

func (s *scale) failover(victim, heir *keeper) (first, chosen time.Duration) {
	s.b.Helper()
	type heard struct {
		at    time.Time
		serve bool
	}
	goals := make(chan heard, 16)
	heir.mu.Lock()
	stamp := heir.goal.Stamp
	heir.hear = func(goal fsm.Goal) {
		if goal.Compare(stamp) > 0 {
			stamp = goal.Stamp
			goals <- heard{time.Now(), goal.State.Serves()}
		}
	}
	heir.mu.Unlock()
	s.world.mu.Lock()
	s.world.crashed[victim.id] = true
	s.world.mu.Unlock()
	began := time.Now()
	victim.report(s.b.Context())
	timeout := time.After(20 * time.Second)
	for chosen == 0 {
		select {
		case h := <-goals:
			if first == 0 {
				first = h.at.Sub(began)
			}
			if h.serve {
				chosen = h.at.Sub(began)
			}
		case <-timeout:
			s.b.Fatal("no failover")
		}
	}
	heir.mu.Lock()
	heir.hear = nil
	heir.mu.Unlock()
	s.world.mu.Lock()
	s.world.crashed[victim.id] = false
	s.world.mu.Unlock()
	victim.report(s.b.Context())
	eventually(s.b, "the group stands again", func() bool {
		return heir.present().State == fsm.StatePrimary && victim.present().State == fsm.StateSecondary
	})
	return first, chosen
}

// reports measures how many reports a second the monitor takes, each with another position, while all nodes listen.
func (s *scale) reports(span time.Duration) {
	s.b.Helper()
	for _, k := range s.keepers {
		k.setMute(true)
	}
	ctx, cancel := context.WithTimeout(s.b.Context(), span)
	defer cancel()
	var count, failed atomic.Int64
	var workers sync.WaitGroup
	const at = 8
	before := s.used()
	for w := range at {
		workers.Go(func() {
			for i := w; ctx.Err() == nil; i = (i + at) % len(s.keepers) {
				k := s.keepers[i]
				r := s.behave(k.present())
				r.Node, r.Token = k.id, k.token
				if _, err := k.client.Report(s.b.Context(), r); err != nil {
					failed.Add(1)
				}
				count.Add(1)
			}
		})
	}
	workers.Wait()
	after := s.used()
	rate := float64(count.Load()) / span.Seconds()
	s.b.Logf("%.0f reports a second, %d failed, with %d listeners: monitor %.0f %% of a core, PostgreSQL %.0f %%, the generator %.0f %%", rate, failed.Load(),
		len(s.keepers), 100*share(after.daemon-before.daemon, span), 100*share(after.server-before.server, span), 100*share(after.own-before.own, span))
	s.b.ReportMetric(rate, "reports/s")
}

// usage is what the processes have used since they began, and use.
type usage struct {
	daemon, server, own time.Duration
	daemonMB, serverMB  int64 // proportional set size
}

func (s *scale) used() usage {
	s.b.Helper()
	f, err := pgserver.ReadPIDFile(s.bench.c.DataDir)
	if err != nil {
		s.b.Fatal(err)
	}
	var u usage
	u.daemon, u.daemonMB = cpu(s.daemon.Process.Pid, false), memory(s.daemon.Process.Pid)
	u.own = cpu(os.Getpid(), false)
	u.server, u.serverMB = cpu(f.PID, true), memory(f.PID)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", f.PID, f.PID))
	if err != nil {
		s.b.Fatal(err)
	}
	for text := range strings.FieldsSeq(string(children)) {
		pid, _ := strconv.Atoi(text)
		u.server += cpu(pid, false)
		u.serverMB += memory(pid)
	}
	u.daemonMB >>= 20
	u.serverMB >>= 20
	return u
}

// cpu is what a process has used; ended adds its children that have ended. The kernel counts in hundredths of a second.
func cpu(pid int, ended bool) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0 // it has ended
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))[11:15]
	if !ended {
		fields = fields[:2]
	}
	var ticks int64
	for _, f := range fields {
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is a process's proportional set size in bytes.
func memory(pid int) int64 {
	rollup, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	for line := range strings.Lines(string(rollup)) {
		if text, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func share(used, span time.Duration) float64 { return used.Seconds() / span.Seconds() }

// quantile returns one in milliseconds.
func quantile(all []time.Duration, q float64) float64 {
	sorted := slices.SortedFunc(slices.Values(all), cmp.Compare[time.Duration])
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Microseconds()) / 1000
}
