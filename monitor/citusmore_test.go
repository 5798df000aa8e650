package monitor

import (
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestCitusMore: databases are added to a formation and taken out of it, and every node hears of it; a pooler's port belongs to a place, and changes its epoch; a
// read replica follows a group that is there, never is a candidate, and is in the topology once it has been in step.
func TestCitusMore(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	client := b.dial()
	register := func(i, group int, change func(*monitorapi.Registration)) (monitorapi.Registered, error) {
		r := registration(i)
		r.Kind, r.Group, r.Database = fsm.KindCitus, group, ""
		if group == 0 {
			r.Database = "app"
		}
		change(&r)
		return client.Register(t.Context(), r)
	}
	plain := func(*monitorapi.Registration) {}
	replica := func(r *monitorapi.Registration) { r.Cluster = "reports" }
	for _, group := range []int{0, 1, -1} { // there is nothing to follow
		if _, err := register(9, group, replica); monitorapi.CodeOf(err) != monitorapi.CodeUnknown {
			t.Errorf("a replica of group %d that has no node: %v", group, err)
		}
	}
	for i, group := range []int{0, 1, 2} {
		if _, err := register(i+1, group, plain); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("databases", func(t *testing.T) { testDatabases(t, b, client) })
	t.Run("pooler", func(t *testing.T) {
		before := topology(t, client)[1]
		_, err := register(2, 1, func(r *monitorapi.Registration) { r.NodeID, r.ProxyPort = 2, 6432 })
		if now := topology(t, client)[1]; err != nil || now.ProxyPort != 6432 || now.Epoch <= before.Epoch {
			t.Errorf("%+v after %+v (%v)", now, before, err)
		}
	})
	t.Run("replicas", func(t *testing.T) {
		for i, want := range []int{1, 2} {
			if made, err := register(10+i, -1, replica); err != nil || made.Group != want {
				t.Errorf("the replica is in group %d (%v), want %d", made.Group, err, want)
			}
		}
		if _, err := register(12, -1, replica); monitorapi.CodeOf(err) != monitorapi.CodeUnknown {
			t.Errorf("a third replica where each of two groups has one: %v", err)
		}
		if made, err := register(13, -1, plain); err != nil || made.Group != 1 {
			t.Errorf("a worker is in group %d (%v): replicas do not fill a group", made.Group, err)
		}
		if _, err := register(13, 1, replica); monitorapi.CodeOf(err) != monitorapi.CodeConflict {
			t.Errorf("a worker that becomes a replica: %v", err)
		}
		testReplica(t, client)
	})
}

func testDatabases(t *testing.T, b *bench, client *monitorapi.Client) {
	t.Helper()
	const odd = `Odd "name", 'x'`
	for _, name := range []string{"shop", odd} {
		if err := client.CreateDatabase(t.Context(), "default", name); err != nil {
			t.Fatal(err)
		}
	}
	told := func(want ...string) func() bool {
		return func() bool {
			for node := range fsm.NodeID(3) {
				if goal, err := client.Goal(t.Context(), node+1); err != nil || !slices.Equal(goal.Databases, want) {
					return false
				}
			}
			return true
		}
	}
	b.eventually("every node hears of them", told(odd, "shop"))
	if top, err := client.Topology(t.Context(), "default"); err != nil || !slices.Equal(top.Databases, []string{odd, "shop"}) {
		t.Errorf("the topology names %q (%v)", top.Databases, err)
	}
	for name, want := range map[string]monitorapi.Code{
		"shop": monitorapi.CodeConflict, "app": monitorapi.CodeConflict, "": monitorapi.CodeInvalid, "template1": monitorapi.CodeInvalid,
		"all": monitorapi.CodeInvalid, strings.Repeat("x", 64): monitorapi.CodeInvalid, "two\nlines": monitorapi.CodeInvalid,
	} {
		if err := client.CreateDatabase(t.Context(), "default", name); monitorapi.CodeOf(err) != want {
			t.Errorf("create database %q: %v, want %s", name, err, want)
		}
	}
	for name, want := range map[string]monitorapi.Code{"app": monitorapi.CodeRefused, "nothing": monitorapi.CodeUnknown, "shop": ""} {
		if err := client.DropDatabase(t.Context(), "default", name); monitorapi.CodeOf(err) != want {
			t.Errorf("drop database %q: %v, want %q", name, err, want)
		}
	}
	b.eventually("every node hears that one is gone", told(odd))
}

// testReplica looks at the replica of group 1, which is the fourth node.
func testReplica(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	if got := topology(t, client)[1].Replicas; got == nil || len(got) != 0 {
		t.Errorf("a replica that has never been in step is in the topology: %+v", got)
	}
	state, err := client.State(t.Context(), "default", 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range state.Formations[0].Groups[0].Nodes {
		if n.Cluster != "" && (n.Priority != 0 || n.Quorum) {
			t.Errorf("replica %s has priority %d, quorum %v", n.Name, n.Priority, n.Quorum)
		}
		if n.Cluster == "" {
			continue
		}
		report := fsm.Report{Node: n.NodeID, Token: registration(10).Token, State: fsm.StateSecondary}
		if _, err := client.Report(t.Context(), report); err != nil {
			t.Fatal(err)
		}
	}
	got := topology(t, client)[1].Replicas
	if len(got) != 1 || got[0].Cluster != "reports" || got[0].Port != registration(10).Port {
		t.Errorf("replicas of group 1: %+v", got)
	}
	if got := topology(t, client)[0].Replicas; got != nil {
		t.Errorf("a group that never had a replica has %+v", got)
	}
}
