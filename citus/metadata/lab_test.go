package metadata_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// lab is a formation of real servers on the loopback interface: a coordinator in group 0 and workers, whose topology the test keeps itself in the monitor's place.
type lab struct {
	t       *testing.T
	servers map[int]*pgtest.Server // the primaries
	client  *metadata.Client

	mu  sync.Mutex
	top citus.Topology
}

// params are what a node of a Citus formation needs, on a small server.
var params = conf.Params{
	"shared_preload_libraries": "citus", "wal_level": "logical", "max_prepared_transactions": "80", "max_worker_processes": "24", "max_connections": "80",
	"citus.node_conninfo": "sslmode=disable", "citus.node_connection_timeout": "2000ms", "citus.metadata_sync_interval": "2000ms",
	"citus.metadata_sync_retry_interval": "1000ms", "citus.recover_2pc_interval": "10min", "citus.enable_statistics_collection": "off", "citus.local_hostname": "127.0.0.1",
	"citus.task_assignment_policy": "first-replica",
	"log_min_messages":             "warning",
}

// server makes a started server with the extension. Servers with different numbers have different system identifiers.
func server(t *testing.T, b pgserver.Binaries, number int) *pgtest.Server {
	t.Helper()
	s := pgtest.New(t, params)
	for _, err := range []error{os.RemoveAll(s.DataDir), os.CopyFS(s.DataDir, os.DirFS(template(t, b, number))), os.Chmod(s.DataDir, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Write()
	s.Start()
	t.Cleanup(func() { complaints(t, s) })
	return s
}

// complaints shows, of a test that failed, what a server had to complain about.
func complaints(t *testing.T, s *pgtest.Server) {
	t.Helper()
	if !t.Failed() {
		return
	}
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Log(err)
		return
	}
	for line := range strings.Lines(string(log)) {
		for _, word := range []string{"ERROR:", "FATAL:", "WARNING:", "autoctl ends", "deadlock"} {
			if strings.Contains(line, word) {
				t.Logf("port %d: %s", s.Port, strings.TrimSpace(line))
				break
			}
		}
	}
}

// template returns the data directory of a stopped server with the extension. It is made once for all test runs: initdb and the extension take seconds.
func template(t *testing.T, b pgserver.Binaries, number int) string {
	t.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("ac-citus-%d-%d-%d", b.Version.Number(), os.Geteuid(), number))
	if _, err := os.Stat(path); err == nil {
		return path
	}
	s := pgtest.New(t, params)
	for _, err := range []error{os.RemoveAll(s.DataDir), pgtest.InitDB(t.Context(), b, s.DataDir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Write()
	s.Start()
	s.Exec("create extension citus")
	s.Stop(pgserver.StopFast)
	if err := os.Rename(s.DataDir, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// newLab makes a formation that is not registered anywhere yet.
func newLab(t *testing.T, workers int) *lab {
	t.Helper()
	b := pgtest.BinariesWithCitus(t)
	l := &lab{t: t, servers: map[int]*pgtest.Server{}, top: citus.Topology{Formation: "default", Database: "postgres"}}
	l.client = &metadata.Client{Connect: connect, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel)}
	for g := range workers + 1 {
		s := server(t, b, g)
		l.servers[g] = s
		l.top.Groups = append(l.top.Groups, citus.Group{Number: g, Epoch: citus.Epoch{Incarnation: 1, Number: 1}, Primary: address(s), Serving: true, SystemID: systemID(s)})
	}
	return l
}

// newFormation is newLab with everybody registered, a table of accounts distributed over the workers and a reference table.
func newFormation(t *testing.T, workers int) *lab {
	t.Helper()
	l := newLab(t, workers)
	l.settled(l.client.Reconcile(within(t), l.top))
	l.servers[0].Exec(`create table accounts (id int primary key, balance int not null);
		select create_distributed_table('accounts', 'id', shard_count => 12);
		insert into accounts select i, 100 from generate_series(1, 240) i;
		create table rates (id int primary key, rate int not null);
		select create_reference_table('rates');
		insert into rates values (1, 1)`)
	return l
}

func connect(ctx context.Context, _ int, at citus.Address, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=%s sslmode=disable", at.Host, at.Port, database))
}

func address(s *pgtest.Server) citus.Address { return citus.Address{Host: "127.0.0.1", Port: s.Port} }

func systemID(s *pgtest.Server) uint64 {
	id, err := strconv.ParseInt(s.Query("select system_identifier from pg_control_system()"), 10, 64)
	if err != nil {
		panic(err)
	}
	return uint64(id)
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Timeout)
	t.Cleanup(cancel)
	return ctx
}

// settled fails the test unless every server was reached and sends everybody to the right place.
func (l *lab) settled(r metadata.Report) {
	l.t.Helper()
	for _, g := range l.top.Groups {
		if g.Dropped {
			continue
		}
		if !r.Propagated(g.Number) {
			l.t.Fatalf("group %d is not propagated:\n%s", g.Number, describe(r))
		}
	}
}

// describe writes a report for people who look for a test's failure.
func describe(r metadata.Report) string {
	var b strings.Builder
	for _, n := range r.Nodes {
		fmt.Fprintf(&b, "group %d at %s: done %v, left %v, problem %q, recovered %d\n", n.Group, n.At, n.Done, n.Left, n.Problem, n.Recovered)
	}
	return b.String()
}

// move gives the group another primary, with a newer epoch, in the topology.
func (l *lab) move(group int, to citus.Address) citus.Topology {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.top
	t.Groups = append([]citus.Group(nil), l.top.Groups...)
	g := t.Group(group)
	g.Primary, g.Hold = to, nil
	g.Epoch.Number++
	l.top = t
	return t
}

// wish adds the wish to hold a group's writes to the topology.
func (l *lab) wish(group int, h *citus.Hold) citus.Topology {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.top
	t.Groups = append([]citus.Group(nil), l.top.Groups...)
	t.Group(group).Hold = h
	l.top = t
	return t
}

// standby makes a standby of a group's primary that streams.
func (l *lab) standby(group int) *pgtest.Server {
	l.t.Helper()
	p := params
	s := l.servers[group].Standby("standby", p)
	l.await("the standby streams", func() bool {
		return l.servers[group].Query("select count(*) from pg_stat_replication where state = 'streaming'") == "1"
	})
	return s
}

// await fails the test when a condition does not come true in time.
func (l *lab) await(what string, is func() bool) {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx := within(l.t)
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("%s: never", what)
		}
	}
}
