package control

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
)

// flaky is a listener that fails once, and is closed at the second try.
type flaky struct {
	net.Listener
	tried  int
	closes context.CancelFunc
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.tried++; l.tried == 1 {
		return nil, syscall.EMFILE
	}
	l.closes()
	return nil, errors.New("its context has ended")
}

func (l *flaky) Close() error { return nil }

// TestServe_Accept: a process that has too many files open for a moment is reached again afterwards.
func TestServe_Accept(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &flaky{closes: cancel}
	if err := serve(ctx, l, nil); err != nil || l.tried != 2 {
		t.Errorf("tried %d times: %v", l.tried, err)
	}
}
