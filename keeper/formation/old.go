package formation

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/fsm"
)

// oldPrimary is a session with the primary that hands over, opened while the writes are still being held: connecting takes longer than the answer.
type oldPrimary struct {
	done chan struct{}
	c    *pgx.Conn
	err  error
}

// askOld begins to connect.
func (k *Keeper) askOld(ctx context.Context, goal fsm.Goal) *oldPrimary {
	o := &oldPrimary{done: make(chan struct{})}
	go func() {
		defer close(o.done)
		o.c, o.err = k.Client.Connect(ctx, goal.Group, citus.Address{Host: goal.Upstream.Host, Port: goal.Upstream.Port}, goal.Database)
	}()
	return o
}

// end asks how far the old primary's log reaches.
func (o *oldPrimary) end(ctx context.Context) (lsn fsm.LSN, err error) {
	var text string
	select {
	case <-o.done:
		if err = o.err; err == nil {
			err = o.c.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&text)
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil {
		lsn, err = fsm.ParseLSN(text)
	}
	if err != nil {
		return 0, fmt.Errorf("ask the old primary how far its log reaches: %w", err)
	}
	return lsn, nil
}

// close ends the session, at once or as soon as it is there.
func (o *oldPrimary) close(ctx context.Context) {
	go func() {
		<-o.done
		if o.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = o.c.Close(ctx)
	}()
}
