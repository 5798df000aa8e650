package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
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
