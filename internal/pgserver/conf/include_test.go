package conf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRead_Includes follows Debian's conf.d and the other ways to include, in PostgreSQL's order, and leaves our own file out.
func TestRead_Includes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"postgresql.conf":     "max_connections = 10\nwork_mem = 1MB\ninclude_dir 'conf.d'\ninclude_if_exists = 'missing.conf'\ninclude 'more/one.conf'\ninclude 'autoctl.conf'\n",
		"conf.d/20-b.conf":    "max_connections = 300\n",
		"conf.d/10-a.conf":    "max_connections = 200\nwal_level = logical\n",
		"conf.d/.hidden.conf": "max_connections = 1\n",
		"conf.d/readme.txt":   "max_connections = 2\n",
		"more/one.conf":       "include_if_exists 'two.conf'\n",
		"more/two.conf":       "Work_Mem = '2MB'\n",
		"autoctl.conf":        "max_connections = 7\nport = 1\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(filepath.Join(dir, "postgresql.conf"))
	want := Params{"max_connections": "300", "work_mem": "2MB", "wal_level": "logical"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestRead_Loop ends where PostgreSQL would not start either.
func TestRead_Loop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postgresql.conf")
	if err := os.WriteFile(path, []byte("include 'postgresql.conf'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); !errors.Is(err, ErrDepth) {
		t.Error(err)
	}
}
