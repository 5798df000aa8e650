package inprocess

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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
	Slots, HBALines, Connections, Goroutines, Descriptors, HeapMB int
	Files                                                         int // without segments of the log
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
			s.leaveSegment(primary, standby)
			early = s.lightest(a, b)
		case 30:
			s.leaveSegment(primary, standby)
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
		{"stored files", early.Files, late.Files, 8 + timelineFiles(30-6)},
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
// never removes: a history file a timeline on each of two nodes, and on the one that
// received it a mark that it needs no archiving.
func timelineFiles(timelines int) int { return 3 * timelines }

// leaveSegment moves the log so far from the segment that all timelines so far end in
// that both servers recycle their copies of it, one a timeline, and waits until none is
// left: they keep eight segments for a standby that fell behind (wal_keep_size, 128 MB),
// and more until the slots have moved.
func (s *site) leaveSegment(primary, standby *node) {
	s.t.Helper()
	for range 12 {
		s.exec(primary, `select pg_logical_emit_message(false, '', '')`, `select pg_switch_wal()`)
	}
	s.exec(primary, `checkpoint`,
		// A commit that waits until the standby has replayed it, and so the checkpoint.
		`set synchronous_commit = remote_apply`, `select pg_logical_emit_message(true, '', '')`)
	nodes := []*node{primary, standby}
	for began := time.Now(); s.ended(nodes) > 0; <-time.After(200 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			s.t.Fatalf("%d segments of ended timelines are left", s.ended(nodes))
		}
		s.exec(primary, `checkpoint`)
		s.exec(standby, `checkpoint`)
	}
}

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
		least.Descriptors, least.HeapMB = min(least.Descriptors, now.Descriptors), min(least.HeapMB, now.HeapMB)
		least.Files = min(least.Files, now.Files)
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

// segment is the name of a segment of the log, or of the mark that it was archived;
// recycled ones wait for their use in numbers that follow the recent load.
var segment = regexp.MustCompile(`^[0-9A-F]{24}(\.(partial|done|ready))*$`)

// ended counts the segments that are left of timelines before the newest.
func (s *site) ended(nodes []*node) int {
	s.t.Helper()
	count := 0
	for _, n := range nodes {
		entries, err := os.ReadDir(filepath.Join(n.cfg.PGData, "pg_wal"))
		if err != nil {
			s.t.Fatal(err)
		}
		segments := map[string]int{} // by timeline
		for _, e := range entries {
			if segment.MatchString(e.Name()) {
				segments[e.Name()[:8]]++
			}
		}
		newest := slices.Max(slices.Collect(maps.Keys(segments)))
		for timeline, have := range segments {
			if timeline != newest {
				count += have
			}
		}
	}
	return count
}

// files counts what is stored, but for PostgreSQL's own scratch space and its log.
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
		case !d.IsDir() && !segment.MatchString(d.Name()):
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
	conn := s.session(ctx, n)
	defer conn.Close(context.WithoutCancel(ctx))
	var count int
	if err := conn.QueryRow(ctx, sql).Scan(&count); err != nil {
		s.t.Fatal(err)
	}
	return count
}

// exec runs statements one after the other in one session of a node's server.
func (s *site) exec(n *node, statements ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	conn := s.session(ctx, n)
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			s.t.Fatalf("%s on %s: %v", sql, n.cfg.Name, err)
		}
	}
}

func (s *site) session(ctx context.Context, n *node) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://postgres@%s:%d/postgres?sslmode=disable", n.cfg.Host, n.cfg.Port))
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}
