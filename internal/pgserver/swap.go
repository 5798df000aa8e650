package pgserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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
// to continue.
func (s Staging) Swap() error {
	state, c, err := s.State()
	if err != nil {
		return err
	}
	if state != CopyComplete && state != CopySwapping {
		return fmt.Errorf("swap data directory: %w", ErrNoCopy)
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
		if err := placeTablespace(t); err != nil {
			return err
		}
		if err := s.repoint(t); err != nil {
			return err
		}
	}
	return nil
}

// disarm takes the control file away, without which no server starts.
func (s Staging) disarm() error {
	control := filepath.Join(s.DataDir, "global", "pg_control")
	if !exists(control) {
		return nil
	}
	return disk.Rename(control, control+disarmedExt)
}

func disarmed(dataDir string) bool {
	return exists(filepath.Join(dataDir, "global", "pg_control"+disarmedExt))
}

// placeTablespace exchanges a staged tablespace with the one in its place. The
// mark inside tells which is which.
func placeTablespace(t CopyTablespace) error {
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
			err = disk.Rename(from, to)
		} else if err = disk.Exchange(from, to); errors.Is(err, disk.ErrNoExchange) {
			err = errors.Join(disk.Rename(to, from+disarmedExt), disk.Rename(from, to))
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
	tmp := link + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(t.Location, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, link); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(link))
}

// exchange puts a copy beside the data directory into place.
func (s Staging) exchange() error {
	if !exists(s.DataDir) {
		return disk.Rename(s.Dir, s.DataDir)
	}
	if err := os.RemoveAll(s.Old); err != nil { // left by an earlier swap
		return err
	}
	err := disk.Exchange(s.Dir, s.DataDir)
	if errors.Is(err, disk.ErrNoExchange) {
		if err := disk.Rename(s.DataDir, s.Old); err != nil {
			return err
		}
		return disk.Rename(s.Dir, s.DataDir)
	}
	return err
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
	if err := moveEntries(s.Dir, s.DataDir, "global", copyMark); err != nil {
		return err
	}
	for _, last := range []string{"global", copyMark} {
		if from := filepath.Join(s.Dir, last); exists(from) {
			if err := disk.Rename(from, filepath.Join(s.DataDir, last)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s Staging) moveOut(mark string, first bool) error {
	if first {
		if err := os.RemoveAll(s.Old); err != nil { // left by an earlier swap
			return err
		}
		if _, err := disk.WriteFile(mark, []byte(phaseOut), 0o600); err != nil {
			return err
		}
	}
	if err := os.Mkdir(s.Old, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := moveEntries(s.DataDir, s.Old, insideCopy, insideOld, swapMark, "lost+found"); err != nil {
		return err
	}
	_, err := disk.WriteFile(mark, []byte(phaseIn), 0o600)
	return err
}

// moveEntries renames everything in one directory into another, but for some.
func moveEntries(from, to string, except ...string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	skip := map[string]bool{}
	for _, e := range except {
		skip[e] = true
	}
	for _, e := range entries {
		if skip[e.Name()] {
			continue
		}
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(disk.SyncDir(from), disk.SyncDir(to))
}

// finish tidies up once the copy is in place. The copy's mark goes last: it
// says that there is something to finish.
func (s Staging) finish(c Copy) error {
	if s.Inside {
		if err := os.RemoveAll(s.Dir); err != nil { // empty
			return err
		}
	} else if exists(s.Dir) {
		if err := disk.Rename(s.Dir, s.Old); err != nil {
			return err
		}
	}
	for _, t := range c.Tablespaces {
		versions, err := versionDirs(t.Location)
		if err != nil {
			return err
		}
		for _, v := range versions {
			if _, err := disk.Remove(filepath.Join(t.Location, v, copyMark)); err != nil {
				return err
			}
		}
	}
	if _, err := disk.Remove(filepath.Join(s.DataDir, swapMark)); err != nil {
		return err
	}
	_, err := disk.Remove(filepath.Join(s.DataDir, copyMark))
	return err
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

func trimSpace(b []byte) []byte { return bytes.TrimSpace(b) }
