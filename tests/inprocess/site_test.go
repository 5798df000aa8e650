package inprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/monitor"
)

// site is a monitor with its nodes.
type site struct {
	t      *testing.T
	dir    string
	uri    string
	client *monitorapi.Client
	log    zerolog.Logger
	out    io.Writer // where log goes
	nodes  []*node

	monitor       monitor.Config
	monitorCancel context.CancelFunc
	monitorEnded  chan error
}

// node is one keeper with its PostgreSQL.
type node struct {
	s       *site
	cfg     keeper.Config
	log     zerolog.Logger
	service *keeper.Service
	cancel  context.CancelFunc
	ended   chan error
}

// newSite creates and runs a monitor.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, dir: pgtest.TempDir(t)}
	out := logFile(t, s.dir)
	began := time.Now()
	s.out = out
	s.log = zerolog.New(out).Level(zerolog.DebugLevel).Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		e.Int64("ms", time.Since(began).Milliseconds())
	}))
	t.Cleanup(s.tell)
	cfg := monitor.Config{
		DataDir: filepath.Join(s.dir, "monitor"), StateDir: filepath.Join(s.dir, "monitor.state"), Binaries: pgtest.Binaries(t),
		Port: pgtest.FreePort(t), Listen: "127.0.0.1", SocketDir: s.dir, Auth: "trust", Software: "test",
		Log: s.log.With().Str("who", "monitor").Logger(),
	}
	if err := monitor.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	s.monitor = cfg
	s.startMonitor()
	var err error
	s.uri = fmt.Sprintf("postgres://autoctl_node@127.0.0.1:%d/autoctl?sslmode=disable", cfg.Port)
	if s.client, err = monitorapi.New(s.uri, monitorapi.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.await("the monitor answers", 20*time.Second, func(st monitorapi.State) bool { return st.Monitor.Protocol == monitorapi.Protocol })
	return s
}

func logFile(t *testing.T, dir string) *os.File {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// startMonitor runs the monitor.
func (s *site) startMonitor() {
	s.t.Helper()
	server, err := monitor.New(s.monitor)
	if err != nil {
		s.t.Fatal(err)
	}
	s.monitorCancel, s.monitorEnded = s.run("monitor", s.monitor.DataDir, server.Run)
}

// stopMonitor stops the monitor and its PostgreSQL.
func (s *site) stopMonitor() {
	s.t.Helper()
	s.monitorCancel()
	err := <-s.monitorEnded
	s.monitorEnded <- nil
	if err != nil && !errors.Is(err, context.Canceled) {
		s.t.Fatal(err)
	}
}

// run runs something until the end of the test and ends its server then.
func (s *site) run(name, dataDir string, run func(context.Context) error) (context.CancelFunc, chan error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				s.t.Errorf("%s: %v", name, err)
			}
		case <-time.After(20 * time.Second):
			s.t.Errorf("%s does not end", name)
		}
		s.endServer(dataDir)
	})
	return cancel, ended
}

// endServer kills a server that the test leaves behind.
func (s *site) endServer(dataDir string) {
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Timeout)
	defer cancel()
	p, err := pgserver.Adopt(dataDir)
	if err == nil {
		err = errors.Join(p.Kill(ctx), p.Close())
	}
	if err != nil && !errors.Is(err, pgserver.ErrNotRunning) && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
	if _, err := pgserver.EndRemains(ctx, dataDir); err != nil {
		s.t.Error(err)
	}
}

// tell shows what happened when the test failed.
func (s *site) tell() {
	if !s.t.Failed() && !testing.Verbose() {
		return
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "log")); err == nil {
		s.t.Logf("log:\n%s", text)
	}
	if !s.t.Failed() {
		return
	}
	for _, n := range s.nodes {
		paths, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "*.log"))
		for _, path := range paths {
			text, _ := os.ReadFile(path)
			s.t.Logf("%s %s:\n%s", n.cfg.Name, filepath.Base(path), text[max(0, len(text)-6000):])
		}
	}
}

// await waits until the monitor's state fulfils a condition and returns for how
// long.
func (s *site) await(what string, within time.Duration, ok func(monitorapi.State) bool) time.Duration {
	s.t.Helper()
	began := time.Now()
	var last monitorapi.State
	var err error
	for tick := time.NewTicker(5 * time.Millisecond); time.Since(began) < within; <-tick.C {
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
		last, err = s.client.State(ctx, "", -1)
		cancel()
		if err == nil && ok(last) {
			return time.Since(began)
		}
	}
	s.t.Fatalf("not within %v: %s (%v)\n%s", within, what, err, picture(last))
	return 0
}

