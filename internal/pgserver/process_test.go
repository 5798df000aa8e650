package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func awaitExit(t *testing.T, p *pgserver.Process) pgserver.Exit {
	t.Helper()
	select {
	case <-p.Exited():
	case <-within(t).Done():
		t.Fatal("the postmaster is still there")
	}
	return p.Exit()
}

func TestStartStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, mode := range []pgserver.StopMode{pgserver.StopSmart, pgserver.StopFast, pgserver.StopImmediate} {
		s := pgtest.NewStarted(t, nil)
		if sid, err := unix.Getsid(s.Process.PID()); err != nil || sid != s.Process.PID() {
			t.Errorf("session %d of postmaster %d, %v", sid, s.Process.PID(), err)
		}
		begin := time.Now()
		s.Stop(mode)
		t.Logf("%s stop: %v", mode, time.Since(begin))
		if e := awaitExit(t, s.Process); !e.Known || e.Code != 0 || e.Signal != 0 || e.At.IsZero() {
			t.Errorf("%s: %+v", mode, e)
		}
		cd, err := pgserver.ReadControlData(within(t), s.Binaries, s.DataDir)
		if err != nil || cd.State.Clean() != (mode != pgserver.StopImmediate) {
			t.Errorf("%s: %s %v", mode, cd.State, err)
		}
		if err := s.Process.Reload(); !errors.Is(err, pgserver.ErrNotRunning) {
			t.Errorf("signal to a stopped server: %v", err)
		}
		must(t, s.Process.Close())
	}
}

func TestStartFailureSaysWhy(t *testing.T) {
	s := pgtest.New(t, conf.Params{"shared_buffers": "much"})
	p, err := pgserver.Start(within(t), s.Binaries, pgserver.StartConfig{DataDir: s.DataDir, LogFile: s.LogFile})
	must(t, err)
	defer p.Close()
	_, err = p.WaitReady(within(t))
	se, ok := errors.AsType[*pgserver.StartError](err)
	if !ok || se.Exit.Code != 1 || !strings.Contains(se.Log, `invalid value for parameter "shared_buffers"`) {
		t.Errorf("%v", err)
	}
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	s.Connect()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Process.Stop(ctx, pgserver.StopSmart); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("smart stop with a client: %v", err)
	}
	s.Stop(pgserver.StopFast)
}

func TestAdopt(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	p, err := pgserver.Adopt(s.DataDir)
	must(t, err)
	if p.PID() != s.Process.PID() || !p.Running() {
		t.Errorf("adopted %d", p.PID())
	}
	f, err := p.WaitReady(within(t))
	if err != nil || f.Port != s.Port || f.SocketDir != s.SocketDir || f.Address != "127.0.0.1" {
		t.Errorf("%+v %v", f, err)
	}
	must(t, s.Process.Signal(syscall.SIGKILL))
	if e := awaitExit(t, p); e.Known {
		t.Errorf("%+v", e)
	}
	if e := awaitExit(t, s.Process); e.Signal != syscall.SIGKILL || e.String() != "ended by signal SIGKILL" {
		t.Errorf("%+v", e)
	}
	must(t, p.Close())
	must(t, p.Close())
	// postmaster.pid is still there and names a process that is gone.
	if _, err := pgserver.Adopt(s.DataDir); !errors.Is(err, pgserver.ErrNotRunning) {
		t.Error(err)
	}
}

// A postmaster.pid whose number now belongs to somebody else is no server, and
// can be removed; PostgreSQL alone would refuse to start over it.
func TestAdoptIsNotFooledByReusedNumbers(t *testing.T) {
	s := pgtest.New(t, nil)
	other := pgtest.NewStarted(t, nil)
	sleep := exec.CommandContext(t.Context(), "sleep", "60")
	must(t, sleep.Start())
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	for _, pid := range []int{sleep.Process.Pid, os.Getpid(), other.Process.PID()} {
		text := fmt.Sprintf("%d\n%s\n%d\n%d\n%s\n127.0.0.1\n1 2\nready   \n", pid, s.DataDir, time.Now().Unix(), s.Port, s.SocketDir)
		must(t, os.WriteFile(filepath.Join(s.DataDir, "postmaster.pid"), []byte(text), 0o600))
		if _, err := pgserver.Adopt(s.DataDir); !errors.Is(err, pgserver.ErrNotRunning) {
			t.Errorf("adopted %d: %v", pid, err)
		}
		if removed, err := pgserver.RemoveStalePIDFile(s.DataDir); !removed || err != nil {
			t.Error(removed, err)
		}
	}
	s.Start()
	if _, err := pgserver.RemoveStalePIDFile(s.DataDir); !errors.Is(err, pgserver.ErrRunning) {
		t.Error(err)
	}
}

