package state

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// DataLock is the right to work on one data directory, whatever name it was
// reached by: [Lock] is per state directory, which another user's home or a
// symbolic link changes (S11). It is on the directory itself and not on its name,
// so that it has to be taken again after a directory was put into its place:
// [DataLock.Hold] is cheap and is called before every change. The zero value holds
// nothing.
type DataLock struct {
	mu   sync.Mutex
	held *os.File
}

// Hold takes the lock of the directory that has this name now, and gives back
// that of the one that had it before. It does not wait: where another process
// has it, that is a [HeldError]. A directory that does not exist, that this user
// may not read or whose file system has no such locks cannot be held, and that is
// no error.
func (l *DataLock) Hold(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	there, err := os.Stat(dir)
	if err != nil {
		return nil // nothing is there that two could work on, or nobody of ours can
	}
	if l.held != nil {
		if have, err := l.held.Stat(); err == nil && os.SameFile(have, there) {
			return nil
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // as above
	}
	switch err := tryFlock(d); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errors.Join(&HeldError{Dir: dir}, d.Close())
	case err != nil: // such as NFS, which locks only what is open for writing
		return d.Close()
	}
	err = l.release()
	l.held = d
	return err
}

func tryFlock(d *os.File) error {
	for {
		if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Release gives back what is held.
func (l *DataLock) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.release()
}

func (l *DataLock) release() error {
	if l.held == nil {
		return nil
	}
	// Unlocked as well as closed: a process that is just being started has a copy of the file until its exec.
	err := errors.Join(unix.Flock(int(l.held.Fd()), unix.LOCK_UN), l.held.Close())
	l.held = nil
	if err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}