func picture(st monitorapi.State) string {
	var b strings.Builder
	for _, f := range st.Formations {
		for _, g := range f.Groups {
			fmt.Fprintf(&b, "group %d epoch %d seq %d record %+v election %+v\n", g.Group, g.Epoch, g.Sequence, g.Record, g.Election)
			for _, n := range g.Nodes {
				fmt.Fprintf(&b, "  %s %d %s→%s server %s open %v %d:%s %s problem %+v\n", n.Name, n.NodeID, n.Reported, n.Assigned, n.Server, n.Open, n.Timeline, n.LSN, n.Connection, n.Problem)
			}
		}
	}
	return b.String()
}

// states waits until the nodes named have reached, and are assigned, the states.
func (s *site) states(within time.Duration, want map[string]fsm.State) time.Duration {
	s.t.Helper()
	return s.await(fmt.Sprint(want), within, func(st monitorapi.State) bool {
		found := 0
		for _, f := range st.Formations {
			for _, g := range f.Groups {
				for _, n := range g.Nodes {
					if w, ok := want[n.Name]; ok && n.Reported == w && n.Assigned == w {
						found++
					}
				}
			}
		}
		return found == len(want)
	})
}

// command gives an operator's command and wants the outcome.
func (s *site) command(c fsm.Command, want fsm.Outcome) fsm.Answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	a, err := s.client.Command(ctx, "default", 0, c)
	if err != nil {
		s.t.Fatal(err)
	}
	if a.Outcome != want {
		s.t.Fatalf("%s of node %d: %s: %s (%v), wanted %s", c.Kind, c.Node, a.Outcome, a.Text, a.Nodes, want)
	}
	return a
}

// id returns a node's id.
func (n *node) id() fsm.NodeID {
	n.s.t.Helper()
	st, err := n.s.client.NodeByName(n.s.t.Context(), "default", n.cfg.Name)
	if err != nil {
		n.s.t.Fatal(err)
	}
	return st.NodeID
}

// node configures a node.
func (s *site) node(name string) *node {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	n := &node{s: s, log: s.log.With().Str("who", name).Logger(), cfg: keeper.Config{
		PGData: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "state"), SocketDir: dir, PGCtl: pgtest.Binaries(s.t).Path("pg_ctl"),
		Port: pgtest.FreePort(s.t), Listen: "127.0.0.1", Host: "127.0.0.1", Name: name, Formation: "default", Kind: fsm.KindPgsql, Group: -1,
		Priority: 50, Quorum: true, Monitor: s.uri, Auth: "trust", Database: "postgres",
		NoSync: true, Overrides: map[string]string{"fsync": "off"}, // processes die here, not machines
	}}
	s.nodes = append(s.nodes, n)
	return n
}

// add creates and runs a node.
func (s *site) add(name string) *node {
	s.t.Helper()
	n := s.node(name)
	n.create()
	n.start()
	return n
}

// create registers a node.
func (n *node) create() {
	s, name := n.s, n.cfg.Name
	s.t.Helper()
	made, err := keeper.Create(s.t.Context(), n.cfg, s.client, func(text string) { s.t.Logf("%s: %s", name, text) })
	if err != nil {
		s.t.Fatal(err)
	}
	n.cfg = made.Config
}

// start runs the keeper of a node.
func (n *node) start() {
	n.s.t.Helper()
	service, err := keeper.Open(n.s.t.Context(), keeper.Options{Config: n.cfg, Log: n.log, Software: "test", HandOver: 20 * time.Second})
	if err != nil {
		n.s.t.Fatal(err)
	}
	n.service = service
	n.cancel, n.ended = n.s.run(n.cfg.Name, n.cfg.PGData, func(ctx context.Context) error {
		return errors.Join(service.Run(ctx), service.Close())
	})
}

// stop stops a node and waits for its end.
func (n *node) stop(mode keeper.StopMode) {
	n.s.t.Helper()
	n.service.Stop(mode)
	n.awaitEnd()
}

func (n *node) awaitEnd() {
	n.s.t.Helper()
	select {
	case err := <-n.ended:
		if err != nil {
			n.s.t.Fatal(err)
		}
		n.ended <- nil // for the cleanup
	case <-time.After(30 * time.Second):
		n.s.t.Fatalf("%s does not stop", n.cfg.Name)
	}
}

// uri is how applications reach the nodes.
func (s *site) service(nodes ...*node) string {
	var hosts []string
	for _, n := range nodes {
		hosts = append(hosts, net.JoinHostPort(n.cfg.Host, fmt.Sprint(n.cfg.Port)))
	}
	return "postgres://postgres@" + strings.Join(hosts, ",") + "/postgres?sslmode=disable&target_session_attrs=read-write&connect_timeout=1"
}

// write executes statements on the primary once.
func (s *site) write(sql string, nodes ...*node) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.service(nodes...))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, sql)
	return err
}

// mustWrite executes statements on the primary, again until they succeed, and
// returns for how long that took.
func (s *site) mustWrite(sql string, nodes ...*node) time.Duration {
	s.t.Helper()
	began := time.Now()
	for {
		err := s.write(sql, nodes...)
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > 30*time.Second {
			s.t.Fatalf("%s: %v", sql, err)
		}
	}
}
