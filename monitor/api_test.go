package monitor

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// answerAll is a decision that only answers commands.
func answerAll(g fsm.Group, _ fsm.Instant) fsm.Decision {
	d := fsm.Decision{Group: g}
	for _, c := range g.Commands {
		d.Answers = append(d.Answers, fsm.Answer{Command: c.ID, Outcome: fsm.OutcomeRefused, Text: "no: " + string(c.Kind)})
	}
	d.Group.Commands = nil
	return d
}

func TestAPI(t *testing.T) {
	b := newBench(t)
	b.c.Decide = answerAll
	b.create()
	b.start()
	client := b.dial()
	t.Run("register", func(t *testing.T) { testRegister(t, client) })
	t.Run("report", func(t *testing.T) { testReport(t, client) })
	t.Run("command", func(t *testing.T) { testCommand(t, client) })
	t.Run("formations", func(t *testing.T) { testFormations(t, client) })
	t.Run("settings", func(t *testing.T) { testSettings(t, client) })
	t.Run("metadata", func(t *testing.T) { testMetadata(t, client) })
	t.Run("a formation left by all", func(t *testing.T) { testLeft(t, b, client) })
	t.Run("privileges", func(t *testing.T) { testPrivileges(t, b) })
	t.Run("errors", func(t *testing.T) { testErrors(t, b) })
}

func wantCode(t *testing.T, err error, code monitorapi.Code) {
	t.Helper()
	if monitorapi.CodeOf(err) != code {
		t.Errorf("got %v (%s), want an error of code %s", err, monitorapi.CodeOf(err), code)
	}
}

