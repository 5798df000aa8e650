package pgserver_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestTrimLog puts the log of a running server aside: what it says before is kept once, and what it says after stands alone.
func TestTrimLog(t *testing.T) {
	server := pgtest.NewStarted(t, conf.Params{"log_statement": "all"})
	server.Exec("select 'before'")
	if trimmed, err := pgserver.TrimLog(server.LogFile, 64<<20); trimmed || err != nil {
		t.Errorf("a small log: %v, %v", trimmed, err)
	}
	if trimmed, err := pgserver.TrimLog(server.LogFile, 100); !trimmed || err != nil {
		t.Fatalf("a large log: %v, %v", trimmed, err)
	}
	server.Exec("select 'after'")
	now, err := os.ReadFile(server.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(now, []byte("'after'")) || bytes.Contains(now, []byte("'before'")) || bytes.ContainsRune(now, 0) {
		t.Errorf("the log is %q", now)
	}
	old, err := os.ReadFile(server.LogFile + ".1")
	if err != nil || !bytes.Contains(old, []byte("'before'")) {
		t.Errorf("put aside was %q, %v", old, err)
	}
	if tail := server.Process.LogTail(1 << 10); !bytes.Contains([]byte(tail), []byte("'after'")) {
		t.Errorf("the tail is %q", tail)
	}
	if trimmed, err := pgserver.TrimLog(filepath.Join(t.TempDir(), "none"), 0); trimmed || err != nil {
		t.Errorf("no log: %v, %v", trimmed, err)
	}
}
