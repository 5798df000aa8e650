package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// ErrNoCopy says that there is no complete copy to put into place.
var ErrNoCopy = errors.New("no complete copy")

// Swap puts a complete copy into the place of the data directory and keeps what
// was there in Old. No server may run on either. A Swap that was interrupted
// anywhere is continued by calling it again; until it is done, the data
// directory is either what it was, or cannot start, or is the copy.
//
// It fails with ErrNoCopy where there is nothing to put into place and nothing
// to continue, and with ErrRunning while a server or what is left of one works
// in the data directory.
func (s Staging) Swap() error {
	state, c, err := s.State()
	if err != nil {
		return err
	}
	if state != CopyComplete && state != CopySwapping {
		return fmt.Errorf("swap data directory: %w", ErrNoCopy)
	}
	if err := ensureStopped(s.DataDir); err != nil {
		return fmt.Errorf("swap data directory: %w", err)
	}
	if err := s.swap(c); err != nil {
		return fmt.Errorf("swap data directory: %w", err)
	}
	return nil
}

func (s Staging) swap(c Copy) error {
	if exists(filepath.Join(s.DataDir, copyMark)) {
		return s.finish(c)
	}
	if phase, _ := os.ReadFile(filepath.Join(s.DataDir, swapMark)); string(phase) != phaseIn {
		if err := s.prepare(c); err != nil {
			return err
		}
	}
	put := s.exchange
	if s.Inside {
		put = s.move
	}
	if err := put(); err != nil {
		return err
	}
	return s.finish(c)
}

// prepare makes the old directory unable to start where the swap takes several
// steps, and gives the tablespaces their places.
func (s Staging) prepare(c Copy) error {
	if s.Inside || len(c.Tablespaces) > 0 {
		if err := s.disarm(); err != nil {
			return err
		}
	}
	for _, t := range c.Tablespaces {
		if err := s.placeTablespace(t); err != nil {
			return err
		}
		if err := s.repoint(t); err != nil {
			return err
		}
	}
	return nil
}

// do makes one change.
func (s Staging) do(change func() error) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	return change()
}

func (s Staging) rename(from, to string) error {
	return s.do(func() error { return disk.Rename(from, to) })
}

func (s Staging) removeAll(path string) error {
	return s.do(func() error { return os.RemoveAll(path) })
}

func (s Staging) remove(path string) error {
	return s.do(func() error { _, err := disk.Remove(path); return err })
}

func (s Staging) write(path, text string) error {
	return s.do(func() error { _, err := disk.WriteFile(path, []byte(text), 0o600); return err })
}

// disarm takes the control file away, without which no server starts.
func (s Staging) disarm() error {
	control := filepath.Join(s.DataDir, "global", "pg_control")
	if !exists(control) {
		return nil
	}
	return s.rename(control, control+disarmedExt)
}

func disarmed(dataDir string) bool {
	return exists(filepath.Join(dataDir, "global", "pg_control"+disarmedExt))
}

