package cluster

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session is a client of a node that does something for as long as it lasts.
type Session struct {
	// PID is the process id of its backend.
	PID int
}

// Session opens a connection to the node's PostgreSQL as its superuser and
// executes sql on it, whatever becomes of that, until the end of the test.
func (n *Node) Session(sql string) *Session {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := n.connectNoticing(ctx, nil)
	if err != nil {
		n.c.t.Fatalf("connect to %s: %v", n.Name, err)
	}
	s := &Session{PID: int(conn.PgConn().PID())}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = conn.Exec(working, sql, pgx.QueryExecModeSimpleProtocol) // It ends with the test, or with its server.
		<-working.Done()
		hangUp(conn)
	}()
	n.c.t.Cleanup(func() { stop(); <-ended })
	return s
}
