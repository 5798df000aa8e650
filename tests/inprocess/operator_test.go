package inprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/keeper"
)

// TestPair_Switchover: roles change on request, there and back.
func TestPair_Switchover(t *testing.T) {
	s, a, b := pair(t)
	s.mustWrite("create table t (n int)", a, b)
	began := time.Now()
	s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeAccepted)
	s.mustWrite("insert into t values (1)", b)
	t.Logf("written %v after the command", time.Since(began))
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	s.command(fsm.Command{Kind: fsm.CommandPromotion, Node: a.id()}, fsm.OutcomeAccepted)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// TestPair_Maintenance: a standby, and then a primary, are given to the operator
// and come back.
func TestPair_Maintenance(t *testing.T) {
	s, a, b := pair(t)
	s.command(fsm.Command{Kind: fsm.CommandMaintenance, Node: b.id()}, fsm.OutcomeAccepted)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateWaitPrimary, "b": fsm.StateMaintenance})
	s.command(fsm.Command{Kind: fsm.CommandReturn, Node: b.id()}, fsm.OutcomeAccepted)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.command(fsm.Command{Kind: fsm.CommandMaintenance, Node: a.id()}, fsm.OutcomeRefused)
	s.command(fsm.Command{Kind: fsm.CommandMaintenance, Node: a.id(), AllowFailover: true}, fsm.OutcomeAccepted)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateMaintenance, "b": fsm.StateWaitPrimary})
	s.command(fsm.Command{Kind: fsm.CommandReturn, Node: a.id()}, fsm.OutcomeAccepted)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
}

// TestPair_Drop: a dropped standby leaves and its keeper ends; created again, it
// is a node as any.
func TestPair_Drop(t *testing.T) {
	s, a, b := pair(t)
	s.command(fsm.Command{Kind: fsm.CommandDrop, Node: b.id()}, fsm.OutcomeAccepted)
	select {
	case err := <-b.ended:
		if !errors.Is(err, keeper.ErrDropped) {
			t.Fatal(err)
		}
		b.ended <- nil
	case <-time.After(30 * time.Second):
		t.Fatal("the keeper of a dropped node goes on")
	}
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSingle})
	made, err := keeper.Create(t.Context(), b.cfg, s.client, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	b.cfg = made.Config
	b.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("create table t (n int)", a, b)
}

// TestPair_Rebuild: a standby's data is thrown away and copied again.
func TestPair_Rebuild(t *testing.T) {
	s, _, b := pair(t)
	s.command(fsm.Command{Kind: fsm.CommandRebuild, Node: b.id()}, fsm.OutcomeAccepted)
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
}

// ownServer starts a server whose settings are its owner's, in postgresql.conf.
func ownServer(t *testing.T) *pgtest.Server {
	t.Helper()
	server := pgtest.New(t, nil)
	params := conf.Params{"work_mem": "7MB"}
	for _, name := range []string{"port", "listen_addresses", "unix_socket_directories", "shared_buffers"} {
		params[name] = server.Params[name]
	}
	text, err := params.Render()
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(server.DataDir, "postgresql.conf")
	if _, err := conf.RemoveInclude(config, conf.FileName); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(config, append(before, text...), 0o600), os.Remove(filepath.Join(server.DataDir, conf.FileName))); err != nil {
		t.Fatal(err)
	}
	server.Start()
	return server
}

// TestAdopt: a server that runs with its own data becomes a primary without a
// restart where it lacks nothing, keeps its data, and gets a standby.
func TestAdopt(t *testing.T) {
	t.Parallel()
	old := ownServer(t)
	old.Exec("create table t as select 1 as n")
	s := newSite(t)
	a := s.node("a")
	a.cfg.PGData, a.cfg.Port, a.cfg.SocketDir = old.DataDir, old.Port, old.SocketDir
	made, err := keeper.Create(t.Context(), a.cfg, s.client, func(note string) { t.Log(note) })
	if err != nil || made.Case != keeper.CaseExisting {
		t.Fatal(made.Case, err)
	}
	before, err := pgserver.ReadPIDFile(old.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	a.cfg = made.Config
	a.start()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSingle})
	b := s.add("b")
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	after, err := pgserver.ReadPIDFile(old.DataDir)
	if before.PID != after.PID || err != nil {
		t.Errorf("restarted: process %d became %d, %v", before.PID, after.PID, err)
	}
	s.mustWrite("insert into t values (2)", a, b)
	if got := old.Query("show work_mem"); got != "7MB" {
		t.Errorf("work_mem is %s", got)
	}
}

