package pgserver_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/controldata"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// diverged makes a former primary, crashed with a row that nobody else has,
// and the standby that was promoted instead.
func diverged(t *testing.T) (former, present *pgtest.Server) {
	t.Helper()
	former = pgtest.NewStarted(t, nil)
	former.Exec("create table t (i int); insert into t values (1)")
	present = former.Standby("b", nil)
	awaitRow(t, present, "select to_regclass('t') is not null and (select count(*) from t) = 1")
	present.Params["primary_conninfo"] = ""
	present.Write()
	present.Reload()
	awaitRow(t, present, "select count(*) = 0 from pg_stat_wal_receiver")
	former.Exec("insert into t values (99)")
	former.Stop(pgserver.StopImmediate)
	awaitRow(t, present, "select pg_promote()")
	present.Exec("insert into t values (2); checkpoint")
	return former, present
}

// awaitRow repeats a query until it says true. An error counts as false.
func awaitRow(t *testing.T, s *pgtest.Server, sql string) {
	t.Helper()
	conn := s.Connect()
	for ctx := within(t); ; {
		var ok bool
		if err := conn.QueryRow(ctx, sql).Scan(&ok); err == nil && ok {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%s: %v", sql, ctx.Err())
		}
	}
}

func TestRecoverAndRewind(t *testing.T) {
	former, present := diverged(t)
	b := former.Binaries
	_, err := pgserver.SetStandbySignal(former.DataDir) // as on a fenced node
	must(t, err)
	c := pgserver.RewindConfig{DataDir: former.DataDir, Source: present.Conninfo()}
	_, err = pgserver.Rewind(within(t), b, c)
	if re, ok := errors.AsType[*pgserver.RewindError](err); !ok || re.Reason != pgserver.RewindNotClean || re.Touched {
		t.Fatalf("rewind of an unclean directory: %v", err)
	}
	must(t, pgserver.Recover(within(t), b, pgserver.RecoverConfig{DataDir: former.DataDir}))
	d, err := pgserver.InspectDataDir(within(t), b, former.DataDir)
	if err != nil || !d.Control.State.Clean() || !d.StandbySignal {
		t.Fatalf("after recovery: %s, standby.signal %v, %v", d.Control.State, d.StandbySignal, err)
	}
	must(t, pgserver.Recover(within(t), b, pgserver.RecoverConfig{DataDir: former.DataDir})) // nothing to do
	var last pgserver.Progress
	c.Progress = func(p pgserver.Progress) { last = p }
	r, err := pgserver.Rewind(within(t), b, c)
	must(t, err)
	h, err := controldata.ReadHistory(present.DataDir, 2)
	must(t, err)
	if !r.Rewound || r.Timeline != 1 || r.Diverged != h[0].LSN || last.Total == 0 {
		t.Errorf("%+v %+v, history %v", r, last, h)
	}
	former.Params["primary_conninfo"] = present.Conninfo()
	former.Write() // pg_rewind brought the source's
	_, err = pgserver.SetStandbySignal(former.DataDir)
	must(t, err)
	former.Start()
	awaitRow(t, former, "select (select string_agg(i::text, ',' order by i) from t) = '1,2'")
}

func TestRewindWithNothingToDo(t *testing.T) {
	a := pgtest.NewStarted(t, nil)
	b := a.Standby("b", nil)
	b.Stop(pgserver.StopFast)
	r, err := pgserver.Rewind(within(t), a.Binaries, pgserver.RewindConfig{DataDir: b.DataDir, Source: a.Conninfo()})
	if err != nil || r.Rewound || !r.SameTimeline {
		t.Errorf("%+v %v", r, err)
	}
}

