package soak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// Sizes of the disks that can be filled, in megabytes. A copy needs its data
// directory twice, and PostgreSQL keeps 16 MB of log for each recent timeline.
const (
	dataMegabytes    = 1024
	monitorMegabytes = 256
	stateMegabytes   = 64
)

// build makes the group that is going to be broken.
func build(t *testing.T, o options, rec *recorder) *nemesis {
	t.Helper()
	n := &nemesis{
		opt: o, rec: rec, claims: map[string]bool{}, ahead: map[string]bool{}, revived: map[string]time.Time{},
		data: map[string]*machine.Volume{}, state: map[string]*machine.Volume{}, fakeTime: machine.FindFakeTime(),
	}
	c := cluster.Prepare(t, cluster.Setup{Env: func(node *cluster.Node) []string { return n.clock(node.Name) }})
	c.Lab.NeedLinks()
	n.c = c
	n.data[c.Monitor.Name] = c.Monitor.Volume(c.Monitor.PGDATA(), monitorMegabytes)
	c.CreateMonitor()
	n.operator = c.Lab.Host("operator")
	for i := range o.nodes {
		n.nodes = append(n.nodes, c.Place(fmt.Sprintf("n%d", i+1)))
	}
	for i, node := range n.nodes {
		// One node has its data on an ordinary disk, the others' data directories are
		// mount points.
		if i > 0 {
			n.data[node.Name] = node.Volume(node.PGDATA(), dataMegabytes)
		}
		if i%2 == 0 {
			n.state[node.Name] = node.Volume(filepath.Join(node.Dir, "share"), stateMegabytes)
		}
		node.Create(n.flags(node.Name)...)
		c.Await(time.Minute, node.Name+" is registered", func(context.Context) error { return registered(c, node.Name) })
	}
	for _, s := range o.settings {
		c.Command("set", "formation", "settings", s)
	}
	c.Await(2*time.Minute, "all nodes have their copy", func(context.Context) error { return n.copied() })
	c.SetNumberSync(o.numberSync)
	c.Await(time.Minute, "the group is whole", func(ctx context.Context) error {
		g, err := n.group(ctx)
		if err != nil {
			return err
		}
		return n.whole(g)
	})
	rec.edit(func(r *Report) { r.Nodes = nodeNames(n.nodes) })
	return n
}

func registered(c *cluster.Cluster, name string) error {
	g, err := c.TryGroup()
	if err == nil && member(g, name) == nil {
		err = fmt.Errorf("%s is unknown", name)
	}
	return err
}

func (n *nemesis) copied() error {
	g, err := n.c.TryGroup()
	if err != nil {
		return err
	}
	for _, node := range g.Nodes {
		if node.Reported != cluster.Primary && node.Reported != cluster.Secondary {
			return fmt.Errorf("%s is %s", node.Name, node.Reported)
		}
	}
	return nil
}

// keepLogs copies the logs of all hosts to the report's directory.
func (n *nemesis) keepLogs() error {
	for _, node := range append([]*cluster.Node{n.c.Monitor}, n.nodes...) {
		to := filepath.Join(n.opt.dir, "logs", node.Name)
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(node.Dir, "log"))); err != nil {
			return err
		}
		server := filepath.Join(node.Dir, "share", "autoctl", node.PGDATA(), "postgresql.log")
		content, err := os.ReadFile(server)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(to, "postgresql.log"), content, 0o644)); err != nil {
			return err
		}
	}
	return nil
}

// learn fetches the events that are not known yet; a monitor that is away is asked
// again after the next burst.
func (r *run) learn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	events, err := r.n.c.TryEventsOn(ctx, r.n.operator, 1000)
	if err != nil {
		return
	}
	var last monitorapi.Event
	if len(r.events) > 0 {
		last = r.events[len(r.events)-1]
	}
	for _, e := range events {
		// A monitor that was restored gives numbers a second time.
		if e.Time.After(last.Time) || e.Time.Equal(last.Time) && e.ID > last.ID {
			r.events = append(r.events, e)
			r.consider(e)
		}
	}
}

// consider notes events that a promise forbids.
func (r *run) consider(e monitorapi.Event) {
	if e.Kind == "data_loss" {
		r.n.rec.anomaly("P1", fmt.Sprintf("at %.1f s data was given up: %s", r.n.rec.at(e.Time), e.Reason), "")
	}
}
