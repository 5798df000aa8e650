package disk

import (
	"os"
	"path/filepath"
	"testing"
)

// TestHold_OneSyncForSeveralFiles: what is changed in a held directory counts as durable when it is released, and not before.
func TestHold_OneSyncForSeveralFiles(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	written, created, gone := filepath.Join(dir, "written"), filepath.Join(dir, "created"), filepath.Join(dir, "gone")
	if err := os.WriteFile(gone, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release := Hold(dir)
	for _, change := range []func() (bool, error){
		func() (bool, error) { return WriteFile(written, []byte("x"), 0o600) },
		func() (bool, error) { return Create(created, 0o600) },
		func() (bool, error) { return Remove(gone) },
	} {
		if changed, err := change(); err != nil || !changed {
			t.Fatalf("changed %v, %v", changed, err)
		}
	}
	if known.has(written) || known.has(created) || known.hasNot(gone) {
		t.Error("a name counts as durable while its directory is held")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if !known.has(written) || !known.has(created) || !known.hasNot(gone) {
		t.Error("a name does not count as durable after its directory was released")
	}
	if _, err := WriteFile(written, []byte("y"), 0o600); err != nil || !known.has(written) {
		t.Errorf("a directory that was released is held still: %v", err)
	}
}

// TestHold_TellsAFailure: a directory that cannot be synced is an error of the release.
func TestHold_TellsAFailure(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	release := Hold(dir)
	if _, err := WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if release() == nil {
		t.Error("no error although the directory is gone")
	}
	if known.has(path) {
		t.Error("the file counts as durable")
	}
}
