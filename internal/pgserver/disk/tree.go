package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// SyncTrees makes everything durable that is below the paths, empty ones left
// out. Where one sync of the file system does it and tells of lost writes, that
// is all, for a sync a file takes longer than writing them (PostgreSQL offers the
// same as recovery_init_sync_method=syncfs).
func SyncTrees(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		one := syncTree
		if TellsLostWrites() && syncsWhole(path) {
			one = syncFileSystem
		}
		if err := one(path); err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
	}
	return nil
}

// TellsLostWrites says whether the kernel reports a write that failed to whoever
// syncs the whole file system: Linux does since 5.8.
var TellsLostWrites = sync.OnceValue(func() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	return err == nil && unix.ByteSliceToString(u.Sysname[:]) == "Linux" && (major > 5 || major == 5 && minor >= 8)
})

// syncsWhole says whether a sync of the file system that holds path reaches its
// disk and reports what was lost: not all do, FUSE and overlays among them.
func syncsWhole(path string) bool {
	var f unix.Statfs_t
	if unix.Statfs(path, &f) != nil {
		return false
	}
	switch f.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	default:
		return false
	}
}

func syncFileSystem(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}

// syncTree syncs every file and directory below path.
func syncTree(path string) error {
	return filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.IsDir() && !e.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// RemoveTree deletes a directory and all that is in it; of one that is itself a
// mount point, which cannot be deleted, all that is in it. One that does not
// exist is fine.
func RemoveTree(path string) error {
	mounted, err := IsMountPoint(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !mounted {
		return errors.Join(err, os.RemoveAll(path))
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return errors.Join(errs...)
}
