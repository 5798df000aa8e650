package pgserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watch starts the goroutine that awaits the end of the process through its
// pidfd. Children and adopted processes are watched alike; a child is reaped.
func (p *Process) watch() error {
	p.exited, p.done = make(chan struct{}), make(chan struct{})
	if p.pidfd < 0 {
		fd, err := unix.PidfdOpen(p.pid, 0)
		if err != nil {
			return fmt.Errorf("watch postmaster %d: %w", p.pid, err)
		}
		p.pidfd = fd
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch postmaster %d: %w", p.pid, err)
	}
	p.wake = wake
	go p.await()
	return nil
}

func (p *Process) await() {
	defer close(p.done)
	if !awaitExit(p.pidfd, p.wake) {
		return
	}
	exit := Exit{At: time.Now()}
	if p.child != nil {
		exit = exitOf(p.child.Wait())
	}
	p.exit = exit
	close(p.exited)
}

// awaitExit blocks until the process of pidfd has ended (true) or somebody
// wrote to the eventfd (false).
func awaitExit(pidfd, wake int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && fds[0].Revents != 0
	}
}

func wakeUp(eventfd int) error {
	_, err := unix.Write(eventfd, binary.NativeEndian.AppendUint64(nil, 1))
	return err
}

func exitOf(err error) Exit {
	e := Exit{Known: true, At: time.Now()}
	ee, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return e
	}
	e.Code = ee.ExitCode()
	if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal()
	}
	return e
}

// readTail returns at most n bytes of the end of a file, nothing before from.
func readTail(path string, from, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	if from > st.Size() { // it was trimmed since
		from = 0
	}
	data, _ := io.ReadAll(io.NewSectionReader(f, max(from, st.Size()-n), n))
	return string(data)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
