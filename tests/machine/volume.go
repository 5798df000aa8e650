package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Volume is a small file system of its own, in memory, at a place of a host: a
// disk that can run full, and a mount point.
type Volume struct {
	// Dir is where it is mounted.
	Dir string

	t testing.TB
}

// NeedVolumes skips the test where nothing can be mounted.
func NeedVolumes(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs to mount file systems: run as root")
	}
}

// Volume mounts an empty file system of so many megabytes at dir, which belongs
// to the user that runs the host's programs, until the end of the test.
func (h *Host) Volume(dir string, megabytes int) *Volume {
	h.lab.t.Helper()
	NeedVolumes(h.lab.t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.lab.t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", megabytes)); err != nil {
		h.lab.t.Fatalf("mount a volume of %s: %v", h.Name, err)
	}
	h.lab.own(dir)
	return &Volume{Dir: dir, t: h.lab.t}
}

// filler is the file that takes the room of a volume.
const filler = "filler"

// Fill leaves no room on the volume, whatever is freed meanwhile.
func (v *Volume) Fill() {
	v.t.Helper()
	f, err := os.OpenFile(filepath.Join(v.Dir, filler), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		n, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, unix.ENOSPC):
			if n == 0 {
				size /= 2
			}
		case err != nil:
			v.t.Fatal(err)
		}
	}
}

// Free ends what Fill did.
func (v *Volume) Free() {
	v.t.Helper()
	if err := os.Remove(filepath.Join(v.Dir, filler)); err != nil {
		v.t.Fatal(err)
	}
}

// unmountBelow unmounts what is mounted below dir, the innermost first. Whatever
// still uses it keeps it until it ends.
func unmountBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", f[1], err))
			}
		}
	}
	return errors.Join(errs...)
}