func testRegister(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	first, err := client.Register(ctx, registration(1))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(monitorapi.Registered{Node: 1, Group: 0, Name: "node 1"}, first); diff != "" {
		t.Error(diff)
	}
	again, err := client.Register(ctx, registration(1))
	if err != nil || again != first {
		t.Errorf("got %+v, %v, want the same node", again, err)
	}
	r := registration(1)
	r.NodeID, r.Port = 1, 10099
	if moved, err := client.Register(ctx, r); err != nil || moved != first {
		t.Errorf("got %+v, %v, want the same node at its new address", moved, err)
	}
	for name, change := range map[string]func(*monitorapi.Registration){
		"name taken":    func(r *monitorapi.Registration) { r.Name = "node 1" },
		"address taken": func(r *monitorapi.Registration) { r.Port = 10099 },
		"id of another": func(r *monitorapi.Registration) { r.NodeID = 1 },
		"kind":          func(r *monitorapi.Registration) { r.Kind = fsm.KindCitus },
		"database":      func(r *monitorapi.Registration) { r.Database = "other" },
	} {
		r := registration(2)
		change(&r)
		_, err := client.Register(ctx, r)
		if monitorapi.CodeOf(err) != monitorapi.CodeConflict {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
	}
	for name, change := range map[string]func(*monitorapi.Registration){
		"port":     func(r *monitorapi.Registration) { r.Port = 0 },
		"host":     func(r *monitorapi.Registration) { r.Host = "a b" },
		"token":    func(r *monitorapi.Registration) { r.Token = "x" },
		"priority": func(r *monitorapi.Registration) { r.Priority = 101 },
		"group":    func(r *monitorapi.Registration) { r.Group = 1 },
	} {
		r := registration(2)
		change(&r)
		_, err := client.Register(ctx, r)
		if monitorapi.CodeOf(err) != monitorapi.CodeInvalid {
			t.Errorf("%s: got %v, want it called invalid", name, err)
		}
	}
	r = registration(2)
	r.Formation = "none"
	_, err = client.Register(ctx, r)
	wantCode(t, err, monitorapi.CodeUnknown)
	r = registration(2)
	r.NodeID = 77
	_, err = client.Register(ctx, r)
	wantCode(t, err, monitorapi.CodeUnknown)
	r = registration(2)
	r.Name = ""
	second, err := client.Register(ctx, r)
	if err != nil || second.Name == "" || second.Node <= first.Node {
		t.Errorf("got %+v, %v, want a node with a name and a new id", second, err)
	}
}

func testReport(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	changes, err := client.Changes(ctx, "default")
	if err != nil {
		t.Fatal(err)
	}
	r := fsm.Report{
		Node: 1, Token: registration(1).Token, State: fsm.StateSingle, Open: true, PrimarySeenMS: -1, CommitAgeMS: 3,
		Server: fsm.Server{Status: fsm.ServerRunning, Timeline: 1}, Position: fsm.Position{LSN: 0x3000000, Timeline: 1},
		Standbys: []fsm.Standby{{Node: 2, Streaming: true, LagBytes: 42}},
	}
	goal, err := client.Report(ctx, r)
	if err != nil || goal.State != fsm.StateInit {
		t.Errorf("got %+v, %v, want no goal yet", goal, err)
	}
	got := <-changes
	if got.Node != 1 || got.Event != "state" || got.Reported != fsm.StateSingle || got.Name != "node 1" || got.Time.IsZero() {
		t.Errorf("got %+v, want the news of the reported state", got)
	}
	s, err := client.State(ctx, "default", 0)
	if err != nil {
		t.Fatal(err)
	}
	n := s.Formations[0].Groups[0].Nodes[0]
	if n.Connection != "read-write" || n.LSN != 0x3000000 || n.Timeline != 1 || n.Reported != fsm.StateSingle || n.Assigned != fsm.StateInit {
		t.Errorf("got %+v", n)
	}
	if n.Slot != "autoctl_standby_1_00000001" {
		t.Errorf("got slot %q", n.Slot)
	}
	r.Unconfirmed = 0x3000028 // the gate was opened without the standbys: that is an event, once
	for range 2 {
		if _, err := client.Report(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	r.Token = "deadbeef"
	_, err = client.Report(ctx, r)
	wantCode(t, err, monitorapi.CodeUnknown)
	r.Node = 99
	_, err = client.Report(ctx, r)
	wantCode(t, err, monitorapi.CodeUnknown)
	var in monitorapi.Snapshot
	eventually(t, "the decision loop shows a sign of life", func() bool {
		if in, err = client.ExplainInput(ctx, "default", 0); err != nil {
			t.Fatal(err)
		}
		return in.DeciderAgeMS >= 0
	})
	g, now := in.Group, in.Now
	if in.DeciderAgeMS > 60000 {
		t.Errorf("the decision loop gave its last sign of life %d ms ago", in.DeciderAgeMS)
	}
	if len(g.Nodes) != 2 || g.Nodes[0].Report == nil || now < g.Nodes[0].Heard || g.Nodes[0].Heard < 0 {
		t.Errorf("got %+v at %v", g, now)
	}
	events, err := client.Events(ctx, monitorapi.EventFilter{Node: 1})
	if err != nil || len(events) != 3 || events[0].Kind != "registered" || events[1].Kind != "state" ||
		events[2].Kind != "unconfirmed" || !strings.Contains(events[2].Reason, "0/3000028") {
		t.Errorf("got %+v, %v", events, err)
	}
}

func testCommand(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	var failed error
	results := make(chan error, 16)
	for range 16 {
		go func() {
			a, err := client.Command(ctx, "default", 0, fsm.Command{Kind: fsm.CommandFailover})
			if err == nil && (a.Outcome != fsm.OutcomeRefused || a.Text != "no: failover") {
				err = errors.New("wrong answer: " + a.Text)
			}
			results <- err
		}()
	}
	for range 16 {
		failed = errors.Join(failed, <-results)
	}
	if failed != nil {
		t.Error(failed)
	}
	_, err := client.Command(ctx, "default", 3, fsm.Command{Kind: fsm.CommandFailover})
	wantCode(t, err, monitorapi.CodeUnknown)
	_, err = client.Command(ctx, "default", 0, fsm.Command{Kind: fsm.CommandPriority, Node: 12})
	wantCode(t, err, monitorapi.CodeUnknown)
}

func testFormations(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	f := monitorapi.Formation{Name: `it's "ä"`, Kind: fsm.KindPgsql, Database: "app", NumberSync: 1}
	if err := client.CreateFormation(ctx, f); err != nil {
		t.Fatal(err)
	}
	wantCode(t, client.CreateFormation(ctx, f), monitorapi.CodeConflict)
	wantCode(t, client.CreateFormation(ctx, monitorapi.Formation{}), monitorapi.CodeInvalid)
	list, err := client.Formations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []monitorapi.Formation{{Name: "default", Kind: fsm.KindPgsql, Database: "postgres", Nodes: 2}, f}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if err := client.DropFormation(ctx, f.Name); err != nil {
		t.Error(err)
	}
	wantCode(t, client.DropFormation(ctx, f.Name), monitorapi.CodeUnknown)
	wantCode(t, client.DropFormation(ctx, "default"), monitorapi.CodeRefused)
	for _, want := range []bool{true, false} {
		if changed, err := client.Pause(ctx, "default"); err != nil || changed != want {
			t.Errorf("got %v, %v, want %v", changed, err, want)
		}
	}
	if changed, err := client.Resume(ctx, "default"); err != nil || !changed {
		t.Errorf("got %v, %v, want a change", changed, err)
	}
}

// testLeft: a formation whose last node has left is as new, and the next node decides about its database.
func testLeft(t *testing.T, b *bench, client *monitorapi.Client) {
	t.Helper()
	if err := client.CreateFormation(t.Context(), monitorapi.Formation{Name: "left", Kind: fsm.KindPgsql, Database: "app"}); err != nil {
		t.Fatal(err)
	}
	r := registration(7)
	r.Formation, r.Database = "left", "app"
	if _, err := client.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := b.super().Exec(t.Context(), "delete from autoctl.node where formation = 'left'"); err != nil {
		t.Fatal(err)
	}
	r.Database = "other"
	if _, err := client.Register(t.Context(), r); err != nil {
		t.Errorf("the next node may not bring its own database: %v", err)
	}
	r = registration(8)
	r.Formation, r.Database = "left", "app"
	_, err := client.Register(t.Context(), r)
	if e, ok := errors.AsType[*monitorapi.Error](err); !ok || e.Code != monitorapi.CodeConflict || !strings.Contains(e.Hint, "--dbname") {
		t.Errorf("got %v, want a conflict that says what to do", err)
	}
	if _, err := b.super().Exec(t.Context(), "delete from autoctl.node where formation = 'left'"); err != nil {
		t.Fatal(err)
	}
	if err := client.DropFormation(t.Context(), "left"); err != nil {
		t.Error(err)
	}
}

func testSettings(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	s, err := client.Settings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fsm.DefaultSettings(), s); diff != "" {
		t.Error(diff)
	}
	s.NodeLostAfterMS = 10
	wantCode(t, client.SetSettings(ctx, s), monitorapi.CodeInvalid)
	s.NodeLostAfterMS = 4000
	if err := client.SetSettings(ctx, s); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Settings(ctx); err != nil || got != s {
		t.Errorf("got %+v, %v, want what was set", got, err)
	}
}

func testMetadata(t *testing.T, client *monitorapi.Client) {
	t.Helper()
	ctx := t.Context()
	if err := client.SetNodeMetadata(ctx, 1, monitorapi.Metadata{Name: "été", Port: 10001}); err != nil {
		t.Fatal(err)
	}
	n, err := client.NodeByName(ctx, "default", "été")
	if err != nil || n.NodeID != 1 || n.Port != 10001 || n.Host != "127.0.0.1" {
		t.Errorf("got %+v, %v", n, err)
	}
	wantCode(t, client.SetNodeMetadata(ctx, 2, monitorapi.Metadata{Name: "été"}), monitorapi.CodeConflict)
	wantCode(t, client.SetNodeMetadata(ctx, 2, monitorapi.Metadata{Port: 70000}), monitorapi.CodeInvalid)
	_, err = client.NodeByName(ctx, "default", "nobody")
	wantCode(t, err, monitorapi.CodeUnknown)
	tl, err := client.Timelines(ctx, "default", 0)
	if err != nil || len(tl.Nodes) != 2 {
		t.Errorf("got %+v, %v", tl, err)
	}
}

// testPrivileges: the clients' role may execute the functions of the API and nothing else.
func testPrivileges(t *testing.T, b *bench) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.uri())
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp(context.Background(), conn)
	for _, statement := range []string{
		"select * from autoctl.node", "select * from autoctl.report", "update autoctl.grp set epoch = 0", "delete from autoctl.event",
		"select autoctl.publish('default', 0, '{}')", "select autoctl.store('default', 0, '', '{}', '{}')",
		"select autoctl.new_incarnation(0, '')", "select autoctl.group_snapshot('default', 0)", "select autoctl.wake('default', 0)",
		"select nextval('autoctl.node_id')", "create table autoctl.x ()", "create table public.x ()", "create temp table x ()",
		"create schema x", "select pg_read_file('/etc/passwd')", "copy (select 1) to program 'true'", "set role autoctl_owner",
		"alter role autoctl_node superuser", "create role x",
	} {
		_, err := conn.Exec(t.Context(), statement)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42501" {
			t.Errorf("%s: got %v, want permission denied", statement, err)
		}
	}
	var functions int
	err = conn.QueryRow(t.Context(), `select count(*) from pg_proc where pronamespace = 'autoctl'::regnamespace
		and has_function_privilege('autoctl_node', oid, 'execute')`).Scan(&functions)
	if err != nil || functions != 22 {
		t.Errorf("clients may execute %d functions (%v), want the 22 of the API", functions, err)
	}
}

