package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/local"
	"github.com/autoctl/autoctl/keeper/state"
)

// TestH27_ExitCodes: a command that could not reach the monitor, or was refused before it asked, never ends as if it had done what it was told to.
func TestH27_ExitCodes(t *testing.T) {
	clean(t)
	const nobody = " --monitor postgres://autoctl_node@127.0.0.1:1/autoctl?sslmode=disable"
	for _, command := range []string{
		"perform failover", "perform switchover", "perform promotion --name a", "enable maintenance --name a", "disable maintenance --name a",
		"drop node --name a", "drop formation --formation x", "set node candidate-priority 1 --name a", "set node replication-quorum true --name a",
		"set formation number-sync-standbys 1", "set formation settings node_lost_after=4s", "show state", "show events", "show uri", "explain",
		"create formation --formation x",
	} {
		r := autoctl(t, strings.Fields(command+nobody)...)
		if r.code != classUnreachable.code || r.err == "" {
			t.Errorf("%s: exit %d, says %q", command, r.code, r.err)
		}
	}
	seen := map[int]string{}
	for _, c := range classes() {
		if c.code == 0 || seen[c.code] != "" {
			t.Errorf("class %s has the code %d, as %q has", c.name, c.code, seen[c.code])
		}
		seen[c.code] = c.name
	}
}

// TestS15_WeakCommits: a session that asks for less than "on" is outside the promise that nothing acknowledged is lost; config check names the roles and
// databases of which that is so.
func TestS15_WeakCommits(t *testing.T) {
	pgtest.AsServerUser(t)
	s := pgtest.NewStarted(t, nil)
	s.Exec("create role hasty")
	s.Exec("create database shop")
	t.Setenv("PGUSER", s.Query("select current_user")) // the command is run as the user to whom the server belongs
	l := &loaded{}
	l.Role, l.PostgreSQL.SocketDirectory, l.PostgreSQL.Port = roleKeeper, s.SocketDir, s.Port
	if got := l.weakCommits(t.Context()); len(got) != 0 {
		t.Errorf("of a server on which nobody asked for less: %q", got)
	}
	s.Exec("alter role hasty set synchronous_commit = off")
	s.Exec("alter database shop set synchronous_commit = remote_write")
	s.Exec("alter role hasty in database shop set synchronous_commit = remote_apply")
	got := strings.Join(l.weakCommits(t.Context()), "\n")
	for _, want := range []string{"role hasty: synchronous_commit=off", "database shop: synchronous_commit=remote_write", "may lose them"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not named: %q", want, got)
		}
	}
	if strings.Contains(got, "remote_apply") {
		t.Errorf("what is stronger than on is named: %q", got)
	}
}

// TestDropNode_Elsewhere: --destroy --force goes on without the monitor only where it is the node's own that cannot be asked, about the node's own formation.
func TestDropNode_Elsewhere(t *testing.T) {
	_, pgdata := written(t, strings.Replace(keeperFile, ":5432/", ":1/", 1))
	store, err := state.Open(statePath(pgdata))
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Join(pgdata, "base"), 0o700), os.MkdirAll(statePath(pgdata), 0o700))
	}
	if err == nil {
		err = store.Update(func(m *fsm.Memory) { m.Node, m.Goal.Formation, m.Goal.Group = 3, "default", 0 })
	}
	if err != nil {
		t.Fatal(err)
	}
	destroy := func(options ...string) result {
		t.Helper()
		return autoctl(t, append([]string{"drop", "node", "--destroy", "--force", "--pgdata", pgdata}, options...)...)
	}
	refused := func(r result, says string) {
		t.Helper()
		if _, err := os.Lstat(pgdata); r.code != classRefused.code || !strings.Contains(r.err, says) || err != nil {
			t.Errorf("exit %d, %v: %s", r.code, err, r.err)
		}
	}
	refused(destroy("--formation", "typo"), `formation "default"`)
	refused(destroy("--group", "7"), "group 0")
	refused(destroy("--monitor", "postgres://autoctl_node@127.0.0.2:1/autoctl"), "not the monitor")
	t.Setenv("AUTOCTL_FORMATION", "typo")
	refused(destroy(), `formation "default"`)
	t.Setenv("AUTOCTL_FORMATION", "")
	if r := destroy("--group", "0", "--formation", "default"); r.code != 0 || exists(pgdata) {
		t.Errorf("its own: exit %d: %s", r.code, r.err)
	}
}

// awaitSocket returns when somebody answers on the socket of a state directory.
func awaitSocket(ctx context.Context, dir string) {
	for ctx.Err() == nil && errors.Is(control.Call(ctx, dir, control.Request{Command: "anybody there"}, nil, nil), control.ErrNotRunning) {
		runtime.Gosched()
	}
}

