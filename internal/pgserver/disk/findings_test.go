package disk

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestH14_NeverTruncated: a file is replaced, never written in place: whoever has it open, or opens it at any moment, a server that is being reloaded
// or one that starts after a power cut, reads all of the old content or all of the new.
func TestH14_NeverTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pg_hba.conf")
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 1<<16) }
	if err := os.WriteFile(path, content(0), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i < 200; i++ {
			if changed, err := WriteFile(path, content(i), 0o600); err != nil || !changed {
				t.Errorf("write %d: changed %v, %v", i, changed, err)
			}
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := os.ReadFile(path)
		if err != nil || len(got) != 1<<16 || bytes.Count(got, got[:1]) != len(got) {
			t.Fatalf("%d bytes, or of two writes: %v", len(got), err)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if again, err := io.ReadAll(f); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the old file changed under its reader: %v", err)
	}
}
