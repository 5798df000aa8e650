package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// EndRemains ends processes that a dead postmaster left behind on a data
// directory (a backend in a long computation can outlive it, still acknowledge
// what it had committed, and keep the next server from starting), waits until
// they are gone, and returns how many there were. It sends SIGKILL: a backend
// that waits for a synchronous standby must not get to answer its client. It
// fails with ErrRunning when the directory's postmaster is alive.
func EndRemains(ctx context.Context, dataDir string) (int, error) {
	p, err := Adopt(dataDir)
	if err == nil {
		return 0, errors.Join(ErrRunning, p.Close())
	}
	if !errors.Is(err, ErrNotRunning) {
		return 0, err
	}
	ended := map[int]bool{}
	for {
		pids, err := serverProcesses(dataDir)
		if err != nil || len(pids) == 0 {
			return len(ended), err
		}
		for _, pid := range pids {
			ended[pid] = true
			if err := killServerProcess(ctx, pid, dataDir); err != nil {
				return len(ended), err
			}
		}
	}
}

// Remains returns the processes of a data directory whose postmaster is not
// running; none while it is. It changes nothing.
func Remains(dataDir string) ([]int, error) {
	p, err := Adopt(dataDir)
	if err == nil {
		return nil, p.Close()
	}
	if !errors.Is(err, ErrNotRunning) {
		return nil, err
	}
	return serverProcesses(dataDir)
}

// killServerProcess kills one process, checked again once it cannot be
// mistaken for another with its number, and awaits its end.
func killServerProcess(ctx context.Context, pid int, dataDir string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	dir, err := os.Stat(dataDir)
	if err != nil || !isServerProcess(pid, dir) {
		return err
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return awaitPidfd(ctx, fd, pid)
}

// serverProcesses scans /proc for PostgreSQL processes that work in a data
// directory, zombies left out. Every server process has its working directory
// there.
func serverProcesses(dataDir string) ([]int, error) {
	dir, err := os.Stat(dataDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stat data directory: %w", err)
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && isServerProcess(pid, dir) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isServerProcess asks the cheapest question first; for processes of other
// users the first one already fails.
func isServerProcess(pid int, dir os.FileInfo) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	// An upgrade may have replaced the program under a running server.
	if filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
		return false
	}
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	return err == nil && os.SameFile(cwd, dir) && !isZombie(pid)
}

// isPostmaster tells the postmaster from its children, which call themselves
// "postgres: …".
func isPostmaster(pid int, dataDir string) bool {
	dir, err := os.Stat(dataDir)
	if err != nil || !isServerProcess(pid, dir) {
		// A postmaster that has only just started is not in its directory yet.
		return err == nil && startsOn(pid, dataDir)
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && !bytes.HasPrefix(cmdline, []byte("postgres: "))
}

// startsOn says whether a process is a postgres program started for a data
// directory a moment ago.
func startsOn(pid int, dataDir string) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || isZombie(pid) {
		return false
	}
	args := strings.Split(string(cmdline), "\x00")
	if filepath.Base(args[0]) != "postgres" {
		return false
	}
	for i, a := range args[:len(args)-1] {
		if a == "-D" && args[i+1] == dataDir {
			return true
		}
	}
	return false
}

func isZombie(pid int) bool {
	state := processState(pid)
	return state == 'Z' || state == 'X'
}

// processState is the letter of proc(5); X for a process that is no more.
func processState(pid int) byte {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 'X'
	}
	// The name in parentheses may hold anything; the state follows the last one.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	if len(rest) < 2 {
		return 'X'
	}
	return rest[1]
}

// pollInterval is how often conditions without an event are looked at.
const pollInterval = 5 * time.Millisecond
