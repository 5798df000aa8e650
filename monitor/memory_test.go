package monitor

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestS9_RestoredProves: S9. After a restore to before a failover the group is unproven, learns from its keepers who is primary now, and is
// proved when they have confirmed it; nobody is promoted or demoted on the way.
func TestS9_RestoredProves(t *testing.T) {
	b := newBench(t)
	w, ks, client := populate(b, 2)
	b.awaitStates(client, fsm.StatePrimary, fsm.StateSecondary)
	b.stop(nil)
	older := filepath.Join(filepath.Dir(b.c.DataDir), "older")
	copyTree(t, b.c.DataDir, older)

	b.start()
	client = b.dial()
	b.eventually("keepers are heard", func() bool { return group(t, client).Nodes[1].ReportAgeMS >= 0 })
	b.crash(w, ks[0], ks[1])
	b.recover(w, ks[0])
	b.awaitStates(client, fsm.StateSecondary, fsm.StatePrimary)
	before := group(t, client)
	b.stop(nil)
	b.troubled = true

	swapIn(t, older, b.c.DataDir)
	b.start()
	client = b.dial()
	b.eventually("the group is proved", func() bool { return !group(t, client).Unproven })
	b.awaitStates(client, fsm.StateSecondary, fsm.StatePrimary)
	after := group(t, client)
	if after.Incarnation <= before.Incarnation || after.Epoch != before.Epoch || after.Sequence <= before.Sequence {
		t.Errorf("incarnation, epoch, sequence went from %d.%d.%d to %d.%d.%d", before.Incarnation, before.Epoch, before.Sequence,
			after.Incarnation, after.Epoch, after.Sequence)
	}
	if diff := cmp.Diff(before.Orders, after.Orders); diff != "" {
		t.Errorf("timelines that were ordered are forgotten: %s", diff)
	}
}

