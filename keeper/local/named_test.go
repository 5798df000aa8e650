package local

import (
	"errors"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestNamed: an error says once which step failed.
func TestNamed(t *testing.T) {
	for err, want := range map[string]string{
		"copy /data: pg_basebackup failed": "copy /data: pg_basebackup failed",
		"not enough room":                  "copy: not enough room",
	} {
		if got := named(fsm.StepCopy, errors.New(err)).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
