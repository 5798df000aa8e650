package formation

import (
	"net"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
)

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
