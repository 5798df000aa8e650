package pgserver_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Timeout)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindBinaries(t *testing.T) {
	b := pgtest.Binaries(t)
	again, err := pgserver.FindBinaries(within(t), pgserver.Search{PGCtl: b.Path("pg_ctl")})
	if err != nil || again != b {
		t.Errorf("%v %v", again, err)
	}
	t.Setenv("PG_CONFIG", b.Path("pg_config"))
	t.Setenv("PATH", "")
	if again, err = pgserver.FindBinaries(within(t), pgserver.Search{}); err != nil || again != b {
		t.Errorf("by PG_CONFIG: %v %v", again, err)
	}
	if _, err = pgserver.FindBinaries(within(t), pgserver.Search{PGCtl: "/nowhere/pg_ctl"}); err == nil {
		t.Error("found programs nowhere")
	}
	if list, err := pgserver.ListBinaries(within(t)); err != nil || len(list) > 5 {
		t.Errorf("%v %v", list, err)
	}
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]pgserver.Version{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": {Major: 15, Minor: 18},
		"postgres (PostgreSQL) 18beta1":                          {Major: 18},
		"postgres (PostgreSQL) 19devel":                          {Major: 19},
		"pg_ctl (PostgreSQL) 13.0":                               {Major: 13},
	} {
		if got, err := pgserver.ParseVersion(text); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	if _, err := pgserver.ParseVersion("mysqld 8"); !errors.Is(err, pgserver.ErrVersion) {
		t.Error(err)
	}
	if v := pgserver.VersionOfNumber(150018); v.Number() != 150018 || !v.SyncFlagRaceFixed() || v.RewindReadsNewTimeline() {
		t.Errorf("%v", v)
	}
	if (pgserver.Version{Major: 15, Minor: 12}).SyncFlagRaceFixed() || !(pgserver.Version{Major: 18}).SyncFlagRaceFixed() {
		t.Error("minor releases of the synchronous flag's fix")
	}
}

// A failing tool says why, without any secret, and none is in its arguments.
func TestToolErrorsHoldNoSecret(t *testing.T) {
	b := pgtest.Binaries(t)
	secret := pgserver.Secret{Password: "s3cret-word"}
	_, err := b.Run(within(t), pgserver.Tool{Name: "pg_basebackup", Secret: secret, Args: []string{"--pgdata=" + pgtest.TempDir(t) + "/x", "--dbname=host=127.0.0.1 port=1"}})
	te, ok := errors.AsType[*pgserver.ToolError](err)
	if !ok || te.Exit != 1 || !strings.Contains(err.Error(), "Connection refused") && !strings.Contains(te.Output, "refused") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error()+te.Output+secret.String(), "s3cret") {
		t.Errorf("secret in %v", err)
	}
}

// A signal to our process group does not reach a tool, the context does.
func TestToolHasItsOwnSession(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan int, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Binaries.Run(ctx, pgserver.Tool{Name: "pg_receivewal", Args: []string{"-D", s.SocketDir, "-d", s.Conninfo(), "-v"}, Output: firstWrite(begun)})
		ended <- err
	}()
	<-begun
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type firstWrite chan int

func (f firstWrite) Write(p []byte) (int, error) {
	select {
	case f <- 1:
	default:
	}
	return len(p), nil
}

func TestInitDBAndInspect(t *testing.T) {
	b := pgtest.Binaries(t)
	dir := filepath.Join(pgtest.TempDir(t), "data")
	inspect := func() pgserver.DataDir {
		t.Helper()
		d, err := pgserver.InspectDataDir(within(t), b, dir)
		must(t, err)
		return d
	}
	if d := inspect(); d.Kind != pgserver.DataAbsent {
		t.Errorf("%+v", d)
	}
	must(t, os.Mkdir(dir, 0o700))
	if d := inspect(); d.Kind != pgserver.DataEmpty {
		t.Errorf("%+v", d)
	}
	must(t, pgserver.InitDB(within(t), b, pgserver.InitConfig{DataDir: dir, Superuser: "boss", Password: "pw", NoSync: true}))
	d := inspect()
	if d.Kind != pgserver.DataReady || d.Major != b.Version.Major || !d.Control.Checksums || d.Control.SystemIdentifier == 0 || !d.Control.State.Clean() || d.ConfigFile == "" {
		t.Errorf("%+v", d)
	}
	if err := pgserver.InitDB(within(t), b, pgserver.InitConfig{DataDir: dir}); err == nil {
		t.Error("initdb over a cluster")
	}
	if d := inspect(); d.Kind != pgserver.DataReady {
		t.Errorf("after a refused initdb: %+v", d)
	}
	hba, err := os.ReadFile(filepath.Join(dir, "pg_hba.conf"))
	must(t, err)
	if !strings.Contains(string(hba), "scram-sha-256") || strings.Contains(string(hba), "trust\n") {
		t.Errorf("pg_hba.conf lets everybody in:\n%s", hba)
	}
}

