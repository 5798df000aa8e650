package pgserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// Staging is where a copy that will replace a data directory is built: beside
// it, so that one exchange of names puts it into place, or inside it where
// nothing can be renamed beside it (a mount point, a parent that is not ours).
type Staging struct {
	DataDir string // symbolic links resolved
	Dir     string // the copy
	Old     string // what was replaced, until DiscardOld
	Inside  bool
	// WALDir is where the copy's pg_wal goes if the present one is a symbolic
	// link; empty to keep it inside.
	WALDir string

	// before is asked before each change that Swap makes, so that tests can end
	// it there.
	before func() error
}

// CopyState says how far the way from a copy to the data directory is.
type CopyState string

// The states, which are read from disk: whoever crashed anywhere continues.
const (
	CopyNone     CopyState = "none"     // there is no copy
	CopyPartial  CopyState = "partial"  // begun and not finished: worth nothing
	CopyComplete CopyState = "complete" // whole and durable; Swap may begin
	CopySwapping CopyState = "swapping" // Swap has begun and must be called again
)

// Names of what Staging keeps on disk.
const (
	insideCopy  = ".autoctl-copy" // also within each tablespace's location
	insideOld   = ".autoctl-old"
	swapMark    = ".autoctl-swap"
	copyMark    = "autoctl.copy"
	disarmedExt = ".autoctl-old"
)

// ofSwaps are the names in a data directory that belong to swaps.
var ofSwaps = []string{insideCopy, insideOld, swapMark}

// StagingFor says where a copy for a data directory goes. It looks, and creates
// nothing.
func StagingFor(d DataDir) (Staging, error) {
	real, err := filepath.EvalSymlinks(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		real, err = d.Path, nil
	}
	if err != nil {
		return Staging{}, fmt.Errorf("resolve data directory: %w", err)
	}
	s := Staging{DataDir: real, Dir: real + insideCopy, Old: real + insideOld}
	if d.MountPoint || d.ParentClosed {
		s.Inside = true
		s.Dir, s.Old = filepath.Join(real, insideCopy), filepath.Join(real, insideOld)
	}
	s.WALDir = nextWALDir(d.WALDir)
	return s, nil
}

// nextWALDir alternates between two places for a pg_wal that lives elsewhere:
// the present one is in use until the copy is in place.
func nextWALDir(present string) string {
	switch {
	case present == "":
		return ""
	case filepath.Base(present) == insideCopy:
		return present + "2"
	case filepath.Base(present) == insideCopy+"2":
		return filepath.Join(filepath.Dir(present), insideCopy)
	default:
		return filepath.Join(present, insideCopy)
	}
}

// Copy is what is recorded of a complete copy.
type Copy struct {
	// Label is the caller's: what the copy was made for.
	Label       string           `json:"label"`
	Tablespaces []CopyTablespace `json:"tablespaces,omitempty"`
}

// CopyTablespace is a tablespace of a copy: it ends at Location.
type CopyTablespace struct {
	OID      uint32 `json:"oid"`
	Location string `json:"location"`
}

// staged is where the tablespace is until the swap.
func (t CopyTablespace) staged() string { return filepath.Join(t.Location, insideCopy) }

// State says what there is, and what was recorded of a complete copy.
func (s Staging) State() (CopyState, Copy, error) {
	if c, ok, err := readCopyMark(s.Dir); err != nil || ok {
		state := CopyComplete
		if exists(filepath.Join(s.DataDir, swapMark)) || disarmed(s.DataDir) {
			state = CopySwapping
		}
		return state, c, err
	}
	if c, ok, err := readCopyMark(s.DataDir); err != nil || ok {
		return CopySwapping, c, err
	}
	if exists(s.Dir) {
		return CopyPartial, Copy{}, nil
	}
	return CopyNone, Copy{}, nil
}

func readCopyMark(dir string) (Copy, bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, copyMark))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return Copy{}, false, nil
	}
	if err != nil {
		return Copy{}, false, fmt.Errorf("read mark of copy: %w", err)
	}
	var c Copy
	if err := json.Unmarshal(data, &c); err != nil {
		return Copy{}, false, fmt.Errorf("read mark of copy: %w", err)
	}
	return c, true, nil
}

// Complete records that the copy is whole. BaseBackup calls it; everything in
// the copy must be durable already. What the source's directory holds of earlier
// swaps came along, and is no part of the copy.
func (s Staging) Complete(c Copy) error {
	for _, name := range ofSwaps {
		if err := os.RemoveAll(filepath.Join(s.Dir, name)); err != nil {
			return fmt.Errorf("complete copy: %w", err)
		}
	}
	for _, t := range c.Tablespaces {
		versions, err := versionDirs(t.staged())
		if err != nil {
			return err
		}
		for _, v := range versions {
			if _, err := disk.Create(filepath.Join(t.staged(), v, copyMark), 0o600); err != nil {
				return err
			}
		}
	}
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("record copy: %w", err)
	}
	_, err = disk.WriteFile(filepath.Join(s.Dir, copyMark), data, 0o600)
	return err
}

