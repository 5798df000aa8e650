package monitor

import (
	"fmt"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestCitusFormation: workers fill a group to two and then open the next, whoever comes first; they wait for the coordinator, which says what the database is; each group
// hears of the nodes of the others; and the topology tells where groups are served, with epochs that grow.
func TestCitusFormation(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	client := b.dial()
	register := func(i, group int, database string) monitorapi.Registered {
		r := registration(i)
		r.Kind, r.Group, r.Database = fsm.KindCitus, group, database
		made, err := client.Register(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	for i, want := range []int{1, 1, 2, 2, 3} {
		if made := register(i+1, -1, ""); made.Group != want {
			t.Errorf("worker %d is in group %d, want %d", i+1, made.Group, want)
		}
	}
	if goal, err := client.Goal(t.Context(), 1); err != nil || goal.State != fsm.StateInit {
		t.Errorf("a worker without a coordinator is told %s (%v)", goal.State, err)
	}
	register(6, 0, "app")
	b.eventually("the workers begin", func() bool {
		goal, err := client.Goal(t.Context(), 1)
		return err == nil && goal.State.Serves() && goal.Database == "app" && len(goal.Fellows) == 4
	})
	var places map[int]monitorapi.Place
	b.eventually("every group has its place", func() bool {
		places = topology(t, client)
		return len(places) == 4
	})
	if places[1].NodeID != 1 || places[1].Port != registration(1).Port || places[1].Open || places[1].Gone {
		t.Fatalf("topology %+v", places)
	}
	before := places[1]
	moved := registration(1)
	moved.Kind, moved.NodeID, moved.Port, moved.Group, moved.Database = fsm.KindCitus, 1, 10099, 1, ""
	if _, err := client.Register(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	if now := topology(t, client)[1]; now.Port != 10099 || now.Epoch <= before.Epoch {
		t.Errorf("after the address has changed: %+v, before %+v", now, before)
	}
}

func topology(t *testing.T, client *monitorapi.Client) map[int]monitorapi.Place {
	t.Helper()
	got, err := client.Topology(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if got.Kind != fsm.KindCitus || got.Database != "app" {
		t.Error(fmt.Sprint("topology of ", got.Formation, ": ", got.Kind, " ", got.Database))
	}
	places := map[int]monitorapi.Place{}
	for _, p := range got.Groups {
		places[p.Group] = p
	}
	return places
}

// TestOutdone: a node that was told of a newer epoch than this monitor remembers, or of another address under the same, has the monitor go on above that; a word that is older,
// or no other, changes nothing.
func TestOutdone(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	client := b.dial()
	for i, group := range []int{0, 1} {
		r := registration(i + 1)
		r.Kind, r.Group, r.Database = fsm.KindCitus, group, "app"
		if _, err := client.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("group 1 has a place", func() bool { return topology(t, client)[1].Port != 0 })
	tell := func(what string, told monitorapi.Told, want int) monitorapi.Place {
		t.Helper()
		told.Group = 1
		raised, err := client.Outdone(t.Context(), "default", []monitorapi.Told{told})
		if err != nil || raised != want {
			t.Errorf("%s: %d groups raised (%v), want %d", what, raised, err, want)
		}
		return topology(t, client)[1]
	}
	now := topology(t, client)[1]
	elsewhere := monitorapi.Told{Incarnation: now.Incarnation, Epoch: now.Epoch, Host: "elsewhere", Port: 1}
	tell("another address, of a group whose node is not heard", elsewhere, 0)
	report := func() {
		t.Helper()
		goal, err := client.Goal(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		r := fsm.Report{Node: 2, Token: registration(2).Token, State: goal.State, Obeyed: goal.Stamp, PrimarySeenMS: -1, CommitAgeMS: -1}
		if _, err := client.Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	report()
	now = topology(t, client)[1]
	tell("what it says itself", monitorapi.Told{Incarnation: now.Incarnation, Epoch: now.Epoch, Host: now.Host, Port: now.Port}, 0)
	tell("an older epoch", monitorapi.Told{Incarnation: now.Incarnation, Epoch: now.Epoch - 1, Host: "elsewhere", Port: 1}, 0)
	after := tell("the same with another address", monitorapi.Told{Incarnation: now.Incarnation, Epoch: now.Epoch, Host: "elsewhere", Port: 1}, 1)
	if after.Incarnation != now.Incarnation || after.Epoch <= now.Epoch || after.Host != now.Host {
		t.Errorf("%+v after %+v", after, now)
	}
	above := tell("a newer epoch", monitorapi.Told{Incarnation: after.Incarnation, Epoch: after.Epoch + 70, Host: "elsewhere", Port: 1}, 1)
	if above.Incarnation != after.Incarnation || above.Epoch <= after.Epoch+70 {
		t.Errorf("%+v after %+v", above, after)
	}
	beyond := tell("a newer incarnation", monitorapi.Told{Incarnation: above.Incarnation + 5, Epoch: 3, Host: "elsewhere", Port: 1}, 1)
	if beyond.Incarnation != above.Incarnation+5 || beyond.Epoch <= above.Epoch {
		t.Errorf("%+v after %+v", beyond, above)
	}
	tell("what nobody can have decided", monitorapi.Told{Incarnation: beyond.Incarnation, Epoch: 1 << 62, Host: "elsewhere", Port: 1}, 0)
	tell("what is older now", monitorapi.Told{Incarnation: above.Incarnation, Epoch: above.Epoch + 100, Host: "elsewhere", Port: 1}, 0)
	moved := registration(2)
	moved.Kind, moved.NodeID, moved.Port, moved.Group, moved.Database = fsm.KindCitus, 2, 10099, 1, ""
	if _, err := client.Register(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	if last := topology(t, client)[1]; last.Port != 10099 || last.Incarnation != beyond.Incarnation || last.Epoch <= beyond.Epoch {
		t.Errorf("after the address has changed: %+v, before %+v", last, beyond)
	}
}
