package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var errCrash = errors.New("crash")

// tree builds files from "path=content" lines; content "->x" makes a link.
func tree(t *testing.T, root string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		name, content, _ := strings.Cut(l, "=")
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if link, ok := strings.CutPrefix(content, "->"); ok {
			err = errors.Join(err, os.Symlink(filepath.Join(root, link), path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// contents is the inverse of tree.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if e.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			m[name] = "->" + strings.TrimPrefix(to, root+"/")
			return err
		}
		data, err := os.ReadFile(path)
		m[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// staged builds an old data directory and a complete copy, each with a
// tablespace of its own content at the same place.
func staged(t *testing.T, root string, inside, tablespace bool) Staging {
	t.Helper()
	d := DataDir{Path: filepath.Join(root, "data"), MountPoint: inside}
	tree(t, root, "data/PG_VERSION=15", "data/global/pg_control=old", "data/base/1=old")
	s, err := StagingFor(d)
	if err != nil {
		t.Fatal(err)
	}
	rel, _ := filepath.Rel(root, s.Dir)
	tree(t, root, rel+"/PG_VERSION=15", rel+"/global/pg_control=new", rel+"/base/1=new", rel+"/standby.signal=")
	c := Copy{Label: "x"}
	if tablespace {
		tree(t, root, "ts/PG_15_1/f=old", "data/pg_tblspc/9=->ts", "ts/"+insideCopy+"/PG_15_1/f=new", rel+"/pg_tblspc/9=->ts/"+insideCopy)
		c.Tablespaces = []CopyTablespace{{OID: 9, Location: filepath.Join(root, "ts")}}
	}
	if err := s.Complete(c); err != nil {
		t.Fatal(err)
	}
	return s
}

// mixed fails when a server could start on a data directory that is neither
// all old nor all new.
func mixed(t *testing.T, root, when string) {
	t.Helper()
	read := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(root, name))
		return string(data)
	}
	control := read("data/global/pg_control")
	if control == "" {
		return // cannot start
	}
	parts := []string{control, read("data/base/1")}
	if exists(filepath.Join(root, "ts")) {
		parts = append(parts, read("data/pg_tblspc/9/PG_15_1/f"))
	}
	for _, p := range parts {
		if p != control {
			t.Errorf("%s: a server could start on a mixture %q", when, parts)
		}
	}
	if control == "new" && !exists(filepath.Join(root, "data/standby.signal")) {
		t.Errorf("%s: the copy could start read-write", when)
	}
}

// A swap that crashes before any of its changes leaves nothing that could start
// half old and half new, and is finished by calling it again, however often it
// crashes.
func TestS23_SwapIsContinued(t *testing.T) {
	for _, inside := range []bool{false, true} {
		for _, ts := range []bool{false, true} {
			t.Run(fmt.Sprintf("inside=%v tablespace=%v", inside, ts), func(t *testing.T) {
				for crashAt, done := 0, false; !done; crashAt++ {
					done = crashingSwap(t, inside, ts, crashAt)
					if crashAt > 100 {
						t.Fatal("does not end")
					}
				}
			})
		}
	}
}

// crashingSwap ends the first Swap before its change number crashAt, a second
// one a step later, and lets the third do all. It reports whether the first one
// got to its end.
func crashingSwap(t *testing.T, inside, ts bool, crashAt int) (done bool) {
	t.Helper()
	root := t.TempDir()
	s := staged(t, root, inside, ts)
	for _, allowed := range []int{crashAt, 1, 1 << 30} {
		left := allowed
		s.before = func() error {
			if left--; left < 0 {
				return errCrash
			}
			return nil
		}
		err := s.Swap()
		if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrNoCopy) {
			t.Fatalf("crash at %d: %v", crashAt, err)
		}
		mixed(t, root, fmt.Sprintf("crash at %d", crashAt))
		done = done || err == nil && allowed == crashAt
		state, c, serr := s.State()
		if serr != nil || (err == nil) != (state == CopyNone) && !errors.Is(err, ErrNoCopy) {
			t.Fatalf("crash at %d: state %s after %v, %v", crashAt, state, err, serr)
		}
		if state != CopyNone && c.Label != "x" {
			t.Errorf("crash at %d: the label is gone in state %s", crashAt, state)
		}
	}
	if err := s.DiscardOld(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"data/PG_VERSION": "15", "data/global/pg_control": "new", "data/base/1": "new", "data/standby.signal": ""}
	if ts {
		want["data/pg_tblspc/9"], want["ts/PG_15_1/f"] = "->ts", "new"
	}
	if diff := cmp.Diff(want, contents(t, root)); diff != "" {
		t.Fatalf("crash at %d: %s", crashAt, diff)
	}
	return done
}

func TestDiscardRefusesDuringASwap(t *testing.T) {
	root := t.TempDir()
	s := staged(t, root, true, false)
	left := 5
	s.before = func() error {
		if left--; left < 0 {
			return errCrash
		}
		return nil
	}
	if err := s.Swap(); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	if err := s.Discard(); !errors.Is(err, ErrSwapping) {
		t.Errorf("discard: %v", err)
	}
	if err := s.DiscardOld(); !errors.Is(err, ErrSwapping) {
		t.Errorf("discard old: %v", err)
	}
}

func TestDiscardRemovesTheCopyOnly(t *testing.T) {
	root := t.TempDir()
	s := staged(t, root, false, true)
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"data/PG_VERSION": "15", "data/global/pg_control": "old", "data/base/1": "old", "data/pg_tblspc/9": "->ts", "ts/PG_15_1/f": "old",
	}
	if diff := cmp.Diff(want, contents(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestSwapIntoNothing(t *testing.T) {
	root := t.TempDir()
	s := staged(t, root, false, false)
	if err := os.RemoveAll(s.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := s.Swap(); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, root)["data/global/pg_control"]; got != "new" {
		t.Errorf("%q", got)
	}
}
