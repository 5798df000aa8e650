package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/state"
)

func remember(t *testing.T, dir string) fsm.Memory {
	t.Helper()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(m *fsm.Memory) {
		m.Node, m.Token = 7, "0a1b2c3d"
		m.Goal = fsm.Goal{Stamp: fsm.Stamp{Incarnation: 1, Epoch: 2, Seq: 3}, State: fsm.StatePrimary, Peers: []fsm.Peer{{Node: 8, Name: "ключ \"b\""}}}
		m.Settled, m.Drained = 3, 0x1_0000_0028
	}); err != nil {
		t.Fatal(err)
	}
	return s.Get()
}

func TestStore_Remembers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "state")
	want := remember(t, dir)
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, s.Get()); diff != "" {
		t.Error(diff)
	}
	st, err := os.Stat(filepath.Join(dir, state.FileName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", st.Mode(), err)
	}
}

// TestStore_Unwritable: what could not be written is not remembered either.
func TestStore_Unwritable(t *testing.T) {
	dir := t.TempDir()
	want := remember(t, dir)
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A file where the directory was: fails for root too.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(m *fsm.Memory) { m.Settled = 99 }); err == nil {
		t.Error("update succeeded without a directory")
	}
	if diff := cmp.Diff(want, s.Get()); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_BadFiles(t *testing.T) {
	dir := t.TempDir()
	remember(t, dir)
	path := filepath.Join(dir, state.FileName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"truncated": {string(good[:len(good)/2]), state.ErrDamaged},
		"empty":     {"", state.ErrDamaged},
		"changed":   {strings.Replace(string(good), `"settled": 3`, `"settled": 4`, 1), state.ErrDamaged},
		"newer":     {strings.Replace(string(good), `"version": 1`, `"version": 2`, 1), state.ErrNewer},
	} {
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := state.Open(dir)
		if !errors.Is(err, c.want) || state.Hint(err) == "" {
			t.Errorf("%s: %v (hint %q), want %v", name, err, state.Hint(err), c.want)
		}
	}
}

func TestAcquire_Second(t *testing.T) {
	dir := t.TempDir()
	l, err := state.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = state.Acquire(dir)
	if held, ok := errors.AsType[*state.HeldError](err); !ok || held.PID != os.Getpid() {
		t.Errorf("second keeper: %v", err)
	}
	if pid, err := state.Running(dir); pid != os.Getpid() || err != nil {
		t.Errorf("running: %d, %v", pid, err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	if pid, err := state.Running(dir); pid != 0 || err != nil {
		t.Errorf("running after release: %d, %v", pid, err)
	}
	again, err := state.Acquire(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

// TestDataLock_S11: one data directory has one keeper, whatever name leads there; the lock is on the directory that is there now, and goes along when another
// is put into its place.
func TestDataLock_S11(t *testing.T) {
	parent := t.TempDir()
	at := func(name string) string { return filepath.Join(parent, name) }
	var first, second state.DataLock
	hold := func(l *state.DataLock, name string, want bool) {
		t.Helper()
		err := l.Hold(at(name))
		if held, ok := errors.AsType[*state.HeldError](err); ok == want || !ok && err != nil || ok && held.Dir != at(name) {
			t.Errorf("hold %s: %v, want %t", name, err, want)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	hold(&first, "data", true) // it does not exist yet
	do(os.Mkdir(at("data"), 0o700))
	do(os.Symlink(at("data"), at("link")))
	hold(&first, "data", true)
	hold(&first, "data", true)
	hold(&second, "link", false)
	do(os.Mkdir(at("copy"), 0o700))
	do(os.Rename(at("data"), at("old")))
	do(os.Rename(at("copy"), at("data")))
	hold(&first, "data", true)
	hold(&second, "link", false)
	hold(&second, "old", true)
	do(first.Release())
	hold(&second, "link", true)
	do(second.Release())
}

// TestNote_IsWrittenWithTheNextUpdate: what is noted is there at once, and on disk with the next change.
func TestNote_IsWrittenWithTheNextUpdate(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Note(func(m *fsm.Memory) { m.Settled = 7 })
	if got := s.Get().Settled; got != 7 {
		t.Errorf("settled %d right after the note", got)
	}
	if state.Exists(dir) {
		t.Error("a note waited for the disk")
	}
	if err := s.Update(func(m *fsm.Memory) { m.Generation = 3 }); err != nil {
		t.Fatal(err)
	}
	again, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m := again.Get(); m.Settled != 7 || m.Generation != 3 {
		t.Errorf("on disk: settled %d, generation %d", m.Settled, m.Generation)
	}
}
