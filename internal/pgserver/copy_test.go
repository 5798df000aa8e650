package pgserver_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

func stagingFor(t *testing.T, b pgserver.Binaries, dir string) pgserver.Staging {
	t.Helper()
	d, err := pgserver.InspectDataDir(within(t), b, dir)
	must(t, err)
	s, err := pgserver.StagingFor(d)
	must(t, err)
	return s
}

func stateOf(t *testing.T, s pgserver.Staging) pgserver.CopyState {
	t.Helper()
	state, _, err := s.State()
	must(t, err)
	return state
}

// backup is a configuration that copies from source in place of target, which
// keeps target's own settings.
func backup(source, target *pgtest.Server, st pgserver.Staging) pgserver.BackupConfig {
	return pgserver.BackupConfig{
		Staging: st, Label: "for " + target.DataDir, Source: source.Conninfo(), NoSync: true,
		Finish: func(dir string) error {
			_, err := conf.WriteInclude(dir, target.Params)
			_, err2 := pgserver.SetStandbySignal(dir)
			return errors.Join(err, err2)
		},
	}
}

func TestBaseBackupAndSwap(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	source.Exec("create table t as select generate_series(1, 50000) i")
	target := pgtest.New(t, conf.Params{"primary_conninfo": source.Conninfo()})
	st := stagingFor(t, target.Binaries, target.DataDir)
	if st.Inside || stateOf(t, st) != pgserver.CopyNone {
		t.Fatalf("%+v", st)
	}
	c := backup(source, target, st)
	var last pgserver.Progress
	c.Progress = func(p pgserver.Progress) { last = p }
	must(t, pgserver.BaseBackup(within(t), source.Binaries, c))
	if last.Total == 0 || last.Done < last.Total {
		t.Errorf("progress ended at %+v", last)
	}
	if stateOf(t, st) != pgserver.CopyComplete {
		t.Errorf("state %s", stateOf(t, st))
	}
	d, err := pgserver.InspectDataDir(within(t), target.Binaries, st.Dir)
	if err != nil || !d.StandbySignal || d.Major != source.Binaries.Version.Major {
		t.Errorf("the copy is not fenced: %+v %v", d, err)
	}
	target.Start()
	if err := st.Swap(); !errors.Is(err, pgserver.ErrRunning) {
		t.Errorf("swap under a running server: %v", err)
	}
	target.Stop(pgserver.StopFast)
	must(t, st.Swap())
	if stateOf(t, st) != pgserver.CopyNone {
		t.Errorf("state %s", stateOf(t, st))
	}
	if _, err := os.Stat(filepath.Join(st.Old, "PG_VERSION")); err != nil {
		t.Error("the replaced data is not kept", err)
	}
	must(t, st.DiscardOld())
	target.Start()
	if got := target.Query("select count(*) from t"); got != "50000" {
		t.Errorf("%s rows", got)
	}
	if err := st.Swap(); !errors.Is(err, pgserver.ErrNoCopy) {
		t.Errorf("swap of nothing: %v", err)
	}
}

func TestBaseBackupIsInterruptedCleanly(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	target := pgtest.New(t, nil)
	st := stagingFor(t, target.Binaries, target.DataDir)
	c := backup(source, target, st)
	c.MaxRate = "1M"
	ctx, cancel := context.WithCancel(t.Context())
	c.Progress = func(pgserver.Progress) { cancel() }
	if err := pgserver.BaseBackup(ctx, source.Binaries, c); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s := stateOf(t, st); s != pgserver.CopyPartial && s != pgserver.CopyNone {
		t.Errorf("state %s", s)
	}
	if err := st.Swap(); !errors.Is(err, pgserver.ErrNoCopy) {
		t.Errorf("swap of half a copy: %v", err)
	}
	must(t, st.Discard())
	if stateOf(t, st) != pgserver.CopyNone {
		t.Errorf("state %s", stateOf(t, st))
	}
	target.Start() // untouched
}

