package monitor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestRetrying: a decision that met others' transactions is tried again after pauses, not at once, and not for ever; another error ends it.
func TestRetrying(t *testing.T) {
	conflict := &pgconn.PgError{Code: pgerrcode.SerializationFailure}
	other := errors.New("no such luck")
	for _, tt := range []struct {
		name     string
		fails    []error
		want     error
		calls    int
		atLeast  time.Duration
		canceled bool
	}{
		{name: "at once", fails: []error{nil}, calls: 1},
		{name: "twice", fails: []error{conflict, conflict, nil}, calls: 3, atLeast: 3 * time.Millisecond},
		{name: "for ever", fails: []error{conflict, conflict, conflict, conflict, nil}, want: conflict, calls: 4, atLeast: 7 * time.Millisecond},
		{name: "another error", fails: []error{conflict, other, nil}, want: other, calls: 2},
		{name: "told to stop", fails: []error{conflict, nil}, want: conflict, calls: 1, canceled: true},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		pause := time.Millisecond
		if tt.canceled {
			cancel()
			pause = time.Hour
		}
		calls, began := 0, time.Now()
		err := retrying(ctx, pause, 4, func() error { calls++; return tt.fails[calls-1] })
		if !errors.Is(err, tt.want) || calls != tt.calls || time.Since(began) < tt.atLeast {
			t.Errorf("%s: %v after %d calls in %v", tt.name, err, calls, time.Since(began))
		}
		cancel()
	}
}
