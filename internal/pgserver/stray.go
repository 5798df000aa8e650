package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// strayTools are the programs that write into a directory and outlive us, since
// they run in sessions of their own.
var strayTools = []string{"pg_basebackup", "pg_rewind", "initdb", "postgres"}

// EndStrayTools ends pg_basebackup, pg_rewind, initdb and single-user servers
// that an earlier life of ours started on a directory and that still run, and
// waits until they are gone. A postmaster is none of them.
func EndStrayTools(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, strayGrace)
	defer cancel()
	names, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("scan processes: %w", err)
	}
	for _, e := range names {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !isStrayTool(pid, dir) {
			continue
		}
		if err := endTool(ctx, pid, dir); err != nil {
			return err
		}
	}
	return nil
}

func isStrayTool(pid int, dir string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	name := filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	if !slices.Contains(strayTools, name) {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || isZombie(pid) {
		return false
	}
	args := strings.Split(string(cmdline), "\x00")
	if name == "postgres" && !slices.Contains(args, "--single") {
		return false
	}
	return slices.ContainsFunc(args, func(a string) bool {
		return a == dir || a == "--pgdata="+dir || a == "--target-pgdata="+dir
	})
}

func endTool(ctx context.Context, pid int, dir string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	if !isStrayTool(pid, dir) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	return awaitPidfd(ctx, fd, pid)
}

// awaitPidfd waits for the end of a process.
func awaitPidfd(ctx context.Context, fd, pid int) error {
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 50); n > 0 {
			return nil
		}
	}
	return fmt.Errorf("await the end of process %d (uninterruptible?): %w", pid, context.Cause(ctx))
}
