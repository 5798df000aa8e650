package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestMoveConfigIn: a cluster whose configuration is in /etc keeps its users'
// settings when the configuration moves into the data directory, is left alone
// by the distribution from then on, and starts from there.
func TestMoveConfigIn(t *testing.T) {
	server := pgtest.New(t, nil)
	etc := pgtest.TempDir(t)
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		if err := os.Rename(filepath.Join(server.DataDir, name), filepath.Join(etc, name)); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("postgresql.conf", "data_directory = '"+server.DataDir+"'\nhba_file = '"+etc+"/pg_hba.conf'\n ident_file='"+etc+"/pg_ident.conf'\n"+
		"external_pid_file = '/nowhere/pid'\nwork_mem = 7MB # mine\ninclude_dir = 'conf.d'\ninclude 'autoctl.conf'\n")
	put("conf.d/10-mine.conf", "maintenance_work_mem = 77MB\n")
	put("start.conf", "# how to start\nauto\n")

	s := survey{config: filepath.Join(etc, "postgresql.conf")}
	s.data.Kind, s.data.Path = pgserver.DataReady, server.DataDir
	startConf := filepath.Join(etc, "start.conf")
	if err := os.Chmod(startConf, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := s.unitChangeable(); err == nil || !strings.Contains(err.Error(), startConf) {
		t.Errorf("a start.conf that this user cannot change: %v", err)
	}
	if err := os.Chmod(startConf, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.unitChangeable(); err != nil {
		t.Error(err)
	}
	for range 2 { // again after an interruption
		if err := s.moveConfigIn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(startConf, 0o400), s.unitChangeable(), s.moveConfigIn(t.Context())); err != nil {
		t.Errorf("a start.conf that says disabled already: %v", err)
	}
	server.Start()
	for name, want := range map[string]string{"work_mem": "7MB", "maintenance_work_mem": "77MB", "hba_file": server.DataDir + "/pg_hba.conf"} {
		if got := server.Query("show " + name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(etc, "start.conf")); err != nil || !strings.Contains(string(text), "\ndisabled\n") || strings.Contains(string(text), "auto\n") {
		t.Errorf("start.conf: %q, %v", text, err)
	}
}