// TestPair_DroppedWhileAway: a node that was dropped by force while it was away
// stops when it comes back, says that it was dropped, and can be made a node
// again.
func TestPair_DroppedWhileAway(t *testing.T) {
	s, a, b := pair(t)
	b.silence()
	id := b.id()
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateWaitPrimary})
	s.command(fsm.Command{Kind: fsm.CommandDrop, Node: id, Force: true}, fsm.OutcomeAccepted)
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSingle})
	b.start()
	select {
	case err := <-b.ended:
		if !errors.Is(err, keeper.ErrDropped) {
			t.Fatal(err)
		}
		b.ended <- nil
	case <-time.After(30 * time.Second):
		t.Fatal("the keeper of a node that was dropped goes on")
	}
	if _, err := pgserver.Adopt(b.cfg.PGData); !errors.Is(err, pgserver.ErrNotRunning) {
		t.Errorf("its server: %v", err)
	}
	if _, err := keeper.Open(t.Context(), keeper.Options{Config: b.cfg, Log: b.log}); !errors.Is(err, keeper.ErrDropped) {
		t.Errorf("started again: %v", err)
	}
	made, err := keeper.Create(t.Context(), b.cfg, s.client, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	b.cfg = made.Config
	b.start()
	s.states(60*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("create table t (n int)", a, b)
}

// show returns a setting of a node's server.
func (n *node) show(name string) (value string) {
	n.s.t.Helper()
	ctx, cancel := context.WithTimeout(n.s.t.Context(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", n.cfg.SocketDir, n.cfg.Port))
	if err != nil {
		return err.Error()
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, "select setting from pg_settings where name = $1", name).Scan(&value); err != nil {
		return err.Error()
	}
	return value
}

// TestPair_LimitsFirst: a setting that a standby must match or exceed, raised in
// the primary's file, is in force on the standby before the primary has it, and
// replay never pauses.
func TestPair_LimitsFirst(t *testing.T) {
	s, a, b := pair(t)
	config := filepath.Join(a.cfg.PGData, "postgresql.conf")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, regexp.MustCompile(`(?m)^max_connections = \d+`).ReplaceAll(text, []byte("max_connections = 137")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.await("the standby has it", 30*time.Second, func(monitorapi.State) bool { return b.show("max_connections") == "137" })
	if got := a.show("max_connections"); got == "137" {
		t.Error("the primary was restarted")
	}
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	before := b.pid()
	a.stop(keeper.StopFast)
	a.start()
	s.mustWrite("create table t (n int)", a)
	if got := a.show("max_connections"); got != "137" {
		t.Errorf("the primary has %s", got)
	}
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.await("the standby has replayed it", 10*time.Second, func(monitorapi.State) bool { return b.replayed("t") })
	if before != b.pid() || s.elections() != 0 {
		t.Errorf("the standby was restarted once more (process %d became %d), or an election began (%d)", before, b.pid(), s.elections())
	}
}

func (n *node) pid() int {
	n.s.t.Helper()
	f, err := pgserver.ReadPIDFile(n.cfg.PGData)
	if err != nil {
		n.s.t.Fatal(err)
	}
	return f.PID
}

// replayed reports whether a table is there.
func (n *node) replayed(table string) bool {
	conn, err := pgx.Connect(n.s.t.Context(), fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", n.cfg.SocketDir, n.cfg.Port))
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(n.s.t.Context()))
	var there bool
	return conn.QueryRow(n.s.t.Context(), "select to_regclass($1) is not null", table).Scan(&there) == nil && there
}
