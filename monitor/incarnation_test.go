package monitor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	if !errors.Is(err, errNoProof) {
		t.Fatalf("got %v, want no proof", err)
	}
	steps := []proof{{1, 0}, {1, 5}, {1, 9}, {2, 3}}
	for _, p := range steps {
		if err := l.Advance(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Advance(proof{2, 1}); err != nil || l.Last() != (proof{2, 3}) {
		t.Errorf("got %v, %v: it went back", l.Last(), err)
	}
	l.Close()
	l = reopen(t, dir, proof{2, 3})
	if err := l.Reset(proof{3, 1}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	reopen(t, dir, proof{3, 1}).Close()
}

func reopen(t *testing.T, dir string, want proof) *ledger {
	t.Helper()
	l, err := openLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	if l.Last() != want {
		t.Fatalf("got %v, want %v", l.Last(), want)
	}
	return l
}

// A write that a crash tore leaves what was said before, which is what was published; two damaged slots prove nothing.
func TestLedger_Torn(t *testing.T) {
	dir := t.TempDir()
	l, _ := openLedger(dir)
	for i := range 4 {
		if err := l.Advance(proof{1, uint64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	newest := int64(l.last.Count % 2)
	l.Close()
	path := filepath.Join(dir, ledgerName)
	damage := func(slot int64) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{0xff}, slot*slotSize+20); err != nil {
			t.Fatal(err)
		}
	}
	damage(newest)
	reopen(t, dir, proof{1, 2}).Close()
	damage(1 - newest)
	l, err := openLedger(dir)
	if !errors.Is(err, errNoProof) {
		t.Fatalf("got %v, want no proof", err)
	}
	l.Close()
}

func TestStaleness(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, said proof
		missing    bool
		nodes      int
		stale      bool
	}{
		{name: "new", have: proof{1, 0}, missing: true},
		{name: "file missing", have: proof{1, 3}, missing: true, nodes: 1, stale: true},
		{name: "node without decision, file missing", have: proof{1, 0}, missing: true, nodes: 1, stale: true},
		{name: "restart", have: proof{1, 3}, said: proof{1, 3}, nodes: 1},
		{name: "killed before the proof", have: proof{1, 4}, said: proof{1, 3}, nodes: 1},
		{name: "restored", have: proof{1, 2}, said: proof{1, 3}, nodes: 1, stale: true},
		{name: "restored from before the last incarnation", have: proof{1, 9}, said: proof{2, 3}, nodes: 1, stale: true},
		{name: "file of another time", have: proof{2, 9}, said: proof{1, 3}, nodes: 1, stale: true},
	} {
		if got := staleness(test.have, test.said, test.missing, test.nodes); (got != "") != test.stale {
			t.Errorf("%s: got %q", test.name, got)
		}
	}
}
