package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/cmd/autoctl/demo"
	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

func someState() monitorapi.State {
	node := func(id fsm.NodeID, name, host string, reported fsm.State, connection, health string) monitorapi.NodeState {
		return monitorapi.NodeState{NodeID: id, Name: name, Host: host, Port: 5500 + int(id), Slot: "autoctl_standby_" + name, Reported: reported,
			Assigned: reported, Health: health, Timeline: 3, LSN: 0x3000148, Connection: connection, Priority: 50, Quorum: true, Open: reported.Serves(), LagBytes: -1}
	}
	nodes := []monitorapi.NodeState{
		node(2, "node2", "127.0.0.1", fsm.StatePrimary, "read-write", "good"),
		node(1, `o'brien "x"`, "::1", fsm.StateSecondary, "read-only", "bad"),
	}
	nodes[1].Problem = &fsm.Problem{Code: "no_room", Text: "no room for a base backup", Hint: "make some"}
	return monitorapi.State{Formations: []monitorapi.FormationState{{
		Name: "default", Kind: fsm.KindPgsql, Database: "shop", NumberSync: 0,
		Groups: []monitorapi.GroupState{{Nodes: nodes, Record: fsm.Record{{Seq: 4, K: 1, Primary: fsm.Member{Node: 2}, Members: []fsm.Member{{Node: 1}}}}}},
	}}}
}

