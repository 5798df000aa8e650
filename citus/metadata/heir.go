package metadata

import (
	"context"
	"sync"

	"github.com/autoctl/autoctl/citus"
)

// heir is a session with the server that a group's held writes are going to be sent to, opened while it is a standby: to connect takes longer than all else that is left to do
// once it serves.
type heir struct {
	at   citus.Address
	done chan struct{}

	mu sync.Mutex // guards the session, which is looked at and closed by different goroutines
	s  *session   // nil where it cannot be had, and once it is closed
}

// meet begins to connect to the server at an address; nil without one.
func (c *Client) meet(ctx context.Context, t citus.Topology, g citus.Group) *heir {
	if g.Hold == nil || g.Hold.To.IsZero() {
		return nil
	}
	h := &heir{at: g.Hold.To, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timings.complete().Connect)
		defer cancel()
		conn, err := c.Connect(ctx, g.Number, h.at, t.Database)
		if err != nil {
			return // it is asked again when it serves
		}
		s := &session{conn: conn, group: g, pid: conn.PgConn().PID()}
		if _, err := s.begin(ctx, sessionName); err != nil {
			s.close(ctx)
			return
		}
		h.s = s
	}()
	return h
}

// proves reports whether the server has shown that it is the group's primary now. If not, somebody has to look anew.
func (h *heir) proves(ctx context.Context, c *Client, g citus.Group) bool {
	if h == nil || h.at != g.Primary {
		return false
	}
	select {
	case <-h.done:
	default:
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.s == nil || h.s.conn.IsClosed() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timings.complete().Connect)
	defer cancel()
	a, err := Identify(ctx, h.s.conn)
	return err == nil && Check(g, a) == nil
}

// close ends the session, at once or as soon as it is there.
func (h *heir) close(ctx context.Context) {
	if h == nil {
		return
	}
	go func() {
		<-h.done
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.s != nil {
			h.s.close(ctx)
			h.s = nil
		}
	}()
}