// A server that died with its container leaves both lock files, and their
// number may be somebody's by now. The lock of another server's socket stays.
func TestStaleSocketLock(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	s.Kill()
	lock := filepath.Join(s.SocketDir, fmt.Sprintf(".s.PGSQL.%d.lock", s.Port))
	for _, f := range []string{lock, filepath.Join(s.DataDir, "postmaster.pid")} {
		data, err := os.ReadFile(f)
		must(t, err)
		_, rest, _ := strings.Cut(string(data), "\n")
		must(t, os.WriteFile(f, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600))
	}
	foreign, err := os.ReadFile(lock)
	must(t, err)
	if removed, err := pgserver.RemoveStalePIDFile(s.DataDir); !removed || err != nil {
		t.Fatal(removed, err)
	}
	s.Start()
	s.Kill()
	must(t, os.WriteFile(lock, foreign, 0o600)) // another number than postmaster.pid's
	if removed, err := pgserver.RemoveStalePIDFile(s.DataDir); !removed || err != nil {
		t.Fatal(removed, err)
	}
	if _, err := os.Stat(lock); err != nil {
		t.Error("another server's lock was removed", err)
	}
}

// A backend that is busy outlives its postmaster; a suspended one would for
// ever.
func TestEndRemains(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	if _, err := pgserver.EndRemains(within(t), s.DataDir); !errors.Is(err, pgserver.ErrRunning) {
		t.Errorf("ended a running server: %v", err)
	}
	pid, err := strconv.Atoi(s.Query("select pid from pg_stat_activity where backend_type = 'checkpointer'"))
	must(t, err)
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	must(t, s.Process.Signal(syscall.SIGKILL))
	awaitExit(t, s.Process)
	left, err := pgserver.Remains(s.DataDir)
	if err != nil || len(left) == 0 {
		t.Fatal("nothing outlived the postmaster", err)
	}
	begin := time.Now()
	n, err := pgserver.EndRemains(within(t), s.DataDir)
	t.Logf("ended %d processes in %v", n, time.Since(begin))
	if err != nil || n == 0 {
		t.Error(n, err)
	}
	awaitGone(t, pid)
	if left, err = pgserver.Remains(s.DataDir); len(left) != 0 || err != nil {
		t.Error(left, err)
	}
	s.Start()
}

func TestKillEndsASuspendedServer(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	other := pgtest.NewStarted(t, nil)
	must(t, s.Process.Signal(syscall.SIGSTOP))
	s.Kill()
	if left, err := pgserver.Remains(s.DataDir); len(left) != 0 || err != nil {
		t.Error(left, err)
	}
	if got := other.Query("select 1"); got != "1" {
		t.Error("another server was hit")
	}
}

// A server outlives the process that started it, whichever way that ends.
func TestServerOutlivesItsStarter(t *testing.T) {
	if dir := os.Getenv("PGSERVER_TEST_START"); dir != "" {
		b := pgserver.Binaries{Dir: os.Getenv("PGSERVER_TEST_BIN")}
		p, err := pgserver.Start(t.Context(), b, pgserver.StartConfig{DataDir: dir, LogFile: dir + ".log"})
		must(t, err)
		_, err = p.WaitReady(within(t))
		must(t, err)
		fmt.Fprintln(os.Stdout, "ready")
		select {}
	}
	s := pgtest.New(t, nil)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestServerOutlivesItsStarter$")
	cmd.Env = append(os.Environ(), "PGSERVER_TEST_START="+s.DataDir, "PGSERVER_TEST_BIN="+s.Binaries.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	_ = cmd.Wait()
	p, err := pgserver.Adopt(s.DataDir)
	must(t, err)
	if got := s.Query("select 1"); got != "1" {
		t.Error("the server is gone")
	}
	must(t, p.Stop(within(t), pgserver.StopFast))
	must(t, p.Close())
}

func TestReadinessOfStandbys(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	cold := s.Standby("cold", nil)
	cold.Stop(pgserver.StopFast)
	cold.Params["hot_standby"] = "off"
	cold.Write()
	p, err := pgserver.Start(within(t), cold.Binaries, pgserver.StartConfig{DataDir: cold.DataDir, LogFile: cold.LogFile})
	must(t, err)
	defer p.Close()
	if f, err := p.WaitRecovering(within(t)); err != nil || f.Status != "standby" {
		t.Errorf("%+v %v", f, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := p.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	must(t, p.Stop(within(t), pgserver.StopFast))
}
