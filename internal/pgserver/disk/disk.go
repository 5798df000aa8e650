// Package disk holds the few file system operations that the control of a
// PostgreSQL server needs and that the standard library lacks: durable atomic
// replacement of files, syncing of directories, exchange of two directories,
// free space, and the size of a tree.
//
// Every function that changes something has synced the file and its directory
// when it returns nil, also when it found nothing to change: an earlier caller
// may have died between its change and its sync. Only what this process itself
// has synced, and nobody replaced or wrote since, is not synced again: a failover
// has no time for that, nor for several syncs of one directory; see Hold.
package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// SyncDir makes the names in a directory durable (fsync of the directory).
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// WriteFile replaces the content of path atomically and durably, and says
// whether the content differed. A symbolic link is followed and its target
// replaced. An existing file keeps its mode, and its owner where we may set
// it; a new one gets perm.
func WriteFile(path string, data []byte, perm fs.FileMode) (changed bool, err error) {
	return writeFile(path, data, perm, nil)
}

// ErrChanged says that somebody else changed a file after it was read.
var ErrChanged = errors.New("the file was changed meanwhile")

// ReplaceFile is WriteFile for a file that others edit as well: data were made from
// its content was, nil for a missing file. Where it holds anything else by now, up
// to the moment before the replacement, it is left alone and the error is ErrChanged.
func ReplaceFile(path string, was, data []byte, perm fs.FileMode) (changed bool, err error) {
	return writeFile(path, data, perm, func(real string) error {
		now, err := os.ReadFile(real)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read file: %w", err)
		}
		if !bytes.Equal(now, was) {
			return fmt.Errorf("replace %s: %w", real, ErrChanged)
		}
		return nil
	})
}

// writeFile calls check, if there is one, when everything but the replacement itself is done.
func writeFile(path string, data []byte, perm fs.FileMode, check func(real string) error) (changed bool, err error) {
	real, err := resolve(path)
	if err != nil {
		return false, err
	}
	old, err := os.ReadFile(real)
	if err == nil && bytes.Equal(old, data) {
		if known.has(real) {
			return false, nil
		}
		// Whoever wrote it may have died before it was durable.
		if err := syncFile(real); err != nil {
			return false, known.note(real, err)
		}
		return false, syncName(real, func(err error) error { return known.note(real, err) })
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read file: %w", err)
	}
	f, err := renameio.NewPendingFile(real,
		renameio.WithTempDir(filepath.Dir(real)),
		renameio.WithStaticPermissions(modeOf(real, perm)))
	if err != nil {
		return false, fmt.Errorf("create temporary file beside %s: %w", real, err)
	}
	end := f.Cleanup
	defer func() { err = errors.Join(err, end()) }()
	keepOwner(f.File, real)
	if _, err := f.Write(data); err != nil {
		return false, fmt.Errorf("write file: %w", err)
	}
	if check == nil {
		if err := f.CloseAtomicallyReplace(); err != nil {
			return false, fmt.Errorf("replace file: %w", err)
		}
	} else {
		if err := renameChecked(f.File, real, check); err != nil {
			return false, err
		}
		end = f.Close
	}
	return true, syncName(real, func(err error) error { return known.note(real, err) })
}

// renameChecked puts a temporary file into its place with nothing between the check and that: the sync, which takes long, comes before.
func renameChecked(f *os.File, to string, check func(string) error) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	if err := check(to); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file: %w", err)
	}
	return nil
}

// resolve follows symbolic links of path when it exists.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", fmt.Errorf("resolve path: %w", err)
	}
	return real, nil
}

func modeOf(path string, otherwise fs.FileMode) fs.FileMode {
	if st, err := os.Stat(path); err == nil {
		return st.Mode().Perm()
	}
	return otherwise
}

// keepOwner gives f the owner of the file that it will replace. Best effort:
// only root may give files away, and our user owns them in every layout that
// we create.
func keepOwner(f *os.File, existing string) {
	var st unix.Stat_t
	if unix.Stat(existing, &st) == nil {
		_ = f.Chown(int(st.Uid), int(st.Gid))
	}
}

// Create makes an empty durable file if it does not exist, and says whether it
// had to.
func Create(path string, perm fs.FileMode) (created bool, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		if known.has(path) {
			return false, nil
		}
		return false, syncName(path, func(err error) error { return known.note(path, err) })
	}
	if err != nil {
		return false, fmt.Errorf("create file: %w", err)
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return false, fmt.Errorf("sync file %s: %w", path, err)
	}
	return true, syncName(path, func(err error) error { return known.note(path, err) })
}

// Remove deletes a file durably, and says whether it was there.
func Remove(path string) (removed bool, err error) {
	err = os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		if known.hasNot(path) {
			return false, nil
		}
		return false, syncName(path, func(err error) error { return known.noteGone(path, err) })
	}
	if err != nil {
		return false, fmt.Errorf("remove file: %w", err)
	}
	return true, syncName(path, func(err error) error { return known.noteGone(path, err) })
}

// Rename moves a file or directory durably within one file system. It fails
// when the new name exists.
func Rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// The file system does not know the flag (NFS): nobody else writes
		// beside a data directory that its keeper has locked.
		if _, statErr := os.Lstat(to); statErr == nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
		}
		err = unix.Rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return errors.Join(SyncDir(filepath.Dir(from)), SyncDir(filepath.Dir(to)))
}

// ErrNoExchange says that the file system cannot exchange two names atomically.
var ErrNoExchange = errors.New("file system cannot exchange directories atomically")

// Exchange swaps two names atomically and durably (RENAME_EXCHANGE). Both must
// exist on one file system. It wraps ErrNoExchange where the file system does
// not offer it.
func Exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("exchange %s and %s: %w", a, b, ErrNoExchange)
	}
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return errors.Join(SyncDir(filepath.Dir(a)), SyncDir(filepath.Dir(b)))
}

// Free returns the bytes that an unprivileged process can still write to the
// file system that holds path. A path that does not exist yet stands for its
// nearest existing ancestor.
func Free(path string) (int64, error) {
	existing, err := ancestor(path)
	if err != nil {
		return 0, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(existing, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", existing, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // its type differs between platforms
}

// Device identifies the file system that holds path (or its nearest existing
// ancestor): equal devices share their free space.
func Device(path string) (uint64, error) {
	existing, err := ancestor(path)
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat(existing, &st); err != nil {
		return 0, fmt.Errorf("stat %s: %w", existing, err)
	}
	return st.Dev, nil
}

func ancestor(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve path: %w", err)
	}
	for {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return "", fmt.Errorf("stat path: %w", err)
		}
		path = filepath.Dir(path)
	}
}

// Size sums the bytes of the regular files below path, symbolic links not
// followed. Files that vanish meanwhile count as nothing.
func Size(path string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	return sum, nil
}

// IsMountPoint says whether a directory is the root of a mounted file system,
// bind mounts included.
func IsMountPoint(path string) (bool, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fmt.Errorf("resolve path: %w", err)
	}
	var st unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, real, 0, unix.STATX_BASIC_STATS, &st)
	if err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	return deviceDiffers(real)
}

// deviceDiffers is the answer of kernels before 5.8; it misses bind mounts
// within one file system.
func deviceDiffers(path string) (bool, error) {
	here, err := Device(path)
	if err != nil {
		return false, err
	}
	above, err := Device(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	return here != above || path == "/", nil
}
