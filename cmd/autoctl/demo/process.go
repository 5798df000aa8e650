package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one daemon: a monitor or a keeper.
type process struct {
	name, dir, data string
	cmd             *exec.Cmd
	done            chan struct{}
	err             error
}

// environment is what the daemons see: this user's, with autoctl's own files kept below dir and no setting that would reach
// them by accident.
func environment(dir string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "PG") && !strings.HasPrefix(e, "AUTOCTL_") && !strings.HasPrefix(e, "XDG_") {
			env = append(env, e)
		}
	}
	return append(env, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_DATA_HOME="+filepath.Join(dir, "state"), "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"))
}

// sockets is the directory of the Unix sockets: below Dir, unless that is too long for the kernel (107 bytes with the name).
func (s *show) sockets() string {
	if dir := filepath.Join(s.Dir, "s"); len(dir) < 80 {
		return dir
	}
	return os.TempDir()
}

// start runs autoctl in a process group of its own, so that Ctrl-C reaches this process only, which then ends the others in order.
func (p *process) start(binary string, args []string) error {
	for _, dir := range []string{"run", "s"} {
		if err := os.MkdirAll(filepath.Join(p.dir, dir), 0o700); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(binary, args...) //nolint:noctx // it outlives contexts: end stops it in order
	p.cmd.Env = environment(p.dir)
	p.cmd.Dir = p.dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.done = make(chan struct{})
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return nil
}

func (p *process) log() string { return filepath.Join(p.dir, p.name+".log") }

// tail is the end of the log, for error messages.
func (p *process) tail() string {
	content, err := os.ReadFile(p.log())
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// alive returns an error once the process has ended, which none should.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(p.err, errEnded), p.tail())
	default:
		return nil
	}
}

var errEnded = errors.New("it should go on")

// postmaster is the process id of the node's PostgreSQL; an error when there is none.
func (p *process) postmaster() (int, error) {
	content, err := os.ReadFile(filepath.Join(p.data, "postmaster.pid"))
	if err != nil {
		return 0, fmt.Errorf("find the PostgreSQL of %s: %w", p.name, err)
	}
	first, _, _ := bytes.Cut(content, []byte("\n"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(first)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("find the PostgreSQL of %s: postmaster.pid is damaged", p.name)
	}
	return pid, nil
}

func kill9(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// end asks the daemon to stop together with its PostgreSQL, fast, and waits.
func (p *process) end(ctx context.Context) error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	for _, how := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, 20 * time.Second}, {syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := p.cmd.Process.Signal(how.signal); errors.Is(err, os.ErrProcessDone) {
			break
		}
		timer := time.NewTimer(how.wait)
		select {
		case <-p.done:
		case <-timer.C:
			continue
		case <-ctx.Done():
		}
		timer.Stop()
		break
	}
	return p.gone(ctx)
}

// gone makes sure that no PostgreSQL is left: a keeper that was killed leaves one behind.
func (p *process) gone(ctx context.Context) error {
	pid, err := p.postmaster()
	if err != nil || !isPostgres(pid, p.data) {
		return nil // stopped in order
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return fmt.Errorf("end the PostgreSQL of %s (process %d): %w", p.name, pid, err)
	}
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for isPostgres(pid, p.data) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the PostgreSQL of %s (process %d) does not end", p.name, pid)
		}
	}
	return nil
}

// isPostgres guards against a process id that now belongs to somebody else: a postmaster's working directory is its data
// directory.
func isPostgres(pid int, data string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(data)
	return err == nil && cwd == real
}

// tidy ends everything, nodes before the monitor, and deletes the directory.
func (s *show) tidy(ctx context.Context, own bool) error {
	if s.writer != nil {
		s.writer.stop()
	}
	if s.client != nil {
		s.client.Close()
	}
	s.screen.freeze()
	var errs []error
	ended := make(chan error)
	for _, p := range s.nodes {
		go func() { ended <- p.end(ctx) }()
	}
	for range s.nodes {
		errs = append(errs, <-ended)
	}
	if s.monitor != nil {
		errs = append(errs, s.monitor.end(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if s.Keep {
		s.screen.say("All stopped. Everything is still in %s.", s.Dir)
		return nil
	}
	if err := s.remove(own); err != nil {
		return fmt.Errorf("delete the demo's directory: %w", err)
	}
	s.screen.say("All stopped, nothing left behind.")
	return nil
}

// remove deletes what the show made; a directory that the user named and made stays, empty.
func (s *show) remove(own bool) error {
	if own {
		return os.RemoveAll(s.Dir)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.Dir, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(s.Dir)
}
