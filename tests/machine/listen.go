package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Listen listens on an address of the host, as a program there would. The caller closes the listener.
func (h *Host) Listen(ctx context.Context, address string) (net.Listener, error) {
	listen := func() (net.Listener, error) { return (&net.ListenConfig{}).Listen(ctx, "tcp", address) }
	if h.lab.net == nil {
		return listen()
	}
	type result struct {
		l   net.Listener
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends in its other namespace
		there, err := os.Open(filepath.Join(netnsDir, h.lab.net.space(h.Name)))
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter %s: %w", there.Name(), err)}
			return
		}
		l, err := listen()
		done <- result{l, err}
	}()
	r := <-done
	return r.l, r.err
}
