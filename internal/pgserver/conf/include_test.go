package conf

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
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

// TestEnsureInclude_Edited has somebody write the file in place, as many editors do, again and again: what they write is never replaced by what was read
// in the middle of it.
func TestEnsureInclude_Edited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postgresql.conf")
	text := []byte(strings.Repeat("# a comment, to make it longer\n", 200) + "work_mem = '7MB'\n")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	edited := make(chan error, 1)
	go func() {
		var err error
		for range 300 {
			err = errors.Join(err, os.WriteFile(path, text, 0o600))
		}
		edited <- err
	}()
	for done := false; !done; {
		select {
		case err := <-edited:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
		if _, err := EnsureInclude(path, FileName); err != nil && !errors.Is(err, disk.ErrChanged) {
			t.Fatal(err)
		}
		if have, err := Read(path); err == nil && len(have) > 0 && have["work_mem"] != "7MB" {
			t.Fatalf("the file says %v", have)
		}
	}
	if _, err := EnsureInclude(path, FileName); err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile(path); err != nil || !bytes.Contains(have, []byte("work_mem = '7MB'")) {
		t.Errorf("the file holds %q, %v", have, err)
	}
}

// TestEnsureInclude_Emptied leaves a file alone that an editor has just emptied, and takes one that stays empty for what it is.
func TestEnsureInclude_Emptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "postgresql.conf")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureInclude(path, FileName); !errors.Is(err, disk.ErrChanged) {
		t.Errorf("just emptied: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != 0 {
		t.Errorf("%v, %v", st, err)
	}
	long := time.Now().Add(-time.Minute)
	if err := os.Chtimes(path, long, long); err != nil {
		t.Fatal(err)
	}
	if changed, err := EnsureInclude(path, FileName); !changed || err != nil {
		t.Errorf("empty for long: %v, %v", changed, err)
	}
}