func TestBaseBackupChecksRoom(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	target := pgtest.New(t, nil)
	c := backup(source, target, stagingFor(t, target.Binaries, target.DataDir))
	c.Bytes = 1 << 60
	err := pgserver.BaseBackup(within(t), source.Binaries, c)
	nr, ok := errors.AsType[*pgserver.NoRoomError](err)
	if !ok || nr.Needed < 1<<60 || nr.Free <= 0 {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(c.Staging.Dir); err == nil {
		t.Error("something was copied")
	}
}

func TestBaseBackupSaysWhyNot(t *testing.T) {
	source := pgtest.New(t, nil)
	c := backup(source, source, stagingFor(t, source.Binaries, source.DataDir))
	c.Secret = pgserver.Secret{Password: "s3cret"}
	err := pgserver.BaseBackup(within(t), source.Binaries, c)
	if te, ok := errors.AsType[*pgserver.ToolError](err); !ok || !strings.Contains(te.Output, "onnection refused") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

// Tablespaces outside the data directory are replaced with it and end where
// they were.
func TestS23_CopyWithTablespaces(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	// Both servers run on one machine: the target's tablespace has the source's
	// place moved out of the way while the copy is made and read back after.
	place := filepath.Join(pgtest.TempDir(t), "ts=1")
	must(t, os.Mkdir(place, 0o700))
	source.Exec("create tablespace ts location '" + place + "'")
	source.Exec("create table t tablespace ts as select generate_series(1, 1000) i")
	bytes, tablespaces, err := pgserver.DescribeSource(within(t), source.Connect())
	if err != nil || bytes < 1<<20 || len(tablespaces) != 1 || tablespaces[0].Location != place || tablespaces[0].Bytes == 0 {
		t.Fatal(bytes, tablespaces, err)
	}
	target := pgtest.New(t, conf.Params{"primary_conninfo": ""})
	st := stagingFor(t, target.Binaries, target.DataDir)
	for range 2 { // the second time there is an old tablespace to replace
		c := backup(source, target, st)
		c.Bytes, c.Tablespaces = bytes, tablespaces
		must(t, pgserver.BaseBackup(within(t), source.Binaries, c))
		if stateOf(t, st) != pgserver.CopyComplete {
			t.Errorf("state %s", stateOf(t, st))
		}
		source.Stop(pgserver.StopFast)
		versions, err := filepath.Glob(place + "/PG_*")
		if err != nil || len(versions) != 1 {
			t.Fatal(versions, err)
		}
		must(t, os.WriteFile(versions[0]+"/old", nil, 0o600))
		must(t, st.Swap())
		d, err := pgserver.InspectDataDir(within(t), target.Binaries, target.DataDir)
		if err != nil || len(d.Tablespaces) != 1 || d.Tablespaces[0].Location != place {
			t.Fatalf("%+v %v", d.Tablespaces, err)
		}
		if _, err := os.Stat(versions[0] + "/old"); err == nil {
			t.Error("the tablespace was not replaced")
		}
		must(t, st.DiscardOld())
		left, err := os.ReadDir(place)
		if err != nil || len(left) != 1 {
			t.Errorf("left in the tablespace: %v %v", left, err)
		}
		target.Start()
		if got := target.Query("select count(*) from t"); got != "1000" {
			t.Errorf("%s rows", got)
		}
		target.Stop(pgserver.StopFast)
		source.Start()
	}
}

// A data directory that cannot be renamed is replaced inside.
func TestCopyInsideTheDirectory(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	source.Exec("create table t as select generate_series(1, 1000) i")
	// The source was replaced inside, too, and what was replaced is still there.
	must(t, os.MkdirAll(filepath.Join(source.DataDir, ".autoctl-old", "base"), 0o700))
	target := pgtest.New(t, conf.Params{"primary_conninfo": source.Conninfo()})
	d, err := pgserver.InspectDataDir(within(t), target.Binaries, target.DataDir)
	must(t, err)
	d.MountPoint = true
	st, err := pgserver.StagingFor(d)
	must(t, err)
	if !st.Inside || filepath.Dir(st.Dir) != target.DataDir {
		t.Fatalf("%+v", st)
	}
	before, err := os.Stat(target.DataDir)
	must(t, err)
	must(t, pgserver.BaseBackup(within(t), source.Binaries, backup(source, target, st)))
	if _, err := os.Lstat(filepath.Join(st.Dir, ".autoctl-old")); err == nil {
		t.Error("what the source had replaced was copied")
	}
	must(t, st.Swap())
	must(t, st.DiscardOld())
	after, err := os.Stat(target.DataDir)
	if err != nil || !os.SameFile(before, after) {
		t.Error("the directory itself was replaced", err)
	}
	target.Start()
	if got := target.Query("select count(*) from t"); got != "1000" {
		t.Errorf("%s rows", got)
	}
}

// A pg_wal elsewhere stays elsewhere.
func TestCopyWithWALElsewhere(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	target := pgtest.New(t, conf.Params{"primary_conninfo": source.Conninfo()})
	wal := filepath.Join(target.SocketDir, "wal")
	must(t, os.Rename(filepath.Join(target.DataDir, "pg_wal"), wal))
	must(t, os.Symlink(wal, filepath.Join(target.DataDir, "pg_wal")))
	for i := range 3 {
		st := stagingFor(t, target.Binaries, target.DataDir)
		must(t, pgserver.BaseBackup(within(t), source.Binaries, backup(source, target, st)))
		must(t, st.Swap())
		must(t, st.DiscardOld())
		d, err := pgserver.InspectDataDir(within(t), target.Binaries, target.DataDir)
		if err != nil || d.WALDir != st.WALDir || !strings.HasPrefix(d.WALDir, wal+"/") {
			t.Errorf("round %d: pg_wal is at %q, %v", i, d.WALDir, err)
		}
	}
	target.Start()
	var walFiles int
	must(t, filepath.WalkDir(wal, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && len(e.Name()) == 24 {
			walFiles++
		}
		return err
	}))
	if walFiles == 0 || walFiles > 4 {
		t.Errorf("%d WAL files: the old ones were left", walFiles)
	}
}

// What an earlier life's pg_basebackup still writes is ended before anything
// else is written there.
func TestStrayBackupIsEnded(t *testing.T) {
	source := pgtest.NewStarted(t, nil)
	dir := filepath.Join(pgtest.TempDir(t), "copy")
	begun := make(chan int, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := source.Binaries.Run(t.Context(), pgserver.Tool{
			Name: "pg_basebackup", Output: firstWrite(begun),
			Args: []string{"--pgdata=" + dir, "--dbname=" + source.Conninfo(), "--max-rate=100k", "--checkpoint=fast", "--verbose"},
		})
		ended <- err
	}()
	<-begun
	must(t, pgserver.EndStrayTools(within(t), dir))
	if te, ok := errors.AsType[*pgserver.ToolError](<-ended); !ok || te.Exit != -1 {
		t.Error(te)
	}
	must(t, pgserver.EndStrayTools(within(t), source.DataDir))
	if got := source.Query("select 1"); got != "1" {
		t.Error("a postmaster is no stray tool")
	}
}