func TestH16_RewindFailures(t *testing.T) {
	former, present := diverged(t)
	b := former.Binaries
	must(t, pgserver.Recover(within(t), b, pgserver.RecoverConfig{DataDir: former.DataDir}))
	rewind := func(source string) *pgserver.RewindError {
		t.Helper()
		_, err := pgserver.Rewind(within(t), b, pgserver.RewindConfig{DataDir: former.DataDir, Source: source})
		re, ok := errors.AsType[*pgserver.RewindError](err)
		if !ok || re.Touched {
			t.Fatalf("%+v %v", re, err)
		}
		return re
	}
	if re := rewind("host=127.0.0.1 port=1 dbname=postgres"); re.Reason != pgserver.RewindConnection {
		t.Error(re)
	}
	present.Exec("create role app login")
	if re := rewind(strings.Replace(present.Conninfo(), "user=postgres", "user=app", 1)); re.Reason != pgserver.RewindPermission {
		t.Error(re)
	}
	stranger := strangerServer(t)
	if re := rewind(stranger.Conninfo()); re.Reason != pgserver.RewindOtherSystem {
		t.Error(re)
	}
	segments, err := filepath.Glob(filepath.Join(former.DataDir, "pg_wal", "000000010*"))
	must(t, err)
	for _, s := range segments {
		must(t, os.Rename(s, s+".away"))
	}
	if re := rewind(present.Conninfo()); re.Reason != pgserver.RewindMissingWAL {
		t.Error(re)
	}
}

// strangerServer is one with a system identifier of its own.
func strangerServer(t *testing.T) *pgtest.Server {
	t.Helper()
	s := pgtest.New(t, nil)
	must(t, os.RemoveAll(s.DataDir))
	must(t, pgtest.InitDB(within(t), s.Binaries, s.DataDir))
	s.Write()
	s.Start()
	return s
}

// A crashed standby is made clean without leaving its timeline or writing WAL.
func TestRecoverStandby(t *testing.T) {
	a := pgtest.NewStarted(t, nil)
	b := a.Standby("b", conf.Params{"hot_standby": "on"})
	a.Exec("create table t as select 1 i")
	awaitRow(t, b, "select to_regclass('t') is not null")
	b.Kill()
	must(t, pgserver.Recover(within(t), b.Binaries, pgserver.RecoverConfig{DataDir: b.DataDir, LogFile: b.LogFile}))
	d, err := pgserver.InspectDataDir(within(t), b.Binaries, b.DataDir)
	if err != nil || d.Control.State != controldata.ShutDownInRecovery || !d.StandbySignal {
		t.Errorf("%s %v", d.Control.State, err)
	}
	b.Start()
	a.Exec("insert into t values (2)")
	awaitRow(t, b, "select count(*) = 2 from t")
}

func TestRecoverFailureSaysWhy(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	s.Stop(pgserver.StopImmediate)
	segments, err := filepath.Glob(filepath.Join(s.DataDir, "pg_wal", "0*"))
	must(t, err)
	for _, f := range segments {
		must(t, os.Remove(f))
	}
	err = pgserver.Recover(within(t), s.Binaries, pgserver.RecoverConfig{DataDir: s.DataDir})
	if te, ok := errors.AsType[*pgserver.ToolError](err); !ok || !strings.Contains(te.Output, "checkpoint record") {
		t.Error(err)
	}
}

// A recovery that an earlier life began is ended, not waited for and not taken
// for a server.
func TestRecoverEndsAStrayRecovery(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	s.Stop(pgserver.StopImmediate)
	single := exec.CommandContext(t.Context(), s.Binaries.Path("postgres"), "--single", "-D", s.DataDir, "template1")
	stdin, err := single.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := single.StdoutPipe()
	must(t, err)
	must(t, single.Start())
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // its prompt
		t.Fatal(err)
	}
	if _, err := pgserver.Adopt(s.DataDir); !errors.Is(err, pgserver.ErrNotRunning) {
		t.Error(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- single.Wait() }() // or it stays a zombie
	must(t, pgserver.Recover(within(t), s.Binaries, pgserver.RecoverConfig{DataDir: s.DataDir}))
	if err := <-ended; err == nil {
		t.Error("the stray recovery was not ended")
	}
	s.Start()
}
