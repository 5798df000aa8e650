package formation

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ebbPace is how often it is looked whether statements have ended.
const ebbPace = 20 * time.Millisecond

// ebb waits until what other nodes had sent to the old primary before everybody knew the new place has ended there, for at most the grace of transactions: the old primary is
// stopped at once after that, and a read that is under way would fail. One that does not answer is not waited for.
func (k *Keeper) ebb(ctx context.Context, hand holding) {
	if hand.old.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hand.grace, fmt.Errorf("they last longer than %v", hand.grace))
	defer cancel()
	goal := k.Goal()
	began := time.Now()
	connecting, stop := context.WithTimeout(ctx, connectPatience)
	c, err := k.Client.Connect(connecting, goal.Group, hand.old, goal.Database)
	stop()
	if err != nil {
		k.Log.Info().Err(err).Msg("the old primary cannot be asked what it is still doing for other nodes")
		return
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	err = subside(ctx, c)
	switch {
	case ctx.Err() != nil:
		k.Log.Warn().AnErr("reason", context.Cause(ctx)).Msg("the old primary is stopped although it still works for other nodes")
	case err != nil:
		k.Log.Info().Err(err).Msg("the old primary cannot be asked what it is still doing for other nodes")
	default:
		k.Log.Debug().Dur("took_ms", time.Since(began)).Msg("the old primary does nothing for other nodes any more")
	}
}

// connectPatience is how long the old primary may take to let us in.
const connectPatience = time.Second

// transactions are those of sessions of other nodes, which say so in their names.
const transactions = `select pid || ' ' || xact_start from pg_stat_activity
	where backend_type = 'client backend' and application_name ~ '^citus_[a-z_]+ gpid=' and state <> 'idle' and xact_start is not null`

// subside waits until the transactions that other nodes have open now have ended.
func subside(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, transactions)
	if err != nil {
		return err
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for err == nil && len(open) > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(ebbPace):
		}
		if rows, err = c.Query(ctx, `select * from (`+transactions+`) x (id) where id = any ($1)`, open); err == nil {
			open, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
	}
	return err
}