// testErrors: bad input gets an error of its class that holds no secret.
func testErrors(t *testing.T, b *bench) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}
	}()
	port := strings.Split(b.uri(), ":")[2]
	port = port[:strings.Index(port, "/")]
	for _, test := range []struct {
		uri  string
		code monitorapi.Code
	}{
		{"postgres://autoctl_node:hunter2@127.0.0.1:1/autoctl?sslmode=disable", monitorapi.CodeUnreachable},
		{"postgres://autoctl_node:hunter2@no-such-host.invalid:5432/autoctl", monitorapi.CodeUnreachable},
		{"postgres://autoctl_node:hunter2@127.0.0.1:" + port + "/postgres?sslmode=disable", monitorapi.CodeAuth},
		{"postgres://nobody:hunter2@127.0.0.1:" + port + "/autoctl?sslmode=disable", monitorapi.CodeAuth},
		{"postgres://autoctl_node:hunter2@127.0.0.1:" + port + "/autoctl?sslmode=require", monitorapi.CodeTLS},
		{"postgres://autoctl_node:hunter2@" + l.Addr().String() + "/autoctl?sslmode=disable", monitorapi.CodeNotMonitor},
		{"postgres://autoctl_node:hunter2@:bad/autoctl", monitorapi.CodeInvalid},
	} {
		_, err := monitorapi.Dial(ctx, test.uri, monitorapi.Options{ConnectTimeout: 2 * time.Second})
		wantCode(t, err, test.code)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestProtocolVersion(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	b.dial()
	conn := b.super()
	_, err := conn.Exec(t.Context(), "select autoctl.hello(99, '')")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "AC001" || !strings.Contains(pg.Message, "protocol 99") {
		t.Errorf("got %v, want a refusal of protocol 99", err)
	}
}
