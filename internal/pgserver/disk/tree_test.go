package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSyncTrees: each way goes through a whole tree, links that lead nowhere included, and tells of one that is not there.
func TestSyncTrees(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "base", "1"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "pg_wal")); err != nil {
		t.Fatal(err)
	}
	for name, sync := range map[string]func(string) error{
		"file by file": syncTree, "file system": syncFileSystem, "whichever": func(path string) error { return SyncTrees(path, "") },
	} {
		if err := sync(dir); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := sync(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of an absent directory: %v", name, err)
		}
	}
}

// TestRemoveTree: a directory goes, a mount point is emptied, and what is not there is gone already.
func TestRemoveTree(t *testing.T) {
	fill := func(dir string) string {
		if err := os.MkdirAll(filepath.Join(dir, "base", "1"), 0o700); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := fill(filepath.Join(t.TempDir(), "data"))
	for range 2 {
		if err := RemoveTree(dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after RemoveTree: %v", err)
		}
	}
	mounted := t.TempDir()
	if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("the part about mount points needs to mount one: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
	if err := RemoveTree(fill(mounted)); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(mounted); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