func TestInspectDamage(t *testing.T) {
	b := pgtest.Binaries(t)
	for name, tc := range map[string]struct {
		damage string // shell, in the data directory
		kind   pgserver.DataKind
		reason string
	}{
		"no control file":     {"rm global/pg_control", pgserver.DataDamaged, "global/pg_control: no such file"},
		"empty control file":  {": > global/pg_control", pgserver.DataDamaged, "pg_control"},
		"corrupt control":     {"printf xxxx | dd of=global/pg_control bs=1 seek=100 conv=notrunc status=none", pgserver.DataDamaged, "corrupt"},
		"no PG_VERSION":       {"rm PG_VERSION", pgserver.DataDamaged, "PG_VERSION"},
		"odd PG_VERSION":      {"echo x > PG_VERSION", pgserver.DataDamaged, "PG_VERSION"},
		"other version":       {"echo 11 > PG_VERSION", pgserver.DataOtherVersion, "PostgreSQL 11"},
		"something else":      {"find . -mindepth 1 -delete; echo hi > notes.txt", pgserver.DataNotPostgreSQL, "notes.txt"},
		"only a partial copy": {"find . -mindepth 1 -delete; mkdir .autoctl-copy lost+found", pgserver.DataEmpty, ""},
		"no tablespaces":      {"rmdir pg_tblspc", pgserver.DataDamaged, "tablespaces"},
		"a half swap":         {"touch .autoctl-swap", pgserver.DataDamaged, "moved"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(pgtest.TempDir(t), "data")
			pgtest.CopyTemplate(t, dir)
			cmd := exec.CommandContext(t.Context(), "sh", "-c", tc.damage)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			d, err := pgserver.InspectDataDir(within(t), b, dir)
			if err != nil || d.Kind != tc.kind || !strings.Contains(d.Reason, tc.reason) {
				t.Errorf("%s (%s) %v", d.Kind, d.Reason, err)
			}
		})
	}
}

func TestInspectFlags(t *testing.T) {
	b := pgtest.Binaries(t)
	dir := filepath.Join(pgtest.TempDir(t), "data")
	pgtest.CopyTemplate(t, dir)
	must(t, os.Chmod(dir, 0o755))
	if changed, err := pgserver.SetStandbySignal(dir); !changed || err != nil {
		t.Error(changed, err)
	}
	must(t, os.Symlink("/srv/elsewhere", filepath.Join(dir, "pg_tblspc", "16400")))
	d, err := pgserver.InspectDataDir(within(t), b, dir)
	if err != nil || !d.TooOpen || d.ForeignOwner || d.MountPoint || !d.StandbySignal || len(d.Tablespaces) != 1 || d.Tablespaces[0].Location != "/srv/elsewhere" {
		t.Errorf("%+v %v", d, err)
	}
	if changed, err := pgserver.ClearStandbySignal(dir); !changed || err != nil {
		t.Error(changed, err)
	}
	d, err = pgserver.InspectDataDir(within(t), b, "/proc")
	if err != nil || d.Kind != pgserver.DataNotPostgreSQL || !d.MountPoint || !d.ForeignOwner {
		t.Errorf("%+v %v", d, err)
	}
	if d, err = pgserver.InspectDataDir(within(t), b, "/etc/passwd"); err != nil || d.Kind != pgserver.DataInaccessible {
		t.Errorf("%+v %v", d, err)
	}
}

func TestOfflineSettingsAndDebianLayout(t *testing.T) {
	s := pgtest.New(t, nil)
	root := filepath.Join(s.SocketDir, "etc")
	etc := filepath.Join(root, strconv.Itoa(s.Binaries.Version.Major), "main")
	must(t, os.MkdirAll(etc, 0o700))
	old := *pgserver.DebianRoot
	*pgserver.DebianRoot = root
	t.Cleanup(func() { *pgserver.DebianRoot = old })
	path, inside, err := pgserver.FindConfigFile(within(t), s.Binaries, s.DataDir)
	if err != nil || !inside || path != filepath.Join(s.DataDir, "postgresql.conf") {
		t.Errorf("%s %v %v", path, inside, err)
	}
	for _, f := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		must(t, os.Rename(filepath.Join(s.DataDir, f), filepath.Join(etc, f)))
	}
	main := filepath.Join(etc, "postgresql.conf")
	before, err := os.ReadFile(main)
	must(t, err)
	if path, _, err = pgserver.FindConfigFile(within(t), s.Binaries, s.DataDir); !errors.Is(err, pgserver.ErrNoConfig) {
		t.Errorf("%s %v", path, err)
	}
	text := "data_directory='" + s.DataDir + "'\nhba_file='" + etc + "/pg_hba.conf'\nident_file='" + etc + "/pg_ident.conf'\n" +
		strings.ReplaceAll(string(before), "include 'autoctl.conf'", "include '"+s.DataDir+"/autoctl.conf'")
	must(t, os.WriteFile(main, []byte(text), 0o600))
	if path, inside, err = pgserver.FindConfigFile(within(t), s.Binaries, s.DataDir); err != nil || inside || path != main {
		t.Errorf("%s %v %v", path, inside, err)
	}
	f, err := pgserver.ConfigFiles(within(t), s.Binaries, etc, main)
	want := pgserver.Files{DataDir: s.DataDir, Config: main, HBA: etc + "/pg_hba.conf", Ident: etc + "/pg_ident.conf"}
	if err != nil || f != want {
		t.Errorf("%+v %v", f, err)
	}
	p, err := pgserver.Start(within(t), s.Binaries, pgserver.StartConfig{DataDir: s.DataDir, ConfigFile: main, LogFile: s.LogFile})
	must(t, err)
	s.Process = p
	_, err = p.WaitReady(within(t))
	must(t, err)
	if got := s.Query("show config_file"); got != main {
		t.Errorf("config_file %s", got)
	}
}

// How long what happens at every heartbeat takes.
func BenchmarkRemains(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		if _, err := pgserver.Remains(dir); err != nil {
			b.Fatal(err)
		}
	}
}

func awaitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-tick.C:
		case <-within(t).Done():
			t.Fatalf("process %d is still there", pid)
		}
	}
}