// TestStop_WaitsForTheLock: who ended has ended: what runs next must not find the lock taken.
func TestStop_WaitsForTheLock(t *testing.T) {
	_, pgdata := written(t, keeperFile)
	dir := statePath(pgdata)
	lock, err := state.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- control.Serve(ctx, dir, func(_ context.Context, r control.Request, _ func(string)) (any, error) {
			if r.Command == "stop" {
				hangUp() // the socket is closed first, as the daemons do
			}
			return nil, nil
		})
	}()
	ended := make(chan result, 1)
	go func() {
		awaitSocket(t.Context(), dir)
		ended <- autoctl(t, "stop", "--keeper-only", "--pgdata", pgdata)
	}()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-ended:
		t.Errorf("said to have ended while the lock was held: exit %d, %s%s", r.code, r.out, r.err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if r := <-ended; r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestEnableMonitor_Replaced: a monitor that was made anew under the same URI does not know the node, whatever node it has under that number.
func TestEnableMonitor_Replaced(t *testing.T) {
	m := fsm.Memory{Node: 2, Token: "0a1b2c3d"}
	of := func(nodes ...monitorapi.NodeState) monitorapi.State {
		return monitorapi.State{Formations: []monitorapi.FormationState{{Name: "default", Groups: []monitorapi.GroupState{{Nodes: nodes}}}}}
	}
	for name, c := range map[string]struct {
		st   monitorapi.State
		want bool
	}{
		"nothing":          {monitorapi.State{}, false},
		"another number":   {of(monitorapi.NodeState{NodeID: 1, Slot: local.StandbyName(2, m.Token)}), false},
		"another node":     {of(monitorapi.NodeState{NodeID: 2, Slot: local.StandbyName(2, "ffffffff")}), false},
		"the node, second": {of(monitorapi.NodeState{NodeID: 1}, monitorapi.NodeState{NodeID: 2, Slot: local.StandbyName(2, m.Token)}), true},
	} {
		if got := knows(c.st, m); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestDaemonWithoutConfiguration: a configuration that was damaged while its daemon runs is in the way of neither a look nor a stop.
func TestDaemonWithoutConfiguration(t *testing.T) {
	path, pgdata := written(t, keeperFile)
	dir := statePath(pgdata)
	if err := os.WriteFile(path, []byte("role: [keeper\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := autoctl(t, "stop", "--pgdata", pgdata); r.code != classConfig.code {
		t.Errorf("where nothing runs: exit %d: %s", r.code, r.err)
	}
	lock, err := state.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	asked, served := make(chan string, 1), make(chan error, 1)
	go func() {
		served <- control.Serve(ctx, dir, func(_ context.Context, r control.Request, _ func(string)) (any, error) {
			if r.Command != "stop" {
				return nil, nil
			}
			asked <- r.Command
			hangUp()
			return nil, lock.Release()
		})
	}()
	awaitSocket(t.Context(), dir)
	if r := autoctl(t, "stop", "--pgdata", pgdata); r.code != 0 || !strings.Contains(r.err, "read configuration") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if err := <-served; err != nil || <-asked != "stop" {
		t.Errorf("not asked to stop: %v", err)
	}
}

// TestCreateRun_Dropped: a service manager that repeats "create --run" does not make a node again that an operator has dropped.
func TestCreateRun_Dropped(t *testing.T) {
	_, pgdata := written(t, keeperFile)
	store, err := state.Open(statePath(pgdata))
	if err == nil {
		err = os.MkdirAll(statePath(pgdata), 0o700)
	}
	if err == nil {
		err = store.Update(func(m *fsm.Memory) { m.Node, m.Released = 3, true })
	}
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Fields("create postgres --auth trust --no-ssl --monitor postgres://autoctl_node@127.0.0.1:1/autoctl --pgdata")
	if r := autoctl(t, append(args, pgdata, "--run")...); r.code != classDropped.code || !strings.Contains(r.err, "without --run") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := autoctl(t, append(args, pgdata)...); r.code == classDropped.code {
		t.Errorf("without --run: exit %d: %s", r.code, r.err)
	}
}

// TestAmbient: what a shell has set for applications neither chooses another monitor nor refuses ours for what it is.
func TestAmbient(t *testing.T) {
	clean(t)
	for name, value := range map[string]string{"PGSERVICE": "nowhere", "PGTARGETSESSIONATTRS": "primary", "PGREQUIREAUTH": "none"} {
		t.Setenv(name, value)
	}
	if r := autoctl(t, "show", "state", "--monitor", "postgres://autoctl_node@127.0.0.1:1/autoctl"); r.code != classUnreachable.code {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil || config.ValidateConnect != nil {
		t.Errorf("a server is still refused for what it is: %v", err)
	}
}
