package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/state"
)

// registrar is a monitor that knows registrations only.
type registrar struct {
	asked []monitorapi.Registration
	err   error
}

func (r *registrar) Register(_ context.Context, reg monitorapi.Registration) (monitorapi.Registered, error) {
	r.asked = append(r.asked, reg)
	return monitorapi.Registered{Node: 4, Group: 0, Name: "node_4"}, r.err
}

func config(t *testing.T) keeper.Config {
	t.Helper()
	dir := pgtest.TempDir(t)
	return keeper.Config{
		PGData: filepath.Join(dir, "data"), StateDir: filepath.Join(dir, "state"), SocketDir: dir,
		Port: pgtest.FreePort(t), Listen: "127.0.0.1", Host: "127.0.0.1", Formation: "default", Kind: fsm.KindPgsql, Group: -1,
		Priority: 50, Quorum: true, Monitor: "postgres://autoctl_node@127.0.0.1:5/autoctl", Auth: "trust", Database: "postgres",
		PGCtl: pgtest.Binaries(t).Path("pg_ctl"),
	}
}

func create(t *testing.T, cfg keeper.Config, r *registrar) (keeper.Created, []string, error) {
	t.Helper()
	var notes []string
	made, err := keeper.Create(t.Context(), cfg, r, func(s string) { notes = append(notes, s) })
	return made, notes, err
}

func memoryOf(t *testing.T, cfg keeper.Config) fsm.Memory {
	t.Helper()
	s, err := state.Open(cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Get()
}

func TestCreate_Empty(t *testing.T) {
	cfg, r := config(t), &registrar{err: errors.New("connection lost")}
	if _, _, err := create(t, cfg, r); err == nil {
		t.Fatal("created without a monitor")
	}
	token := memoryOf(t, cfg).Token
	r.err = nil
	made, _, err := create(t, cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	want := cfg
	want.Group, want.Name = 0, "node_4"
	if diff := cmp.Diff(want, made.Config); diff != "" || made.Case != keeper.CaseEmpty {
		t.Errorf("case %s %s", made.Case, diff)
	}
	if m := memoryOf(t, cfg); m.Node != 4 || m.Token != token || r.asked[0].Token != token || r.asked[1].Token != token {
		t.Errorf("an answer that was lost made another node: %+v, %+v", m, r.asked)
	}
	if r.asked[1].HasData || r.asked[1].SystemID != 0 {
		t.Errorf("registered %+v", r.asked[1])
	}
	if made, _, err = create(t, cfg, r); err != nil || made.Case != keeper.CaseAgain || r.asked[2].NodeID != 4 {
		t.Errorf("again: %+v, %v", made, err)
	}
}

// TestCreate_Existing: what the cluster lacks is said, and nothing of it is
// touched.
func TestCreate_Existing(t *testing.T) {
	s := pgtest.New(t, conf.Params{"wal_level": "minimal", "max_wal_senders": "0"})
	cfg, r := config(t), &registrar{}
	cfg.PGData = s.DataDir
	before := listing(t, s.DataDir)
	made, notes, err := create(t, cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	if made.Case != keeper.CaseExisting || !r.asked[0].HasData || r.asked[0].SystemID == 0 || memoryOf(t, cfg).Generation != 1 {
		t.Errorf("%+v, registered %+v", made, r.asked[0])
	}
	if text := strings.Join(notes, "\n"); !strings.Contains(text, "wal_level is minimal") || !strings.Contains(text, "max_wal_senders is 0") {
		t.Errorf("notes:\n%s", text)
	}
	if diff := cmp.Diff(before, listing(t, s.DataDir)); diff != "" {
		t.Errorf("data directory changed: %s", diff)
	}
}

// TestCreate_Running: a running server keeps running, on its port and with its socket.
func TestCreate_Running(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	cfg, r := config(t), &registrar{}
	cfg.PGData, cfg.SocketDir = s.DataDir, s.SocketDir
	if _, _, err := create(t, cfg, r); code(err) != keeper.CodePort {
		t.Errorf("another port: %v", err)
	}
	cfg.Port, cfg.SocketDir = s.Port, pgtest.TempDir(t)
	if _, _, err := create(t, cfg, r); code(err) != keeper.CodePort || !strings.Contains(err.Error(), s.SocketDir) {
		t.Errorf("another socket: %v", err)
	}
	cfg.SocketDir = ""
	made, _, err := create(t, cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	if made.Config.SocketDir != s.SocketDir {
		t.Errorf("the server's socket is in %s, the configuration says %q", s.SocketDir, made.Config.SocketDir)
	}
	cfg = made.Config
	cfg.SocketDir = pgtest.TempDir(t)
	if _, err := keeper.Open(t.Context(), keeper.Options{Config: cfg}); code(err) != keeper.CodePort {
		t.Errorf("run with another socket: %v", err)
	}
	if !s.Process.Running() {
		t.Error("the server was stopped")
	}
}

// TestCreate_OtherSystem: the monitor's refusal of another cluster leaves the
// directory as it was.
func TestCreate_OtherSystem(t *testing.T) {
	s := pgtest.New(t, conf.Params{"wal_level": "minimal", "max_wal_senders": "0"})
	cfg := config(t)
	cfg.PGData = s.DataDir
	before := listing(t, s.DataDir)
	refusal := &monitorapi.Error{Code: monitorapi.CodeOtherSystem, Text: "other system"}
	_, notes, err := create(t, cfg, &registrar{err: refusal})
	if monitorapi.CodeOf(err) != monitorapi.CodeOtherSystem || len(notes) > 0 {
		t.Errorf("%v, after saying %q", err, notes)
	}
	if _, err := os.Lstat(cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory stays: %v", err)
	}
	if diff := cmp.Diff(before, listing(t, s.DataDir)); diff != "" {
		t.Errorf("data directory changed: %s", diff)
	}
}

func TestCreate_Refusals(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, cfg *keeper.Config)
		want    keeper.Code
	}{
		"not PostgreSQL's": {func(t *testing.T, cfg *keeper.Config) { t.Helper(); write(t, cfg.PGData, "holiday.jpg", "") }, keeper.CodeForeign},
		"other version":    {func(t *testing.T, cfg *keeper.Config) { t.Helper(); write(t, cfg.PGData, "PG_VERSION", "9\n") }, keeper.CodeOtherVersion},
		"damaged": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			pgtest.CopyTemplate(t, cfg.PGData)
			if err := os.Remove(filepath.Join(cfg.PGData, "global", "pg_control")); err != nil {
				t.Fatal(err)
			}
		}, keeper.CodeDamaged},
		"open to others": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			pgtest.CopyTemplate(t, cfg.PGData)
			if err := os.Chmod(cfg.PGData, 0o777); err != nil {
				t.Fatal(err)
			}
		}, keeper.CodeForeign},
		"port in use": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cfg.Port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}, keeper.CodePort},
		"no socket directory": {func(_ *testing.T, cfg *keeper.Config) { cfg.SocketDir = filepath.Join(cfg.SocketDir, "gone") }, keeper.CodeSetup},
		"long socket directory": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			cfg.SocketDir = filepath.Join(cfg.SocketDir, strings.Repeat("x", 100))
			write(t, cfg.SocketDir, "here", "")
		}, keeper.CodeSetup},
		"unknown host": {func(_ *testing.T, cfg *keeper.Config) { cfg.Host = "no-such-host.invalid" }, keeper.CodeHost},
		"certificate without key": {func(_ *testing.T, cfg *keeper.Config) {
			cfg.SSL.Cert = "/x/server.crt"
		}, keeper.CodeConfig},
		"priority":      {func(_ *testing.T, cfg *keeper.Config) { cfg.Priority = 101 }, keeper.CodeConfig},
		"damaged state": {func(t *testing.T, cfg *keeper.Config) { t.Helper(); write(t, cfg.StateDir, state.FileName, "{") }, keeper.CodeState},
		"second keeper": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			l, err := state.Acquire(cfg.StateDir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Release() })
		}, keeper.CodeHeld},
		"second keeper, by another name": {func(t *testing.T, cfg *keeper.Config) {
			t.Helper()
			pgtest.CopyTemplate(t, cfg.PGData)
			var first state.DataLock
			if err := first.Hold(cfg.PGData); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = first.Release() })
			link := cfg.PGData + ".link"
			if err := os.Symlink(cfg.PGData, link); err != nil {
				t.Fatal(err)
			}
			cfg.PGData = link
		}, keeper.CodeHeld},
		"no programs": {func(_ *testing.T, cfg *keeper.Config) { cfg.PGCtl = "/nowhere/pg_ctl" }, keeper.CodeSetup},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, r := config(t), &registrar{}
			c.prepare(t, &cfg)
			_, _, err := create(t, cfg, r)
			if code(err) != c.want || len(r.asked) != 0 {
				t.Errorf("%v (code %s), registered %v", err, code(err), r.asked)
			}
		})
	}
}

