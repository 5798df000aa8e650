package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// The states that scenarios name most.
const (
	Single      = fsm.StateSingle
	WaitPrimary = fsm.StateWaitPrimary
	Primary     = fsm.StatePrimary
	Secondary   = fsm.StateSecondary
	CatchingUp  = fsm.StateCatchingUp
	ReportLSN   = fsm.StateReportLSN
	Demoted     = fsm.StateDemoted
	Maintenance = fsm.StateMaintenance
)

// States says which state each node is to be in.
type States map[string]fsm.State

// Wait waits until the nodes named report the states given and are assigned
// nothing else.
func (c *Cluster) Wait(within time.Duration, want States) {
	c.t.Helper()
	c.Await(within, fmt.Sprint(want), func(ctx context.Context) error {
		state, err := c.ask(ctx)
		if err != nil {
			return err
		}
		return mismatch(state, want)
	})
}

// WaitAssigned waits until the nodes named are assigned the states given,
// whatever they report: for nodes that cannot.
func (c *Cluster) WaitAssigned(within time.Duration, want States) {
	c.t.Helper()
	c.Await(within, fmt.Sprint("assigned ", want), func(ctx context.Context) error {
		state, err := c.ask(ctx)
		if err != nil {
			return err
		}
		for name, s := range want {
			if n := find(state, name); n == nil || n.Assigned != s {
				return fmt.Errorf("%s is not assigned %s", name, s)
			}
		}
		return nil
	})
}

// WaitGone waits until the monitor has forgotten a node.
func (c *Cluster) WaitGone(within time.Duration, name string) {
	c.t.Helper()
	c.Await(within, name+" is forgotten", func(ctx context.Context) error {
		state, err := c.ask(ctx)
		if err == nil && find(state, name) != nil {
			err = fmt.Errorf("%s is still there", name)
		}
		return err
	})
}

// Holds asserts that for the given time the nodes named report and are assigned
// nothing but the states given; the event log is consulted for what a look
// every 50 ms would miss.
func (c *Cluster) Holds(during time.Duration, want States) {
	c.t.Helper()
	before := c.LastEvent()
	deadline := time.After(during)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := mismatch(c.State(), want); err != nil {
			c.t.Fatalf("%v, for %v nothing was to change\n%s", err, during, c.Picture())
		}
		select {
		case <-tick.C:
			continue
		case <-deadline:
		}
		break
	}
	for _, e := range c.Events(before) {
		if s, named := want[e.Name]; named && e.Assigned != "" && e.Assigned != s {
			c.t.Fatalf("%s was assigned %s meanwhile: %s\n%s", e.Name, e.Assigned, e.Reason, c.Picture())
		}
	}
}

func mismatch(state monitorapi.State, want States) error {
	var wrong []string
	for name, s := range want {
		switch n := find(state, name); {
		case n == nil:
			wrong = append(wrong, name+" is unknown")
		case n.Reported != s || n.Assigned != s:
			wrong = append(wrong, fmt.Sprintf("%s reports %s and is assigned %s", name, n.Reported, n.Assigned))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("want %v: %s", want, strings.Join(wrong, ", "))
}

// State is what the monitor knows now.
func (c *Cluster) State() monitorapi.State {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 10*time.Second)
	defer cancel()
	state, err := c.ask(ctx)
	if err != nil {
		// A monitor that was restarted meanwhile has closed our connection.
		if state, err = c.ask(ctx); err != nil {
			c.t.Fatalf("ask the monitor: %v", err)
		}
	}
	return state
}

// Info is what the monitor knows of a node now.
func (c *Cluster) Info(name string) monitorapi.NodeState {
	c.t.Helper()
	n, err := c.TryInfo(name)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// TryInfo is Info for when the monitor may be away, or not know the node.
func (c *Cluster) TryInfo(name string) (monitorapi.NodeState, error) {
	state, err := c.ask(c.t.Context())
	if err != nil {
		return monitorapi.NodeState{}, err
	}
	n := find(state, name)
	if n == nil {
		return monitorapi.NodeState{}, fmt.Errorf("the monitor does not know %s", name)
	}
	return *n, nil
}

// Group is the state of the group that scenarios work with.
func (c *Cluster) Group() monitorapi.GroupState {
	c.t.Helper()
	g, err := c.TryGroup()
	if err != nil {
		c.t.Fatal(err)
	}
	return g
}

// TryGroup is Group for when the monitor may be away.
func (c *Cluster) TryGroup() (monitorapi.GroupState, error) {
	state, err := c.ask(c.t.Context())
	if err != nil {
		return monitorapi.GroupState{}, err
	}
	for _, f := range state.Formations {
		if f.Name == Formation && len(f.Groups) > 0 {
			return f.Groups[0], nil
		}
	}
	return monitorapi.GroupState{}, ErrNoGroup
}

// ErrNoGroup says that the monitor knows no node of the formation.
var ErrNoGroup = errors.New("the formation has no group")

// PrimaryNode is the node that serves, which exactly one does.
func (c *Cluster) PrimaryNode() *Node {
	c.t.Helper()
	var serving []string
	for _, n := range c.Group().Nodes {
		if n.Reported.Serves() && n.Assigned.Serves() { // one that died was the primary when it was last heard
			serving = append(serving, n.Name)
		}
	}
	if len(serving) != 1 {
		c.t.Fatalf("%d nodes serve: %v\n%s", len(serving), serving, c.Picture())
	}
	return c.Node(serving[0])
}

func find(state monitorapi.State, name string) *monitorapi.NodeState {
	for _, f := range state.Formations {
		for _, g := range f.Groups {
			for _, n := range g.Nodes {
				if n.Name == name {
					return &n
				}
			}
		}
	}
	return nil
}

// Events returns the events after the one with that id, oldest first, as the
// command prints them.
func (c *Cluster) Events(after int64) []monitorapi.Event {
	c.t.Helper()
	var all struct {
		Events []monitorapi.Event `json:"events"`
	}
	c.Monitor.Decode(&all, "show", "events", "--monitor", c.MonitorURI(), "--count", "1000")
	return slices.DeleteFunc(all.Events, func(e monitorapi.Event) bool { return e.ID <= after })
}

// LastEvent is the id of the newest event, 0 when there is none.
func (c *Cluster) LastEvent() int64 {
	c.t.Helper()
	var last int64
	for _, e := range c.Events(0) {
		last = max(last, e.ID)
	}
	return last
}
