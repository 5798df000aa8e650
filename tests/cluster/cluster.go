package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/ledger"
	"github.com/autoctl/autoctl/tests/machine"
)

// Formation is the formation that every monitor begins with.
const Formation = "default"

// Database is the database of that formation.
const Database = "postgres"

// Cluster is a monitor and the nodes that it keeps.
type Cluster struct {
	// Lab holds the hosts: its verbs break the network.
	Lab *machine.Lab
	// Monitor runs on a host of its own.
	Monitor *Node

	t       testing.TB
	setup   Setup
	binary  string
	nodes   map[string]*Node
	order   []string
	writers int
	asker   *pgx.Conn // to the monitor
}

// New makes a laboratory with a running monitor in it.
func New(t testing.TB) *Cluster {
	t.Helper()
	return NewWith(t, Setup{})
}

// NewWith is New for a setup of its own.
func NewWith(t testing.TB, setup Setup) *Cluster {
	t.Helper()
	c := Prepare(t, setup)
	c.CreateMonitor()
	return c
}

// CreateMonitor makes the monitor on its host and waits until it answers.
func (c *Cluster) CreateMonitor() {
	c.t.Helper()
	c.Monitor.start(c.monitorArgs()...)
	c.AwaitMonitor()
}

func (c *Cluster) monitorArgs() []string {
	m := c.Monitor
	return append([]string{"create", "monitor", "--pgdata", m.PGDATA(), "--pgport", fmt.Sprint(m.Port), "--hostname", m.Addr, "--run"}, c.setup.flags(m)...)
}

// Prepare makes a laboratory with a host for the monitor, on which nothing runs.
func Prepare(t testing.TB, setup Setup) *Cluster {
	t.Helper()
	machine.PostgresBin(t)
	c := &Cluster{t: t, Lab: machine.New(t), setup: setup, nodes: map[string]*Node{}}
	c.binary = installBinary(t, c.Lab.Dir())
	t.Cleanup(c.examine)
	c.Monitor = c.place("monitor")
	return c
}

// AwaitMonitor waits until the monitor answers.
func (c *Cluster) AwaitMonitor() {
	c.t.Helper()
	c.Await(30*time.Second, "the monitor answers", func(ctx context.Context) error {
		_, err := c.ask(ctx)
		return err
	})
}

// place makes the host of a node, with nothing on it yet.
func (c *Cluster) place(name string) *Node {
	c.t.Helper()
	h := c.Lab.Host(name)
	port, err := h.FreePort()
	if err != nil {
		c.t.Fatal(err)
	}
	return &Node{Host: h, Port: port, c: c}
}

// Place makes the host of a node that is created later, by Create.
func (c *Cluster) Place(name string) *Node {
	c.t.Helper()
	n := c.place(name)
	c.nodes[name], c.order = n, append(c.order, name)
	return n
}

// Add makes a node on a host of its own and starts it with "create postgres
// --run" and further flags; it does not wait for what becomes of it.
func (c *Cluster) Add(name string, flags ...string) *Node {
	c.t.Helper()
	n := c.Place(name)
	n.Create(flags...)
	return n
}

// AddAll adds nodes one after the other, so that their ids follow the order of
// their names, and waits until the first is the primary and the others are
// secondaries.
func (c *Cluster) AddAll(names ...string) {
	c.t.Helper()
	want := States{}
	for i, name := range names {
		c.Add(name)
		c.Await(30*time.Second, name+" is registered", func(ctx context.Context) error {
			state, err := c.ask(ctx)
			if err == nil && find(state, name) == nil {
				err = fmt.Errorf("%s is unknown", name)
			}
			return err
		})
		want[name] = Secondary
		if i == 0 {
			c.Wait(30*time.Second, States{name: Single})
			want[name] = Primary
		}
	}
	if len(names) > 1 {
		c.Wait(60*time.Second, want)
	}
}

// Node returns the node of that name.
func (c *Cluster) Node(name string) *Node {
	c.t.Helper()
	n := c.nodes[name]
	if n == nil {
		c.t.Fatalf("there is no node %q", name)
	}
	return n
}

// MonitorURI is how nodes and commands reach the monitor.
func (c *Cluster) MonitorURI() string {
	options := c.setup.Options
	if options == "" {
		options = "sslmode=disable"
	}
	return fmt.Sprintf("postgresql://autoctl_node@%s:%d/autoctl?%s", c.Monitor.Addr, c.Monitor.Port, options)
}

// ServiceURI is how applications reach whoever is the primary of the nodes
// named, or of all.
func (c *Cluster) ServiceURI(names ...string) string {
	if len(names) == 0 {
		names = c.order
	}
	var hosts []string
	for _, name := range names {
		n := c.Node(name)
		hosts = append(hosts, fmt.Sprintf("%s:%d", n.Addr, n.Port))
	}
	return fmt.Sprintf("postgresql://%s@%s/%s?sslmode=disable&target_session_attrs=read-write",
		c.Monitor.User(), strings.Join(hosts, ","), Database)
}