// placeTablespace exchanges a staged tablespace with the one in its place. The
// mark inside tells which is which.
func (s Staging) placeTablespace(t CopyTablespace) error {
	versions, err := versionDirs(t.staged())
	if err != nil {
		return err
	}
	for _, v := range versions {
		from, to := filepath.Join(t.staged(), v), filepath.Join(t.Location, v)
		if !exists(filepath.Join(from, copyMark)) {
			continue // this is the old content already
		}
		if !exists(to) {
			err = s.rename(from, to)
		} else {
			err = s.do(func() error { return disk.Exchange(from, to) })
		}
		if errors.Is(err, disk.ErrNoExchange) {
			if err = s.rename(to, from+disarmedExt); err == nil {
				err = s.rename(from, to)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// repoint makes the copy's link lead to the tablespace's place.
func (s Staging) repoint(t CopyTablespace) error {
	link := filepath.Join(s.Dir, "pg_tblspc", strconv.FormatUint(uint64(t.OID), 10))
	if to, err := os.Readlink(link); err == nil && to == t.Location {
		return nil
	}
	tmp := link + ".tmp"
	if err := s.remove(tmp); err != nil {
		return err
	}
	if err := s.do(func() error { return os.Symlink(t.Location, tmp) }); err != nil {
		return err
	}
	if err := s.do(func() error { return os.Rename(tmp, link) }); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(link))
}

// exchange puts a copy beside the data directory into place.
func (s Staging) exchange() error {
	if !exists(s.DataDir) {
		return s.rename(s.Dir, s.DataDir)
	}
	if err := s.removeAll(s.Old); err != nil { // left by an earlier swap
		return err
	}
	err := s.do(func() error { return disk.Exchange(s.Dir, s.DataDir) })
	if !errors.Is(err, disk.ErrNoExchange) {
		return err
	}
	if err := s.rename(s.DataDir, s.Old); err != nil {
		return err
	}
	return s.rename(s.Dir, s.DataDir)
}

// The content of the swap mark: which way entries are being moved.
const (
	phaseOut = "out"
	phaseIn  = "in"
)

// move puts a copy inside the data directory into place, entry by entry: first
// everything old out, then everything new in, the directory of the control file
// last.
func (s Staging) move() error {
	mark := filepath.Join(s.DataDir, swapMark)
	phase, err := os.ReadFile(mark)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if string(phase) != phaseIn {
		if err := s.moveOut(mark, len(phase) == 0); err != nil {
			return err
		}
	}
	if err := s.moveEntries(s.Dir, s.DataDir, append([]string{"global", copyMark}, ofSwaps...)...); err != nil {
		return err
	}
	for _, last := range []string{"global", copyMark} {
		if from := filepath.Join(s.Dir, last); exists(from) {
			if err := s.rename(from, filepath.Join(s.DataDir, last)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s Staging) moveOut(mark string, first bool) error {
	if first {
		if err := s.removeAll(s.Old); err != nil { // left by an earlier swap
			return err
		}
		if err := s.write(mark, phaseOut); err != nil {
			return err
		}
	}
	err := s.do(func() error { return os.Mkdir(s.Old, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.moveEntries(s.DataDir, s.Old, insideCopy, insideOld, swapMark, "lost+found"); err != nil {
		return err
	}
	return s.write(mark, phaseIn)
}

// moveEntries renames everything in one directory into another, but for some.
func (s Staging) moveEntries(from, to string, except ...string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.Contains(except, e.Name()) {
			continue
		}
		err := s.do(func() error { return os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())) })
		if err != nil {
			return err
		}
	}
	return errors.Join(disk.SyncDir(from), disk.SyncDir(to))
}

// finish tidies up once the copy is in place. The copy's mark goes last: it
// says that there is something to finish.
func (s Staging) finish(c Copy) error {
	if err := s.putAside(); err != nil {
		return err
	}
	for _, t := range c.Tablespaces {
		versions, err := versionDirs(t.Location)
		if err != nil {
			return err
		}
		for _, v := range versions {
			if err := s.remove(filepath.Join(t.Location, v, copyMark)); err != nil {
				return err
			}
		}
		if err := s.do(func() error { return removeEmpty(t.staged()) }); err != nil {
			return err
		}
	}
	if err := s.remove(filepath.Join(s.DataDir, swapMark)); err != nil {
		return err
	}
	return s.remove(filepath.Join(s.DataDir, copyMark))
}

// removeEmpty removes a directory unless something is in it: what was replaced, until it is discarded.
func removeEmpty(dir string) error {
	err := os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// putAside gives what was replaced its name.
func (s Staging) putAside() error {
	if s.Inside {
		return s.removeAll(s.Dir) // empty by now, but for what an earlier version copied of the source's swaps
	}
	if !exists(s.Dir) {
		return nil
	}
	return s.rename(s.Dir, s.Old)
}

// versionDirs lists the directories of PostgreSQL's versions in a tablespace.
func versionDirs(location string) ([]string, error) {
	entries, err := os.ReadDir(location)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tablespace: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "PG_") && !strings.HasSuffix(e.Name(), disarmedExt) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func matchesMajor(versionDir string, major int) bool {
	return strings.HasPrefix(versionDir, fmt.Sprintf("PG_%d_", major))
}
