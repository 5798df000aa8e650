package machine

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is one process as the kernel shows it.
type Process struct {
	PID, Parent int
	// State is the letter of ps(1): R, S, D, T (stopped), Z (dead).
	State byte
	// Args is the command line, arguments separated by spaces.
	Args string
}

// Processes lists the live processes of the host: those in its network
// namespace, or in loopback mode those whose working directory is the host's
// (a server's is its data directory).
func (h *Host) Processes() []Process {
	var space string
	if h.lab.net != nil {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(netnsDir, h.lab.net.space(h.Name)), &st); err == nil {
			space = fmt.Sprintf("net:[%d]", st.Ino)
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || !h.owns(pid, space) {
			continue
		}
		if p, ok := readProcess(pid); ok && p.State != 'Z' {
			all = append(all, p)
		}
	}
	return all
}

func (h *Host) owns(pid int, space string) bool {
	if space != "" {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err == nil && ns == space
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && (cwd == h.Dir || strings.HasPrefix(cwd, h.Dir+"/"))
}

// readProcess reads /proc/PID/stat; the name in parentheses may hold anything.
func readProcess(pid int) (Process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 2 {
		return Process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Process{}, false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return Process{}, false
	}
	return Process{
		PID: pid, Parent: parent, State: fields[0][0],
		Args: strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " ")),
	}, true
}

// Postmaster is the process id of the server that owns the host's PGDATA, 0
// when none runs.
func (h *Host) Postmaster() int {
	content, err := os.ReadFile(filepath.Join(h.PGDATA(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return 0
	}
	if p, ok := readProcess(pid); !ok || p.State == 'Z' {
		return 0
	}
	return pid
}

// processDeadline bounds how long processes may take to stop or to die.
const processDeadline = 10 * time.Second

// each applies act to every process of the host, again and again, until two
// looks find none that wants it: processes fork meanwhile, and one look misses a
// child with a lower number whose parent has just ended.
func (h *Host) each(wants func(Process) bool, act func(Process)) error {
	none := 0
	for deadline := time.Now().Add(processDeadline); ; {
		left := slices.DeleteFunc(h.Processes(), func(p Process) bool { return !wants(p) })
		if none++; len(left) > 0 {
			none = 0
		}
		if none == 2 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of %s do not react to signals: %+v", len(left), h.Name, left)
		}
		for _, p := range left {
			act(p)
		}
		time.Sleep(time.Millisecond)
	}
}

func (h *Host) freezeAll() error {
	return h.each(func(p Process) bool { return p.State != 'T' },
		func(p Process) { _ = syscall.Kill(p.PID, syscall.SIGSTOP) })
}

func (h *Host) thawAll() error {
	return h.each(func(p Process) bool { return p.State == 'T' },
		func(p Process) { _ = syscall.Kill(p.PID, syscall.SIGCONT) })
}

// killAll ends all processes of the host as if at the same instant: stopped
// first, so that none sees another one die.
func (h *Host) killAll() error {
	if err := h.freezeAll(); err != nil {
		return err
	}
	return h.each(func(Process) bool { return true },
		func(p Process) { _ = syscall.Kill(p.PID, syscall.SIGKILL) })
}
