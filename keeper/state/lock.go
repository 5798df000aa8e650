package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// The names of the lock and of the file that tells its holder's process id.
const (
	LockName = "lock"
	PIDName  = "keeper.pid"
)

// HeldError says that another keeper runs on the data directory.
type HeldError struct {
	PID int    // 0 when unknown
	Dir string // the data directory, where it is held under another name or by another user's keeper
}

// Error names the process.
func (e *HeldError) Error() string {
	switch {
	case e.Dir != "":
		return fmt.Sprintf("another keeper runs on %s: under another name of the directory, or with the configuration of another user", e.Dir)
	case e.PID == 0:
		return "another keeper runs on this data directory"
	}
	return fmt.Sprintf("another keeper runs on this data directory, with process id %d", e.PID)
}

// Lock is the right to run a keeper on one state directory, and on the data
// directory of its Data. The operating system takes it back when the process ends,
// however it ends.
type Lock struct {
	Data DataLock

	lock *flock.Flock
	pid  string
	made string // the uppermost directory that was made for it; empty when all were there
}

// looks is for how long Acquire tries again: [Locked], that asks whether a
// lock is held, has it for a moment.
const looks = 100 * time.Millisecond

// Acquire takes the lock of a state directory, creating the directory if
// needed, and writes the pid file. It does not wait for the end of another
// keeper: a second one gets a [HeldError].
func Acquire(dir string) (*Lock, error) {
	made := missing(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	l := &Lock{lock: flock.New(filepath.Join(dir, LockName)), pid: filepath.Join(dir, PIDName), made: made}
	ctx, cancel := context.WithTimeout(context.Background(), looks)
	defer cancel()
	ok, err := l.lock.TryLockContext(ctx, looks/20)
	if errors.Is(err, context.DeadlineExceeded) {
		ok, err = false, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if !ok {
		pid, _ := PID(dir) // only the message gets poorer without it
		return nil, &HeldError{PID: pid}
	}
	if err := os.WriteFile(l.pid, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write pid file: %w", err), l.lock.Unlock())
	}
	return l, nil
}

// Release gives the lock back and removes the pid file.
func (l *Lock) Release() error {
	return errors.Join(l.Data.Release(), os.Remove(l.pid), l.lock.Unlock())
}

// Abandon is Release for what came to nothing: a state directory that was made for it is removed again, and what was made above it, unless it holds
// something else by now.
func (l *Lock) Abandon() error {
	if l.made == "" {
		return l.Release()
	}
	dir := filepath.Dir(l.pid)
	err := os.RemoveAll(dir) // the lock is held until its file is gone
	for dir != l.made && err == nil {
		dir = filepath.Dir(dir)
		if os.Remove(dir) != nil {
			break // in use
		}
	}
	return errors.Join(err, l.Data.Release(), l.lock.Unlock())
}

// missing returns the uppermost directory of a path that does not exist; "" when all do.
func missing(dir string) string {
	for top := ""; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			return top
		}
		top = dir
	}
}

// PID returns the process id that the pid file of a state directory holds.
func PID(dir string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, PIDName))
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("read pid file: %w", err)
	}
	return pid, nil
}

// Running returns the process id of the keeper that holds the lock of a state
// directory, or 0 when there is none.
func Running(dir string) (int, error) {
	held, err := Locked(filepath.Join(dir, LockName))
	if err != nil || !held {
		return 0, err
	}
	return PID(dir)
}

// Locked says whether somebody holds a lock, given the path of its file.
func Locked(path string) (bool, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	probe := flock.New(path)
	free, err := probe.TryRLock()
	if err != nil {
		return false, fmt.Errorf("look at lock: %w", err)
	}
	if free {
		return false, probe.Unlock()
	}
	return true, nil
}