// Writer starts clients that write to the service until the end of the test;
// [Cluster.Finish] checks that nothing they were told is missing.
func (c *Cluster) Writer() *ledger.Writer {
	c.t.Helper()
	return c.WriterOf(ledger.Config{})
}

// WriterOf is Writer with settings of its own.
func (c *Cluster) WriterOf(cfg ledger.Config) *ledger.Writer {
	c.t.Helper()
	c.writers++
	if cfg.URI == "" {
		cfg.URI = c.ServiceURI()
	}
	cfg.Dial = c.Lab.Dial
	cfg.File = filepath.Join(c.Lab.Dir(), fmt.Sprintf("journal%d", c.writers))
	cfg.Table = fmt.Sprintf("ledger%d", c.writers)
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	w, err := ledger.Start(ctx, cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(w.Stop)
	c.Writes(w, 10*time.Second)
	return w
}

// Writes waits until a write that is sent from now on is acknowledged.
func (c *Cluster) Writes(w *ledger.Writer, within time.Duration) {
	c.t.Helper()
	within *= patience()
	ctx, cancel := context.WithTimeout(c.t.Context(), within)
	defer cancel()
	if _, err := w.AwaitWrite(ctx); err != nil {
		c.t.Fatalf("within %v: %v\n%s", within, err, c.Picture())
	}
}

// Stalls asserts that for the given time no write that is sent meanwhile is
// acknowledged.
func (c *Cluster) Stalls(w *ledger.Writer, during time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), during)
	defer cancel()
	if at, err := w.AwaitWrite(ctx); err == nil {
		c.t.Fatalf("a write was acknowledged at %v, none was expected\n%s", at, c.Picture())
	}
}

// ask reads the state of everything from the monitor.
func (c *Cluster) ask(ctx context.Context) (monitorapi.State, error) {
	var state monitorapi.State
	if c.asker == nil {
		cfg, err := pgx.ParseConfig(c.MonitorURI())
		if err != nil {
			return state, err
		}
		cfg.Password = c.setup.Password
		// From the monitor's own host: what is cut off may still be looked at.
		cfg.DialFunc, cfg.ConnectTimeout = c.Monitor.Dial, time.Second
		if c.asker, err = pgx.ConnectConfig(ctx, cfg); err != nil {
			c.asker = nil
			return state, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var text []byte
	if err := c.asker.QueryRow(ctx, "select autoctl.state($1, '', -1)", monitorapi.Protocol).Scan(&text); err != nil {
		c.hangUp()
		return state, err
	}
	return state, json.Unmarshal(text, &state)
}

func (c *Cluster) hangUp() {
	if c.asker != nil {
		hangUp(c.asker)
		c.asker = nil
	}
}

// Picture describes the situation, for the message of a failure.
func (c *Cluster) Picture() string {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, argv := range [][]string{{"show", "state"}, {"show", "events", "--count", "40"}, {"explain"}} {
		r, err := c.Monitor.run(ctx, append(argv, "--monitor", c.MonitorURI())...)
		fmt.Fprintf(&b, "--- autoctl %s\n%s%s", strings.Join(argv, " "), r.Stdout, r.Stderr)
		if err != nil {
			fmt.Fprintf(&b, "%v\n", err)
		}
	}
	return b.String()
}

// examine runs at the end of the test, before the laboratory goes away: data
// races in autoctl fail it, and a failed test shows the ends of the logs.
func (c *Cluster) examine() {
	c.hangUp()
	for _, n := range c.all() {
		races, _ := filepath.Glob(filepath.Join(n.Dir, "log", "race.*"))
		for _, path := range races {
			content, _ := os.ReadFile(path)
			c.t.Errorf("data race in autoctl on %s:\n%s", n.Name, content)
		}
		if log, err := os.ReadFile(filepath.Join(n.Dir, "log", "autoctl.log")); err == nil {
			if i := strings.Index(string(log), "panic: "); i >= 0 {
				c.t.Errorf("panic in autoctl on %s:\n%.4000s", n.Name, log[i:])
			} else if c.t.Failed() {
				c.t.Logf("--- the end of autoctl's log on %s\n%s", n.Name, tail(log, 40))
			}
		}
	}
}

func (c *Cluster) all() []*Node {
	nodes := []*Node{}
	if c.Monitor != nil {
		nodes = append(nodes, c.Monitor)
	}
	for _, name := range c.order {
		nodes = append(nodes, c.nodes[name])
	}
	return nodes
}

func tail(text []byte, lines int) string {
	all := slices.Collect(strings.Lines(string(text)))
	return strings.Join(all[max(0, len(all)-lines):], "")
}
