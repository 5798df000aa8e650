package inprocess

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/tests/ledger"
)

// burden is what a monitor and its nodes take, all of which must be the same
// after the thirtieth failover as after the second.
type burden struct {
	Slots, HBALines, Connections, Goroutines, Descriptors, Files int
	HeapMB                                                       int
}

// TestThirtyFailovers: thirty failovers in a row, every third by the death of its
// server and the others by order, leave nothing behind: no slot, line of
// pg_hba.conf, connection, goroutine, open or stored file, and no memory.
func TestThirtyFailovers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than 20 s: make scenarios runs it")
	}
	s, a, b := pairAlone(t)
	settings := fsm.DefaultSettings()
	settings.FailoverLimit = 100
	if err := s.client.SetSettings(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	w, err := ledger.Start(t.Context(), ledger.Config{URI: s.service(a, b), File: filepath.Join(s.dir, "journal"), Clients: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	var early, late burden
	primary, standby := a, b
	for i := 1; i <= 30; i++ {
		if i%3 == 0 {
			primary.kill()
		} else {
			s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
		}
		s.states(3*time.Minute, map[string]fsm.State{primary.cfg.Name: fsm.StateSecondary, standby.cfg.Name: fsm.StatePrimary})
		primary, standby = standby, primary
		switch i {
		case 6:
			early = s.lightest(a, b)
		case 30:
			late = s.lightest(a, b)
		}
	}
	t.Logf("after 6: %+v\nafter 30: %+v", early, late)
	for _, m := range []struct {
		what        string
		early, late int
		slack       int // what comes and goes with work that is under way
	}{
		{"replication slots", early.Slots, late.Slots, 0},
		{"lines of pg_hba.conf", early.HBALines, late.HBALines, 0},
		{"connections", early.Connections, late.Connections, 2},
		{"goroutines", early.Goroutines, late.Goroutines, 6},
		{"open files", early.Descriptors, late.Descriptors, 4},
		{"stored files", early.Files, late.Files, 4 + timelineFiles(30-6)},
		{"megabytes of heap", early.HeapMB, late.HeapMB, 8},
	} {
		if m.late > m.early+m.slack {
			t.Errorf("%s grew from %d to %d", m.what, m.early, m.late)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	v, err := w.Verify(ctx, "")
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d writes acknowledged, none missing", v.Acknowledged)
}

// timelineFiles is how many files PostgreSQL itself adds for so many timelines and
// never removes: a history file a timeline, on each of two nodes, and the end of
// the log of the timeline before until it is recycled.
func timelineFiles(timelines int) int { return 2 * 2 * timelines }

// lightest is the least of several looks: between two things to do there is a
// moment in which nothing is under way.
func (s *site) lightest(nodes ...*node) burden {
	s.t.Helper()
	least := s.burden(nodes...)
	for range 30 {
		<-time.After(100 * time.Millisecond)
		now := s.burden(nodes...)
		least.Slots, least.HBALines = now.Slots, now.HBALines
		least.Connections, least.Goroutines = min(least.Connections, now.Connections), min(least.Goroutines, now.Goroutines)
		least.Descriptors, least.Files = min(least.Descriptors, now.Descriptors), min(least.Files, now.Files)
		least.HeapMB = min(least.HeapMB, now.HeapMB)
	}
	return least
}

func (s *site) burden(nodes ...*node) burden {
	s.t.Helper()
	var have burden
	for _, n := range nodes {
		have.Slots += s.number(n, `select count(*) from pg_replication_slots`)
		have.Connections += s.number(n, `select count(*) from pg_stat_activity where backend_type in ('client backend', 'walsender')`)
		content, err := os.ReadFile(filepath.Join(n.cfg.PGData, "pg_hba.conf"))
		if err != nil {
			s.t.Fatal(err)
		}
		have.HBALines += strings.Count(string(content), "\n")
	}
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	have.HeapMB = int(mem.HeapAlloc >> 20)
	have.Goroutines = runtime.NumGoroutine()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		s.t.Fatal(err)
	}
	have.Descriptors, have.Files = len(open), s.files()
	return have
}

// files counts what is stored, but for PostgreSQL's own scratch space.
func (s *site) files() int {
	s.t.Helper()
	count := 0
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case os.IsNotExist(err):
			return nil
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"pg_stat_tmp", "pgsql_tmp", "pg_dynshmem"}, d.Name()):
			return filepath.SkipDir
		case !d.IsDir():
			count++
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return count
}

// number asks a node's server for a number.
func (s *site) number(n *node, sql string) int {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@%s:%d/postgres?sslmode=disable", n.cfg.Host, n.cfg.Port))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var count int
	if err := conn.QueryRow(ctx, sql).Scan(&count); err != nil {
		s.t.Fatal(err)
	}
	return count
}
