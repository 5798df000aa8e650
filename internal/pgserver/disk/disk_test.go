package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileKeepsModeAndFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		changed, err := WriteFile(link, []byte("new"), 0o600)
		if err != nil || changed != want {
			t.Fatalf("write %d: changed %v, %v", i, changed, err)
		}
	}
	st, err := os.Lstat(link)
	if err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", st, err)
	}
	st, err = os.Stat(target)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left-over files: %v", entries)
	}
}

func TestWriteFileCreates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	changed, err := WriteFile(path, []byte("x"), 0o600)
	if err != nil || !changed {
		t.Fatalf("%v %v", changed, err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestCreateAndRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []bool{true, false} {
		if got, err := Create(path, 0o600); err != nil || got != want {
			t.Errorf("create: %v %v", got, err)
		}
	}
	for _, want := range []bool{true, false} {
		if got, err := Remove(path); err != nil || got != want {
			t.Errorf("remove: %v %v", got, err)
		}
	}
}

func TestRenameRefusesToReplace(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Rename(a, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("rename onto an existing directory: %v", err)
	}
	if err := Rename(a, filepath.Join(dir, "c")); err != nil {
		t.Error(err)
	}
}

func TestExchange(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, d := range []string{a, b} {
		if err := os.MkdirAll(filepath.Join(d, "was-"+filepath.Base(d)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := Exchange(a, b); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(a, "was-b")); err != nil {
		t.Error(err)
	}
}

func TestFreeOfAPathToBe(t *testing.T) {
	dir := t.TempDir()
	here, err := Free(dir)
	if err != nil || here <= 0 {
		t.Fatalf("%d %v", here, err)
	}
	if there, err := Free(filepath.Join(dir, "not", "yet")); err != nil || there <= 0 {
		t.Errorf("%d %v", there, err)
	}
}

func TestSize(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"a", "x/b"} {
		if err := os.WriteFile(filepath.Join(dir, f), make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := Size(dir); err != nil || n != 2000 {
		t.Errorf("%d %v", n, err)
	}
}

func TestIsMountPoint(t *testing.T) {
	for path, want := range map[string]bool{"/proc": true, t.TempDir(): false} {
		if got, err := IsMountPoint(path); err != nil || got != want {
			t.Errorf("%s: %v %v", path, got, err)
		}
	}
}

// TestReplaceFile leaves a file alone that is not what it was made from, and leaves nothing behind.
func TestReplaceFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	if changed, err := ReplaceFile(path, nil, []byte("first\n"), 0o600); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if _, err := ReplaceFile(path, []byte("other\n"), []byte("lost\n"), 0o600); !errors.Is(err, ErrChanged) {
		t.Errorf("replaced what was not read: %v", err)
	}
	if changed, err := ReplaceFile(path, []byte("first\n"), []byte("first\n"), 0o600); changed || err != nil {
		t.Errorf("nothing to change: %v, %v", changed, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "first\n" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
