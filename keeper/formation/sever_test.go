package formation

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
)

// TestSeverRefused: where the kernel, or the resolver, lets no connection be severed, the place stays listed, and the sessions that it has here are ended all the same.
func TestSeverRefused(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts: it says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	at := citus.Address{Host: "127.0.0.1", Port: silent.Addr().(*net.TCPAddr).Port}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	present := citus.Address{Host: "127.0.0.1", Port: closed.Addr().(*net.TCPAddr).Port}
	_ = closed.Close() // it refuses, and so answers
	severed, asked := 0, 0
	k := &Keeper{Parts: Parts{
		Goal: func() fsm.Goal { return fsm.Goal{State: fsm.StatePrimary} },
		Own:  func() citus.Address { return present },
		Sever: func(context.Context, string, int) (int, error) {
			severed++
			return 0, errors.New("operation not permitted")
		},
		Client: &metadata.Client{Connect: func(context.Context, int, citus.Address, string) (*pgx.Conn, error) {
			asked++
			return nil, errors.New("no server in this test")
		}},
	}}
	f := &former{group: 1, since: time.Now().Add(-time.Second)}
	gone := map[citus.Address]*former{at: f}
	for range 3 {
		k.severFrom(t.Context(), at, present, f, gone)
	}
	if severed != 2 || asked != 2 || len(gone) != 1 {
		t.Errorf("severed %d times, sessions looked for %d times, %d places listed", severed, asked, len(gone))
	}
	elsewhere := citus.Address{Host: "gone.invalid", Port: at.Port}
	g := &former{group: 1, since: f.since, addresses: []string{at.Host}}
	gone[elsewhere] = g
	for range 3 {
		k.severFrom(t.Context(), elsewhere, present, g, gone)
	}
	if asked != 4 || gone[elsewhere] == nil {
		t.Errorf("a name that is gone: sessions looked for %d times, listed %v", asked, gone[elsewhere] != nil)
	}
}

// TestHangs: only who says nothing at all hangs; a refusal, an answer and a closed connection are words.
func TestHangs(t *testing.T) {
	for what, c := range map[string]struct {
		serve func(net.Conn)
		want  bool
	}{
		"silence":  {func(net.Conn) {}, true},
		"answer":   {func(c net.Conn) { _, _ = c.Write([]byte("N")) }, false},
		"farewell": {func(c net.Conn) { _ = c.Close() }, false},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		kept := make(chan net.Conn, 1)
		go func() {
			if conn, err := l.Accept(); err == nil {
				c.serve(conn)
				kept <- conn
			}
		}()
		address := l.Addr().(*net.TCPAddr)
		at := citus.Address{Host: address.IP.String(), Port: address.Port}
		if got := hangs(t.Context(), at, 300*time.Millisecond); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
		_ = (<-kept).Close()
		_ = l.Close()
		if hangs(t.Context(), at, 300*time.Millisecond) {
			t.Errorf("%s: a refusal is taken for silence", what)
		}
	}
}
