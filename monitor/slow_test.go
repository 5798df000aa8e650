package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestSlowNetwork: a client whose calls have less time than it takes to connect gets through all the same: what one call began, the next one finds.
func TestSlowNetwork(t *testing.T) {
	b := newBench(t)
	b.create()
	b.start()
	b.dial()
	near := slowly(t, fmt.Sprintf("127.0.0.1:%d", b.c.Port), 300*time.Millisecond)
	client, err := monitorapi.New("postgres://autoctl_node@"+near+"/autoctl?sslmode=disable", monitorapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.eventually("a call is answered", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		_, err := client.Settings(ctx)
		return err == nil
	})
}

// slowly forwards connections to an address, each byte that much later, and returns where.
func slowly(t *testing.T, to string, delay time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			go late(far, near, delay)
			go late(near, far, delay)
		}
	}()
	return l.Addr().String()
}

// late copies what it reads, each piece after a delay.
func late(to, from net.Conn, delay time.Duration) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 1000)
	go func() {
		defer to.Close()
		for p := range pieces {
			<-time.After(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	}()
	defer close(pieces)
	for {
		buf := make([]byte, 1<<16)
		n, err := from.Read(buf)
		if n > 0 {
			select {
			case pieces <- piece{time.Now().Add(delay), buf[:n]}:
			default:
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				from.Close()
			}
			return
		}
	}
}
