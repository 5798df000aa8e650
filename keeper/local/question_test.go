package local_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestSlowUpstream: an upstream that answers later than a look waits is not asked from the beginning again: the next look has its answer.
func TestSlowUpstream(t *testing.T) {
	g := newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	g.reach(a, g.serve(a, 0))
	g.learn(a)
	goal := g.follow(b, a, fsm.StateSecondary)
	goal.Upstream.Port = late(t, a.cfg.Port, 2500*time.Millisecond) // and once more, for a server without TLS
	b.obey(goal)
	for look, silent := range []bool{true, false} {
		began := time.Now()
		f, err := b.node.Observe(g.ctx, goal)
		if err != nil || f.Silent != silent || silent != (f.Upstream == nil) {
			t.Errorf("look %d, after %v: silent %v %q, %v", look, time.Since(began), f.Silent, f.SilentWhy, err)
		}
	}
}

// late relays connections to a local port, each so much later, and returns its own.
func late(t *testing.T, to int, delay time.Duration) int {
	t.Helper()
	port := pgtest.FreePort(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { relay(t, client, to, delay) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		relays.Wait()
	})
	return port
}

func relay(t *testing.T, client net.Conn, to int, delay time.Duration) {
	t.Helper()
	defer client.Close()
	select {
	case <-time.After(delay):
	case <-t.Context().Done():
		return
	}
	server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to))
	if err != nil {
		return
	}
	defer server.Close()
	var ways sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		ways.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	ways.Wait()
}
