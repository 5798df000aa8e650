package local_test

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/keeper/local"
)

// memory is a keeper's memory without a disk: it outlives the node, as the state file outlives the keeper.
type memory struct {
	mu sync.Mutex
	m  fsm.Memory
}

func (s *memory) Get() fsm.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m
}

func (s *memory) Update(change func(*fsm.Memory)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.m)
	return nil
}

// member is one node of a test's group.
type member struct {
	t      *testing.T
	id     fsm.NodeID
	cfg    local.Config
	mem    *memory
	node   *local.Node
	steps  []fsm.StepKind
	waited string
	// dies, if not nil, has the keeper die after the first step of each kind under each goal.
	dies map[string]bool
	// socket has clients come by the Unix socket.
	socket bool
}

// group is a monitor's part of the story, told by hand: it gives goals and remembers epochs.
type group struct {
	t        *testing.T
	ctx      context.Context //nolint:containedctx // the story's deadline
	members  []*member
	systemID uint64
	seq      uint64
	epoch    uint64
	orders   fsm.Orders
	database string
	record   fsm.Record // all that anybody was told to serve under
}

func newGroup(t *testing.T, count int) *group {
	t.Helper()
	t.Parallel() // much of each story is waiting
	b := pgtest.Binaries(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	g := &group{t: t, ctx: ctx, epoch: 1, orders: fsm.Orders{{Timeline: 1, Epoch: 1, Node: 1}}, database: "app"}
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		dir := pgtest.TempDir(t)
		m := &member{t: t, id: fsm.NodeID(i + 1), mem: &memory{}, cfg: local.Config{
			DataDir: filepath.Join(dir, "data"), Binaries: b, StateDir: filepath.Join(dir, "state"), Port: pgtest.FreePort(t),
			Listen: "127.0.0.1", SocketDir: dir, Superuser: u.Username, Auth: "trust", NoSync: true,
			Overrides: conf.Params{"fsync": "off", "shared_buffers": "8MB", "max_connections": "40", "logging_collector": "off", "log_line_prefix": "%m [%p] %a "},
			Log:       zerolog.New(zerolog.NewTestWriter(t)).Level(level()),
		}}
		m.mem.m.Node, m.mem.m.Token = m.id, fmt.Sprintf("%08x", 0xabc0+i)
		g.members = append(g.members, m)
		m.open()
		t.Cleanup(func() { m.end() })
	}
	return g
}

func level() zerolog.Level {
	if testing.Verbose() {
		return zerolog.DebugLevel
	}
	return zerolog.WarnLevel
}

func (m *member) open() {
	m.t.Helper()
	n, err := local.New(m.cfg, m.mem)
	if err != nil {
		m.t.Fatal(err)
	}
	m.node = n
}

// restartKeeper is a keeper that dies and comes again: the server goes on.
func (m *member) restartKeeper() {
	m.t.Helper()
	if err := m.node.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.open()
}