func TestWriteState(t *testing.T) {
	var b strings.Builder
	writeState(&b, someState())
	want := `       Name | Node |      Host:Port |       TLI: LSN |  Connection | Reported State | Assigned State
------------+------+----------------+----------------+-------------+----------------+---------------
o'brien "x" |    1 |     [::1]:5501 |   3: 0/3000148 | read-only ! |      secondary | secondary
      node2 |    2 | 127.0.0.1:5502 |   3: 0/3000148 |  read-write |        primary | primary

o'brien "x": no room for a base backup (make some)
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestClassify: whose fault it is tells the exit code, not where it was noticed.
func TestClassify(t *testing.T) {
	for want, err := range map[class]error{
		classPrecondition: &monitorapi.Error{Code: monitorapi.CodeOtherSystem},
		classUnreachable:  &monitorapi.Error{Code: monitorapi.CodeTLS},
		classRefused:      &monitorapi.Error{Code: monitorapi.CodeConflict},
		classUsage:        errorOf(findKey("no.key")),
	} {
		if got := classify(attempt(err, "x")).class; got != want {
			t.Errorf("%v: class %s, want %s", err, got.name, want.name)
		}
	}
	if f := classify(fmt.Errorf("demo: %w", demo.ErrOccupied)); f.class != classPrecondition || f.hint == "" {
		t.Errorf("demo: class %s, hint %q", f.class.name, f.hint)
	}
}

// TestKeeperRows_Copying: data that are being replaced did not crash.
func TestKeeperRows_Copying(t *testing.T) {
	k := &keeper.ServiceStatus{Report: fsm.Report{Server: fsm.Server{Status: fsm.ServerCrashed}, Activity: &fsm.Activity{Kind: "basebackup"}}}
	var b strings.Builder
	pairs(&b, keeperRows(k))
	if strings.Contains(b.String(), "crashed") || !strings.Contains(b.String(), "data are copied") {
		t.Error(b.String())
	}
}

// TestLogLevel: what a logger passes changes with the configuration; options are stronger.
func TestLogLevel(t *testing.T) {
	t.Cleanup(func() { zerolog.SetGlobalLevel(zerolog.TraceLevel) })
	var out bytes.Buffer
	a := &app{err: &out}
	log := a.logger("info", "json")
	says := func(level string, want bool) {
		t.Helper()
		out.Reset()
		a.setLogLevel(level)
		log.Debug().Msg("detail")
		if got := out.Len() > 0; got != want {
			t.Errorf("level %s, verbose %d: %q", level, a.verbose, out.String())
		}
	}
	says("info", false)
	says("debug", true)
	says("error", false)
	a.verbose = 1
	says("error", true)
}

func errorOf(_ key, err error) error { return err }

func TestOnlyGroup(t *testing.T) {
	if all, err := onlyGroup(someState(), -1); err != nil || len(all.Formations) != 1 {
		t.Errorf("all groups: %+v, %v", all, err)
	}
	st := someState()
	st.Formations = append(st.Formations, monitorapi.FormationState{Name: "shop", Groups: []monitorapi.GroupState{{Group: 0}, {Group: 1}}})
	if one, err := onlyGroup(st, 1); err != nil || len(one.Formations) != 1 || one.Formations[0].Name != "shop" || len(one.Formations[0].Groups) != 1 {
		t.Errorf("group 1: %+v, %v", one.Formations, err)
	}
	_, err := onlyGroup(st, 7)
	if f := classify(err); f.class != classRefused || f.hint != "groups: default/0, shop/0, shop/1" {
		t.Errorf("group 7: %v, hint %q", err, f.hint)
	}
}

// TestInspect_JSON: every format of the table has a document.
func TestInspect_JSON(t *testing.T) {
	clean(t)
	for format, key := range map[string]string{"text": "rules", "mermaid": "mermaid"} {
		var doc map[string]any
		r := autoctl(t, "inspect", "fsm", "--format", format, "--output", "json")
		if err := json.Unmarshal([]byte(r.out), &doc); err != nil || doc[key] == nil {
			t.Errorf("%s: %v, exit %d: %s%s", format, err, r.code, r.out, r.err)
		}
	}
}

func TestGroupURIs(t *testing.T) {
	g := someState().Formations[0].Groups[0]
	write, read, err := groupURIs("shop", g, uriOptions{sslMode: "verify-full", sslRoot: "/etc/ca.pem", user: "app user"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "postgres://app%20user@127.0.0.1:5502,[::1]:5501/shop?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&target_session_attrs=read-write"; write != want {
		t.Errorf("%s\nwant %s", write, want)
	}
	if !strings.HasSuffix(read, "target_session_attrs=prefer-standby") {
		t.Error(read)
	}
}

func TestChangeTable(t *testing.T) {
	var b strings.Builder
	table := newChangeTable(&app{out: &b}, someState())
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	c := monitorapi.Change{Time: at, Node: 2, Name: "node2", Host: "127.0.0.1", Port: 5502, Reported: fsm.StatePrimary, Assigned: fsm.StateDraining}
	table.show(c)
	table.show(c) // the same again says nothing
	want := `    Time |        Name | Node |      Host:Port |       Current State | Assigned State
---------+-------------+------+----------------+---------------------+--------------------
03:04:05 |       node2 |    2 | 127.0.0.1:5502 |             primary | draining
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestStandbyNames(t *testing.T) {
	row := groupStandbyNames("default", someState().Formations[0].Groups[0])
	if want := `ANY 1 (autoctl_standby_o'brien "x")`; row.Names != want {
		t.Errorf("%s, want %s", row.Names, want)
	}
}

func TestProtected(t *testing.T) {
	g := someState().Formations[0].Groups[0]
	p := &g.Nodes[0]
	if !protected(g, p) {
		t.Error("a primary in its state counts as not protected")
	}
	p.Reported, p.Assigned = fsm.StateWaitPrimary, fsm.StateWaitPrimary
	g.Nodes[1].ReportAgeMS = 6000
	if !protected(g, p) {
		t.Error("waits for a standby that is not there")
	}
	g.Nodes[1].ReportAgeMS, g.Nodes[1].Problem = 100, nil
	if protected(g, p) {
		t.Error("does not wait for a standby that is there")
	}
}

func TestSettingText(t *testing.T) {
	for text, want := range map[string]int64{"3s": 3000, "500ms": 500, "250": 250, "1m": 60000} {
		x, err := findSetting("node_lost_after")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := x.parse(text); err != nil || n != want {
			t.Errorf("parse(%q) = %d, %v", text, n, err)
		}
	}
	x, err := findSetting("catchup_bytes")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := x.parse("16 MB"); err != nil || n != 16<<20 || x.text(n) != "16.0 MB" {
		t.Errorf("16 MB: %d, %v, %s", n, err, x.text(n))
	}
}

func TestProgress(t *testing.T) {
	var p progress
	began := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int, a *fsm.Activity, want bool) {
		t.Helper()
		if got := p.worthTelling(a, began.Add(time.Duration(seconds)*time.Second)); got != want {
			t.Errorf("after %d s: %v", seconds, got)
		}
	}
	copied := func(done int64) *fsm.Activity {
		return &fsm.Activity{Kind: "basebackup", Text: "copying", Done: done, Total: 1000}
	}
	at(0, nil, false)
	at(1, copied(1), true)
	at(2, copied(50), false)
	at(3, copied(100), true)
	at(4, copied(190), false)
	at(18, copied(191), true)
	at(19, nil, false)
	at(20, copied(191), true)
}
