package controldata

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/google/go-cmp/cmp"
)

func golden(t *testing.T) string {
	t.Helper()
	out, err := os.ReadFile("testdata/pg_controldata-15.txt")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestParse(t *testing.T) {
	got, err := Parse([]byte(golden(t)))
	if err != nil {
		t.Fatal(err)
	}
	want := ControlData{
		ControlVersion: 1300, CatalogVersion: 202209061, SystemIdentifier: 7520000000000000001, State: ShutDownInRecovery,
		Checkpoint: 0x2A000028, Redo: 0x2A000028, Timeline: 3, PrevTimeline: 3,
		MinRecoveryEnd: 0x1_2A0000A0, MinRecoveryTimeline: 3,
		Checksums: true, WALSegmentSize: 16 << 20, WALLevel: "replica",
		Settings: map[string]int{
			"max_connections": 100, "max_worker_processes": 8, "max_wal_senders": 10, "max_prepared_transactions": 0, "max_locks_per_transaction": 64,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.State.Clean() || !got.State.Standby() {
		t.Error("a standby that was shut down is clean")
	}
}

func TestParseRefuses(t *testing.T) {
	g := golden(t)
	if _, err := Parse([]byte("WARNING: Calculated CRC checksum does not match value stored in file.\n" + g)); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	_, err := Parse([]byte(strings.Replace(g, "Latest checkpoint's TimeLineID:       3", "Latest checkpoint's TimeLineID:       x", 1)))
	if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "TimeLineID") {
		t.Error(err)
	}
	if _, err := Parse(nil); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
}

func TestParseHistory(t *testing.T) {
	h, err := ParseHistory([]byte("# c\n1\t0/3037520\tno recovery target specified\n\n4\t0/5000000\tx\n"))
	want := History{{1, 0x3037520, "no recovery target specified"}, {4, 0x5000000, "x"}}
	if diff := cmp.Diff(want, h); diff != "" || err != nil {
		t.Error(diff, err)
	}
	lineage := fsm.Lineage{{Timeline: 1}, {Timeline: 4, Begin: 0x3037520}, {Timeline: 5, Begin: 0x5000000}}
	if diff := cmp.Diff(lineage, h.Lineage(5)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(fsm.Lineage{{Timeline: 1}}, History(nil).Lineage(1)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x 0/1", "1", "1 y", "0 0/1", "2 0/1\n2 0/2", "3 0/1\n2 0/2"} {
		if _, err := ParseHistory([]byte(bad)); !errors.Is(err, ErrHistory) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestReadHistory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pg_wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadHistory(dir, 1); h != nil || err != nil {
		t.Error(h, err)
	}
	if _, err := ReadHistory(dir, 2); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, name := range []string{"0000000A.history", "00000002.history", "000000010000000000000001", "x.history"} {
		if err := os.WriteFile(filepath.Join(dir, "pg_wal", name), []byte("1 0/10 x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := NewestTimeline(dir); n != 10 || err != nil {
		t.Error(n, err)
	}
	if h, err := ReadHistory(dir, 10); len(h) != 1 || err != nil {
		t.Error(h, err)
	}
}