// TestReplacement: a new monitor takes a group over from its keepers: ids, epoch and record go on under a higher incarnation, and
// nobody becomes single.
func TestReplacement(t *testing.T) {
	b := newBench(t)
	w, ks, client := populate(b, 3)
	b.awaitStates(client, fsm.StatePrimary, fsm.StateSecondary, fsm.StateSecondary)
	before := group(t, client)

	other := newBench(t)
	other.c.Probe = w.probe
	other.create()
	other.start()
	fresh := other.dial()
	var moved []*keeper
	for i, k := range ks {
		k.setMute(true)
		goal := k.present()
		r := registration(i + 1)
		r.NodeID, r.Memory = k.id, &fsm.Memory{Node: k.id, Token: r.Token, Goal: goal, Reached: goal.Stamp, State: goal.State, Generation: 1}
		got, err := fresh.Register(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := fresh.Register(t.Context(), r)
		if err != nil || again != got || got.Node != k.id {
			t.Errorf("got %+v, then %+v, %v, want id %d twice", got, again, err, k.id)
		}
		n := newMovedKeeper(other, k, goal, w)
		n.hear = func(goal fsm.Goal) {
			if goal.State == fsm.StateSingle || goal.State == fsm.StateWaitPrimary {
				t.Errorf("node %d is told to be %s", goal.Node, goal.State)
			}
		}
		moved = append(moved, n)
	}
	for _, k := range moved {
		k.live(other)
	}
	other.eventually("the group is proved", func() bool { return !group(t, fresh).Unproven })
	other.awaitStates(fresh, fsm.StatePrimary, fsm.StateSecondary, fsm.StateSecondary)
	after := group(t, fresh)
	if after.Incarnation <= before.Incarnation || after.Epoch != before.Epoch || after.SystemID != before.SystemID {
		t.Errorf("got %+v after %+v", after, before)
	}
	if cur, ok := after.Record.Current(); !ok || cur.Primary != before.Record[0].Primary || len(cur.Members) != 2 {
		t.Errorf("the record is %+v, was %+v", after.Record, before.Record)
	}
	r := registration(9)
	if n, err := fresh.Register(t.Context(), r); err != nil || n.Node <= 3 {
		t.Errorf("got %+v, %v, want an id above all known", n, err)
	}
}

// TestReplacement_Wishes: a new monitor learns from the nodes that move to it what operators told the old one.
func TestReplacement_Wishes(t *testing.T) {
	b := newBench(t)
	_, ks, client := populate(b, 3)
	b.awaitStates(client, fsm.StatePrimary, fsm.StateSecondary, fsm.StateSecondary)
	settings := fsm.DefaultSettings()
	settings.NodeLostAfterMS = 4321
	if err := client.SetSettings(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	for _, c := range []fsm.Command{
		{Kind: fsm.CommandNumberSync, Number: 1},
		{Kind: fsm.CommandPriority, Node: ks[1].id, Number: 80},
		{Kind: fsm.CommandQuorum, Node: ks[2].id},
	} {
		if a, err := client.Command(t.Context(), "default", 0, c); err != nil || a.Outcome != fsm.OutcomeDone {
			t.Fatalf("%s: %+v, %v", c.Kind, a, err)
		}
	}
	if _, err := client.Pause(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	b.eventually("every keeper holds what operators want", func() bool {
		return !slices.ContainsFunc(ks, func(k *keeper) bool { w := k.present().Wishes; return w == nil || !w.Paused || w.NumberSync != 1 })
	})

	other := newBench(t)
	other.create()
	other.start()
	fresh := other.dial()
	for i, k := range ks {
		goal := k.present()
		r := registration(i + 1)
		r.NodeID, r.Memory = k.id, &fsm.Memory{Node: k.id, Token: r.Token, Goal: goal, Reached: goal.Stamp, State: goal.State, Generation: 1}
		if _, err := fresh.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	st, err := fresh.State(t.Context(), "default", -1)
	if err != nil {
		t.Fatal(err)
	}
	f := st.Formations[0]
	if nodes := f.Groups[0].Nodes; !f.Paused || f.NumberSync != 1 || nodes[1].Priority != 80 || nodes[2].Quorum || !nodes[1].Quorum || nodes[0].Priority != 50 {
		t.Errorf("got %+v", f)
	}
	if got, err := fresh.Settings(t.Context()); err != nil || got != settings {
		t.Errorf("got %+v, %v, want %+v", got, err, settings)
	}
}

func newMovedKeeper(b *bench, k *keeper, goal fsm.Goal, w *world) *keeper {
	return &keeper{client: b.dial(), id: k.id, token: k.token, beat: k.beat, behave: w.obey, goal: goal}
}

// TestGoals_Long: a goal too long for a notification is fetched.
func TestGoals_Long(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("x", 9000)
	b.c.Decide = func(g fsm.Group, _ fsm.Instant) fsm.Decision {
		d := fsm.Decision{Group: g, Changed: true}
		d.Group.Seq++
		for i := range d.Group.Nodes {
			n := &d.Group.Nodes[i]
			n.Goal = fsm.Goal{Stamp: fsm.Stamp{Seq: d.Group.Seq}, Node: n.ID, State: fsm.StateWaitStandby, Database: fmt.Sprint(d.Group.Seq, long)}
		}
		return d
	}
	b.create()
	b.start()
	client := b.dial()
	got, err := client.Register(t.Context(), registration(1))
	if err != nil {
		t.Fatal(err)
	}
	goals, err := client.Goals(t.Context(), got.Node)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		report := fsm.Report{Node: got.Node, Token: registration(1).Token, State: fsm.StateWaitStandby, Version: int(time.Now().UnixNano())}
		if _, err := client.Report(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		goal := <-goals
		if len(goal.Database) < 9000 || goal.Seq == 0 {
			t.Fatalf("got %d bytes of %s", len(goal.Database), goal.Stamp)
		}
	}
}

// TestH25_Prune: events go by age, except the newest; answers by age.
func TestH25_Prune(t *testing.T) {
	b := newBench(t)
	b.c.KeepEvents, b.c.EventAge = 100, 100*24*time.Hour // the monitor itself prunes nothing meanwhile
	b.create()
	b.start()
	client := b.dial()
	conn := b.super()
	_, err := conn.Exec(t.Context(), `insert into autoctl.event (at, formation, grp, kind)
		select clock_timestamp() - interval '1 day' * (i > 3)::int, 'default', 0, 'test' from generate_series(10, 1, -1) i`)
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		events, err := client.Events(t.Context(), monitorapi.EventFilter{Count: 100})
		if err != nil {
			t.Fatal(err)
		}
		return len(events)
	}
	for _, step := range []struct{ keep, want int }{{20, 10}, {5, 5}, {1, 3}} {
		if err := pruneOnce(t.Context(), conn, step.keep, time.Hour); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != step.want {
			t.Errorf("%d events are left when %d are to be kept, want %d", n, step.keep, step.want)
		}
	}
}

// TestGap: after a time in which it was not running the monitor lets all ages begin anew, and only then.
func TestGap(t *testing.T) {
	s, err := New(Config{DataDir: "/d", StateDir: "/s", Port: 1, Auth: AuthTrust})
	if err != nil {
		t.Fatal(err)
	}
	s.views.beat(1, 0)
	s.views.beat(1, 1)
	var g fsm.Group
	g.Nodes = []fsm.Node{{ID: 1}}
	s.views.fill(&g)
	since, heard := g.Since, g.Nodes[0].Heard
	if heard < 0 {
		t.Fatal("the heartbeat was not seen")
	}
	s.noticeGap(time.Second)
	if s.views.fill(&g); g.Since != since {
		t.Error("a short pause was taken for a suspension")
	}
	s.noticeGap(2 * time.Second)
	if s.views.fill(&g); g.Since <= since || g.Nodes[0].Heard != heard {
		t.Error("a suspension was not noticed, or was taken for a heartbeat")
	}
}

// TestViews: a report from before a restart is not fresh, and one of a node that is new is.
func TestViews(t *testing.T) {
	clock := fsm.Instant(0)
	v := newViews(func() fsm.Instant { clock++; return clock })
	heard := func(id fsm.NodeID) bool {
		g := fsm.Group{Nodes: []fsm.Node{{ID: id}}}
		v.fill(&g)
		return g.Nodes[0].Heard > 0
	}
	if v.beat(1, 7) || heard(1) {
		t.Error("a counter that was found is not a heartbeat")
	}
	v.keepOnly(map[fsm.NodeID]bool{1: true})
	if v.beat(1, 7) || heard(1) {
		t.Error("a counter that stood still is not a heartbeat")
	}
	if !v.beat(1, 8) || !heard(1) || v.beat(1, 9) {
		t.Error("the first heartbeat, and only that, is news")
	}
	if !v.beat(2, 1) || !heard(2) {
		t.Error("the first report of a new node is a heartbeat")
	}
	v.restart()
	if heard(1) || heard(2) {
		t.Error("something was heard in this life already")
	}
}