// Discard removes an incomplete or unwanted copy. It refuses with ErrSwapping
// once a swap has begun: the copy is the data directory then.
func (s Staging) Discard() error {
	state, c, err := s.State()
	if err != nil {
		return err
	}
	if state == CopySwapping {
		return fmt.Errorf("discard copy: %w", ErrSwapping)
	}
	if state == CopyNone {
		return nil
	}
	// The mark goes first: half a copy must not look like a whole one.
	if _, err := disk.Remove(filepath.Join(s.Dir, copyMark)); err != nil {
		return err
	}
	for _, t := range c.Tablespaces {
		if err := os.RemoveAll(t.staged()); err != nil {
			return fmt.Errorf("discard copy: %w", err)
		}
	}
	links, _ := tablespaces(s.Dir) // a partial copy may have none
	for _, t := range links {
		if filepath.Base(t.Location) == insideCopy {
			err = errors.Join(err, os.RemoveAll(t.Location))
		}
	}
	if s.WALDir != "" {
		err = errors.Join(err, os.RemoveAll(s.WALDir))
	}
	if err = errors.Join(err, os.RemoveAll(s.Dir)); err != nil {
		return fmt.Errorf("discard copy: %w", err)
	}
	return nil
}

// ErrSwapping says that a swap has begun and has to be finished first.
var ErrSwapping = errors.New("a swap is unfinished")

// DiscardOld removes what a finished swap replaced. Nothing needs it any more;
// it is separate because it takes time and because somebody may want to look.
func (s Staging) DiscardOld() error {
	state, _, err := s.State()
	if err != nil {
		return err
	}
	if state != CopyNone {
		return fmt.Errorf("discard replaced data: %w", ErrSwapping)
	}
	present, _ := tablespaces(s.DataDir) // nothing to keep where there is nothing
	old, _ := tablespaces(s.Old)
	for _, t := range slices.Concat(present, old) {
		err = errors.Join(err, os.RemoveAll(filepath.Join(t.Location, insideCopy)))
	}
	for _, t := range old {
		if !slices.ContainsFunc(present, func(p Tablespace) bool { return p.Location == t.Location }) {
			err = errors.Join(err, removeVersionDirs(t.Location, s.Old))
		}
	}
	err = errors.Join(err, removeOldWAL(s.Old, s.DataDir), FreeSharedMemory(s.Old), os.RemoveAll(s.Old))
	if err != nil {
		return fmt.Errorf("discard replaced data: %w", err)
	}
	return nil
}

// removeOldWAL removes the directory that the replaced pg_wal linked to, but
// not one that the new pg_wal lives in.
func removeOldWAL(old, dataDir string) error {
	was, err := os.Readlink(filepath.Join(old, "pg_wal"))
	if err != nil {
		return nil //nolint:nilerr // not a link
	}
	is, _ := os.Readlink(filepath.Join(dataDir, "pg_wal"))
	entries, err := os.ReadDir(was)
	if err != nil {
		return nil //nolint:nilerr // gone already
	}
	for _, e := range entries {
		path := filepath.Join(was, e.Name())
		if path != is && e.Name() != "lost+found" {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// removeVersionDirs removes what the data directory of old's version kept in a
// tablespace.
func removeVersionDirs(location, old string) error {
	major, err := os.ReadFile(filepath.Join(old, "PG_VERSION"))
	if err != nil {
		return nil //nolint:nilerr // not PostgreSQL's: leave everything alone
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(major)))
	if err != nil {
		return nil //nolint:nilerr // not PostgreSQL's either: leave everything alone
	}
	versions, err := versionDirs(location)
	for _, v := range versions {
		if matchesMajor(v, n) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(location, v)))
		}
	}
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// withoutOurs leaves out what a copy inside the data directory is made of.
func withoutOurs(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return n == insideCopy || n == insideOld || n == swapMark
	})
}

// swapUnfinished says whether a data directory is on the way to become, or has
// just become, the copy. A complete copy in its own place is on no way yet.
func swapUnfinished(dataDir string) bool {
	staged := strings.HasSuffix(dataDir, insideCopy)
	return exists(filepath.Join(dataDir, swapMark)) || !staged && exists(filepath.Join(dataDir, copyMark))
}
