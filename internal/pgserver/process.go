package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StartConfig says how to start a server.
type StartConfig struct {
	DataDir string
	// ConfigFile is a postgresql.conf outside the data directory (Debian's
	// layout); empty if it is inside.
	ConfigFile string
	// LogFile gets the server's standard output and error, appended; created
	// with mode 0600. Empty discards them.
	LogFile string
	// Options become -c name=value on the command line, which beats every
	// file. They must not hold secrets.
	Options map[string]string
	// Env is added to the cleaned environment (libpq's variables removed).
	Env []string
}

// StopMode is how a server is asked to stop.
type StopMode string

// The modes of pg_ctl, by the signals that the postmaster knows.
const (
	StopSmart     StopMode = "smart"     // waits for clients: SIGTERM
	StopFast      StopMode = "fast"      // ends clients, checkpoints: SIGINT
	StopImmediate StopMode = "immediate" // no checkpoint, crash recovery at the next start: SIGQUIT
)

func (m StopMode) signal() syscall.Signal {
	switch m {
	case StopSmart:
		return syscall.SIGTERM
	case StopImmediate:
		return syscall.SIGQUIT
	default:
		return syscall.SIGINT
	}
}

// Exit says how a postmaster ended. Known is false for one that was adopted:
// only a parent learns the code; the control file tells whether it was clean.
type Exit struct {
	Known  bool
	Code   int            // exit code; -1 when ended by a signal
	Signal syscall.Signal // 0 when it exited
	At     time.Time
}

// String tells people.
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended (how is unknown, it was not our child)"
	case e.Signal != 0:
		return "ended by signal " + unix.SignalName(e.Signal)
	default:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
}

// ErrNotRunning says that no postmaster runs on a data directory.
var ErrNotRunning = errors.New("no server is running")

// ErrRunning says that a postmaster runs on a data directory where none may.
var ErrRunning = errors.New("a server is running")

// Process is a running postmaster, started or adopted. It survives us: nothing
// but Stop and Kill ends it. Its methods may be used concurrently.
type Process struct {
	pid     int
	dataDir string
	child   *exec.Cmd // nil when adopted
	logFile string
	logFrom int64 // size of the log file at the start

	mu     sync.RWMutex // guards pidfd against Close
	closed bool
	pidfd  int
	wake   int // eventfd: ends the watcher
	exited chan struct{}
	done   chan struct{} // the watcher is gone
	exit   Exit          // written before exited is closed
}

// Start starts a server as our child in a session of its own and returns at
// once; WaitReady awaits the rest. It does not look whether another server runs
// or left processes behind: PostgreSQL refuses the former, EndRemains sees to
// the latter.
func Start(ctx context.Context, b Binaries, c StartConfig) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	args := []string{"-D", c.DataDir}
	if c.ConfigFile != "" {
		args = append(args, "-c", "config_file="+c.ConfigFile)
	}
	for _, name := range sortedKeys(c.Options) {
		args = append(args, "-c", name+"="+c.Options[name])
	}
	// Not CommandContext: the server outlives every context.
	cmd := exec.Command(b.Path("postgres"), args...) //nolint:noctx // see above
	cmd.Env = append(cleanEnv(os.Environ()), c.Env...)
	cmd.Dir = "/"
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	log, from, err := openLog(c.LogFile)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	p := &Process{pid: cmd.Process.Pid, dataDir: c.DataDir, child: cmd, logFile: c.LogFile, logFrom: from, pidfd: pidfd}
	if err := p.watch(); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait()) // a server that nobody watches must not run
	}
	return p, nil
}

func openLog(path string) (*os.File, int64, error) {
	if path == "" {
		path = os.DevNull
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open server log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("stat server log: %w", err), f.Close())
	}
	return f, st.Size(), nil
}

// PID is the postmaster's process id.
func (p *Process) PID() int { return p.pid }

// DataDir is the data directory it was started or adopted on.
func (p *Process) DataDir() string { return p.dataDir }

// Exited is closed when the postmaster has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit says how it ended; meaningful once Exited is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.exited:
		return p.exit
	default:
		return Exit{}
	}
}

// Running says whether the postmaster has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the postmaster, never to another process that got
// its number. It fails with ErrNotRunning when the postmaster has ended.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.Running() {
		return ErrNotRunning
	}
	if p.closed {
		return fmt.Errorf("signal postmaster %d: %w", p.pid, os.ErrClosed)
	}
	err := unix.PidfdSendSignal(p.pidfd, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrNotRunning
	}
	if err != nil {
		return fmt.Errorf("signal postmaster %d: %w", p.pid, err)
	}
	return nil
}

// Reload makes the server read its configuration files again (SIGHUP). It
// returns before any process has.
func (p *Process) Reload() error { return p.Signal(syscall.SIGHUP) }

// Stop asks the server to stop and waits until the postmaster has ended, which
// in every mode is after its children. When ctx ends first, the server may
// still be stopping.
func (p *Process) Stop(ctx context.Context, mode StopMode) error {
	err := p.Signal(mode.signal())
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop server (%s): %w", mode, context.Cause(ctx))
	}
}

// Kill ends the postmaster and everything it started with SIGKILL, also when
// they are suspended, and waits until they are gone. Nothing is acknowledged or
// written any more when it returns nil.
func (p *Process) Kill(ctx context.Context) error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return fmt.Errorf("kill server: %w", context.Cause(ctx))
	}
	_, err := EndRemains(ctx, p.dataDir)
	return err
}

// Close stops watching and leaves the server alone; Exited stays open if the
// server still runs. It has to be called once for each Process, also after the
// server has ended, and may be called again.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	err := wakeUp(p.wake)
	<-p.done
	return errors.Join(err, unix.Close(p.wake), unix.Close(p.pidfd))
}

// LogTail returns the last lines, at most n bytes, that the server wrote to its
// log file since Start. It is empty for an adopted server.
func (p *Process) LogTail(n int64) string {
	if p.logFile == "" || p.child == nil {
		return ""
	}
	return readTail(p.logFile, p.logFrom, n)
}
