package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Host is one machine of a laboratory.
type Host struct {
	// Name is unique in the laboratory.
	Name string
	// Addr is the host's IP address.
	Addr string
	// Dir is the home directory of the user that runs the host's programs.
	Dir string

	lab    *Lab
	number int    // in the laboratory, from 1
	port   string // of the bridge
	disk   string // where the host's programs see the directory "disk" in Dir; empty for nowhere
}

// Mount gives the host a disk of its own at a place that other hosts have theirs at
// too, as with machines that are set up alike: its programs, from now on, see there
// what is in the directory that it returns. It needs a laboratory with links, whose
// hosts have mounts of their own.
func (h *Host) Mount(t testing.TB, place string) (dir string) {
	t.Helper()
	h.lab.NeedLinks()
	dir = filepath.Join(h.Dir, "disk")
	for _, d := range []string{dir, place} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
		h.lab.own(d)
	}
	h.disk = place
	return dir
}

// PGDATA is where the host's database belongs; it does not exist until
// something creates it.
func (h *Host) PGDATA() string { return filepath.Join(h.Dir, "data") }

// env is the environment of the host's programs: nothing is inherited but the
// path and the locale.
func (h *Host) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
		"LANG=C.UTF-8", "TZ=UTC",
		"HOME=" + h.Dir,
		"USER=" + h.User(), "LOGNAME=" + h.User(),
		"TMPDIR=" + filepath.Join(h.Dir, "tmp"),
		"XDG_CONFIG_HOME=" + filepath.Join(h.Dir, "config"),
		"XDG_DATA_HOME=" + filepath.Join(h.Dir, "share"),
		"XDG_STATE_HOME=" + filepath.Join(h.Dir, "state"),
		"XDG_RUNTIME_DIR=" + filepath.Join(h.Dir, "run"),
		"PGDATA=" + h.PGDATA(),
		"GOTRACEBACK=all",
		"GORACE=log_path=" + filepath.Join(h.Dir, "log", "race"),
	}
}

// User is the operating system user that runs the host's programs.
func (h *Host) User() string {
	if h.lab.cred != nil {
		return ServerUser
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Geteuid())
}

// Command prepares a program that runs on the host, as its user and in its home
// directory, with extra environment of the form NAME=value.
func (h *Host) Command(ctx context.Context, env []string, argv ...string) *exec.Cmd {
	var full []string
	if h.lab.net != nil {
		full = append(full, program("ip"), "netns", "exec", h.lab.net.space(h.Name))
	}
	if h.disk != "" { // "ip netns exec" has left the mounts of other hosts
		full = append(full, program("sh"), "-c", `mount --bind "$1" "$2" && shift 2 && exec "$@"`, "sh", filepath.Join(h.Dir, "disk"), h.disk)
	}
	if h.lab.cred != nil {
		full = append(full, program("setpriv"), "--reuid="+ServerUser,
			"--regid="+strconv.Itoa(h.lab.cred.gid), "--init-groups")
	}
	// A library to be loaded is for the host's program, not for what leads to it as
	// another user.
	loads := func(v string) bool { return strings.HasPrefix(v, "LD_") }
	if slices.ContainsFunc(env, loads) {
		full = append(full, program("env"))
		for _, v := range env {
			if loads(v) {
				full = append(full, v)
			}
		}
		env = slices.DeleteFunc(slices.Clone(env), loads)
	}
	full = append(full, argv...)
	cmd := exec.CommandContext(ctx, full[0], full[1:]...)
	cmd.Dir, cmd.Env = h.Dir, append(h.env(), env...)
	// Ctrl-C at the terminal is for the test, which then tears down in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	return cmd
}

// Result is what became of a program that ran to its end.
type Result struct {
	Stdout, Stderr string
	// Code is the exit code, -1 after a signal.
	Code int
}

// Run runs a program on the host to its end. Only a program that could not be
// run at all, or not within ctx, is an error.
func (h *Host) Run(ctx context.Context, env []string, argv ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := h.Command(ctx, env, argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := h.lab.start(cmd); err != nil {
		return Result{}, fmt.Errorf("start %s on %s: %w", filepath.Base(argv[0]), h.Name, err)
	}
	err := cmd.Wait()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return r, fmt.Errorf("%s on %s: %w\n%s%s", filepath.Base(argv[0]), h.Name, context.Cause(ctx), r.Stdout, r.Stderr)
	}
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%s on %s: %w", filepath.Base(argv[0]), h.Name, err)
	}
	return r, nil
}

// MustRun is Run for programs that have to succeed within a minute.
func (h *Host) MustRun(t testing.TB, argv ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.Run(ctx, nil, argv...)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("%v on %s: exit code %d\n%s%s", argv, h.Name, r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// Daemon is a program of a host that runs until it is told to end.
type Daemon struct {
	// Log is the file with what it printed.
	Log string

	host *Host
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts a daemon on the host; its output is appended to log/NAME.log in
// the host's directory.
func (h *Host) Start(name string, env []string, argv ...string) (*Daemon, error) {
	path := filepath.Join(h.Dir, "log", name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	h.lab.own(path)
	// The end of the test kills the host's processes itself, after having looked
	// at them.
	cmd := h.Command(context.WithoutCancel(h.lab.t.Context()), env, argv...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := h.lab.start(cmd); err != nil {
		return nil, fmt.Errorf("start %s on %s: %w", name, h.Name, err)
	}
	d := &Daemon{Log: path, host: h, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		_ = cmd.Wait() // The state is what counts.
	}()
	return d, nil
}

// PID is the process id of the daemon.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Done is closed when the daemon has ended.
func (d *Daemon) Done() <-chan struct{} { return d.done }

// Running reports whether the daemon has not ended yet.
func (d *Daemon) Running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// ExitCode is valid after Done: the exit code, -1 after a signal.
func (d *Daemon) ExitCode() int {
	<-d.done
	return d.cmd.ProcessState.ExitCode()
}

// Signal sends s to the daemon's process alone; one that has ended is ignored.
func (d *Daemon) Signal(s syscall.Signal) {
	if d.Running() {
		_ = d.cmd.Process.Signal(s)
	}
}

// Wait waits for the end of the daemon.
func (d *Daemon) Wait(ctx context.Context) error {
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s on %s has not ended: %w", filepath.Base(d.Log), d.host.Name, context.Cause(ctx))
	}
}

// FreePort returns a TCP port that is free now on the loopback interface that
// all tests share, that it has not returned before, and of which no server of
// another test process has a socket: servers of different hosts put theirs into
// the same directory, under the number of their port.
func (h *Host) FreePort() (int, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return 0, err
		}
		if hasSocket("/var/run/postgresql", port) || hasSocket("/tmp", port) {
			continue
		}
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port, nil
		}
	}
}

// givenPorts are the ports that this process has given to hosts, whose servers may
// not have started yet.
var givenPorts sync.Map

func hasSocket(dir string, port int) bool {
	_, err := os.Lstat(filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d.lock", port)))
	return err == nil
}

// Dial connects as a program on the host would, also while the host is cut off:
// fit for [pgconn.Config.DialFunc]. Addresses are literal.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return h.lab.dialFrom(ctx, h.Name, network, address)
}