// end ends the keeper and the server.
func (m *member) end() {
	if err := m.node.Close(); err != nil {
		m.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if p, err := pgserver.Adopt(m.cfg.DataDir); err == nil {
		if err := p.Kill(ctx); err != nil {
			m.t.Error(err)
		}
		_ = p.Close()
	}
	if m.t.Failed() {
		log, _ := os.ReadFile(filepath.Join(m.cfg.StateDir, "postgresql.log"))
		lines := strings.Split(string(log), "\n")
		m.t.Logf("end of the log of node %d:\n%s", m.id, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// crash kills the server with everything that it started.
func (m *member) crash() {
	m.t.Helper()
	p, err := pgserver.Adopt(m.cfg.DataDir)
	if err != nil {
		m.t.Fatal(err)
	}
	defer p.Close()
	if err := p.Kill(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

func (g *group) peers(of fsm.NodeID) []fsm.Peer {
	var list []fsm.Peer
	for _, m := range g.members {
		if m.id != of {
			list = append(list, fsm.Peer{Node: m.id, Name: fmt.Sprint(m.id), Host: "127.0.0.1", Port: m.cfg.Port, Token: m.mem.m.Token})
		}
	}
	return list
}

// goal is the next goal for a node.
func (g *group) goal(m *member, s fsm.State) fsm.Goal {
	g.seq++
	return fsm.Goal{
		Stamp: fsm.Stamp{Incarnation: 1, Epoch: g.epoch, Seq: g.seq}, Node: m.id, Formation: "default", Kind: fsm.KindPgsql, State: s,
		Orders: slices.Clone(g.orders), Peers: g.peers(m.id), Settings: fsm.DefaultSettings(), Database: g.database, SystemID: g.systemID,
	}
}

// serve is the goal to serve under ANY k (members), on the newest timeline.
func (g *group) serve(m *member, k int, members ...*member) fsm.Goal {
	goal := g.goal(m, fsm.StatePrimary)
	if k == 0 {
		goal.State = fsm.StateWaitPrimary
	}
	c := fsm.Configuration{Seq: g.seq, Epoch: g.epoch, Primary: fsm.Member{Node: m.id, Generation: m.mem.Get().Generation}, K: k}
	for _, x := range members {
		c.Members = append(c.Members, fsm.Member{Node: x.id, Generation: x.mem.Get().Generation})
	}
	g.record = append(slices.Clip(g.record), c)
	goal.Configuration, goal.Record = &c, g.record
	goal.Timeline = g.orders[len(g.orders)-1].Timeline
	return goal
}

// diverge has a serve, with b as its standby, and die with a commit that b does not have. b has voted.
func (g *group) diverge(a, b *member) {
	g.t.Helper()
	g.reach(a, g.serve(a, 0))
	g.learn(a)
	a.must("create table t (id bigint primary key)")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	g.reach(a, g.serve(a, 1, b))
	g.vote(b)
	_, _ = a.sql("set statement_timeout = '300ms'; insert into t values (1)")
	a.crash()
}

// elect orders a new timeline of a node.
func (g *group) elect(m *member) {
	g.epoch++
	last := g.orders[len(g.orders)-1].Timeline
	g.orders = append(g.orders, fsm.Order{Timeline: last + 1, Epoch: g.epoch, Node: m.id})
}

// follow is the goal to follow a node.
func (g *group) follow(m, upstream *member, s fsm.State) fsm.Goal {
	goal := g.goal(m, s)
	goal.Upstream = &fsm.Upstream{Node: upstream.id, Host: "127.0.0.1", Port: upstream.cfg.Port, Timeline: g.orders[len(g.orders)-1].Timeline}
	return goal
}

// obey takes a goal as a keeper does.
func (m *member) obey(goal fsm.Goal) {
	m.t.Helper()
	var err error
	_ = m.mem.Update(func(mem *fsm.Memory) { err = mem.Obey(goal) })
	if err != nil {
		m.t.Fatal(err)
	}
	m.steps = nil
}

// once looks, plans and does one step. It returns the plan.
func (m *member) once(ctx context.Context) []fsm.Step {
	m.t.Helper()
	goal := m.mem.Get().Goal
	f, err := m.node.Observe(ctx, goal)
	if err != nil {
		m.t.Fatalf("node %d: observe: %v", m.id, err)
	}
	f.Fresh = true
	steps := fsm.Plan(goal, f)
	if len(steps) == 0 {
		_ = m.mem.Update(func(mem *fsm.Memory) { mem.Arrive() })
		return nil
	}
	first := steps[0]
	if first.Kind == fsm.StepWait || first.Kind == fsm.StepRefuse {
		if first.Reason != m.waited {
			m.t.Logf("node %d, %s: %s: %s", m.id, goal.State, first.Kind, first.Reason)
		}
		m.waited = first.Reason
		return steps
	}
	m.steps = append(m.steps, first.Kind)
	began := time.Now()
	err = m.node.Do(ctx, goal, first)
	m.t.Logf("node %d, %s: %s (%s): %v in %v", m.id, goal.State, first.Kind, first.Reason, err, time.Since(began).Round(time.Millisecond))
	if death := fmt.Sprint(goal.Seq, first.Kind); m.dies != nil && !m.dies[death] {
		m.dies[death] = true
		m.restartKeeper()
	}
	return steps
}

// reach carries out plans until the goal holds.
func (g *group) reach(m *member, goal fsm.Goal) {
	g.t.Helper()
	m.obey(goal)
	g.finish(m)
}

func (g *group) finish(m *member) {
	g.t.Helper()
	g.until(m, fmt.Sprintf("%s is reached", m.mem.Get().Goal.State), func(steps []fsm.Step) bool { return len(steps) == 0 })
}

// until carries out plans until one satisfies done.
func (g *group) until(m *member, what string, done func([]fsm.Step) bool) {
	g.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	var steps []fsm.Step
	for time.Now().Before(deadline) {
		if steps = m.once(g.ctx); done(steps) {
			return
		}
		if len(steps) > 0 && (steps[0].Kind == fsm.StepWait || steps[0].Kind == fsm.StepRefuse) {
			select {
			case <-m.node.Changed():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	g.t.Fatalf("node %d: not so in time: %s; the plan is %+v", m.id, what, steps)
}

// all carries out the plans of several nodes until every goal holds.
func (g *group) all(members ...*member) {
	g.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for time.Now().Before(deadline) {
		left, waits := 0, 0
		for _, m := range members {
			if steps := m.once(g.ctx); len(steps) > 0 {
				left++
				if steps[0].Kind == fsm.StepWait {
					waits++
				}
			}
		}
		if left == 0 {
			return
		}
		if waits == left {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-g.ctx.Done():
			}
		}
	}
	g.t.Fatal("goals not reached in time")
}

// sql runs one statement over TCP and returns its first value.
func (m *member) sql(query string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Second)
	defer cancel()
	host := "127.0.0.1"
	if m.socket {
		host = m.cfg.SocketDir
	}
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable", host, m.cfg.Port, m.cfg.Superuser))
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	res, err := conn.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		return "", err
	}
	if len(res) > 0 && len(res[len(res)-1].Rows) > 0 {
		return string(res[len(res)-1].Rows[0][0]), nil
	}
	return "", nil
}

func (m *member) must(query string) string {
	m.t.Helper()
	v, err := m.sql(query)
	if err != nil {
		m.t.Fatalf("node %d: %s: %v", m.id, query, err)
	}
	return v
}

// eventually waits until a query gives a value.
func (m *member) eventually(query, want string) {
	m.t.Helper()
	var got string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if got, _ = m.sql(query); got == want {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-m.t.Context().Done():
		}
	}
	m.t.Fatalf("node %d: %s is %q, not %q", m.id, query, got, want)
}

// pair makes a primary with one settled synchronous standby.
func pair(t *testing.T) (*group, *member, *member) {
	t.Helper()
	g := newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	g.reach(a, first)
	g.learn(a)
	g.reach(a, g.serve(a, 0))
	a.must("create table t (id bigint primary key)")
	a.must("insert into t values (1)")
	g.reach(b, g.follow(b, a, fsm.StateSecondary))
	g.reach(a, g.serve(a, 1, b))
	return g, a, b
}

// learn takes the group's system identifier from its first node.
func (g *group) learn(m *member) {
	g.t.Helper()
	f, err := m.node.Observe(g.ctx, m.mem.Get().Goal)
	if err != nil {
		g.t.Fatal(err)
	}
	g.systemID = f.Data.SystemID
}

// vote has a node vote and returns its position.
func (g *group) vote(m *member) fsm.Position {
	g.t.Helper()
	m.obey(g.goal(m, fsm.StateReportLSN))
	var final *fsm.Position
	// As a keeper does it: a goal whose server ends the moment it is reached has no vote yet, and its plan goes on.
	g.until(m, "report_lsn is reached, with a final position", func(steps []fsm.Step) bool {
		final = m.node.Status(g.ctx, m.mem.Get().Goal).Final
		return len(steps) == 0 && final != nil
	})
	return *final
}
