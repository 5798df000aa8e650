package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ballast is the file that fills a disk.
const ballast = "ballast"

// Volume gives the host's data a disk of their own that holds that many bytes, so
// that it can be filled: PGDATA and whatever is written beside it are there, the
// rest of the host is not. It must come before anything runs on the host, and
// needs root.
func (h *Host) Volume(t testing.TB, size int64) {
	t.Helper()
	dir := filepath.Join(h.Dir, "volume")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("autoctl-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatalf("mount %s: %v", dir, err)
	}
	h.lab.own(dir)
	h.volume = dir
}

// TryFill takes all that is left on the host's volume; TryFree gives it back.
func (h *Host) TryFill() error {
	f, err := os.OpenFile(filepath.Join(h.volume, ballast), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for {
		if _, err := f.Write(chunk); errors.Is(err, unix.ENOSPC) && len(chunk) > 1 {
			chunk = chunk[:len(chunk)/2]
		} else if errors.Is(err, unix.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("fill the disk of %s: %w", h.Name, err)
		}
	}
}

// TryFree frees what TryFill took.
func (h *Host) TryFree() error {
	if h.volume == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(h.volume, ballast)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unmountBelow unmounts what is mounted below dir, also while it is in use.
func unmountBelow(dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
}