// TestDiscoverHost: the machine's own address is found without a word to
// anybody.
func TestDiscoverHost(t *testing.T) {
	host, err := keeper.DiscoverHost(t.Context(), "127.0.0.1", 5432)
	if err != nil || host != "127.0.0.1" {
		t.Errorf("%q, %v", host, err)
	}
}

func code(err error) keeper.Code {
	if r, ok := errors.AsType[*keeper.Refusal](err); ok {
		return r.Code
	}
	return ""
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// listing returns the files of a directory with their sizes and times.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			all[path] = fmt.Sprintf("%d %v", info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestCreate_RefusedLeavesNothing: what was refused, here or by the monitor, leaves no trace of the attempt; what may have been accepted does.
func TestCreate_RefusedLeavesNothing(t *testing.T) {
	cfg, r := config(t), &registrar{err: &monitorapi.Error{Code: monitorapi.CodeConflict, Text: "taken"}}
	cfg.StateDir = filepath.Join(cfg.SocketDir, "not", "there", "yet")
	gone := func(why string) {
		t.Helper()
		if _, _, err := create(t, cfg, r); err == nil {
			t.Errorf("%s: created", why)
		}
		if _, err := os.Lstat(filepath.Join(cfg.SocketDir, "not")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the state directory stays: %v", why, err)
		}
	}
	gone("the name is taken")
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", cfg.Port))
	if err != nil {
		t.Fatal(err)
	}
	gone("the port is in use")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.err = &monitorapi.Error{Code: monitorapi.CodeUnreachable, Text: "lost"}
	if _, _, err := create(t, cfg, r); err == nil {
		t.Error("created without an answer")
	}
	token := memoryOf(t, cfg).Token
	r.err = &monitorapi.Error{Code: monitorapi.CodeConflict, Text: "taken"}
	if _, _, err := create(t, cfg, r); err == nil || memoryOf(t, cfg).Token != token {
		t.Error("a memory from before is gone")
	}
}
