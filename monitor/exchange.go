package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// A decision takes three exchanges with the server, each one batch that travels as a whole: a failover has no time for a round trip a statement.

// loading opens a transaction, locks the group's row, and then reads the group: each statement has a snapshot of its own, so that what is read is
// no older than the lock. raw stays nil when there is no such group.
func loading(k groupKey, raw *[]byte) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue("select from autoctl.grp where formation = $1 and number = $2 for update", k.Formation, k.Number)
	b.Queue("select autoctl.group_snapshot($1, $2)", k.Formation, k.Number).QueryRow(func(row pgx.Row) error { return row.Scan(raw) })
	return b
}

// storing ends the transaction with a decision, which is durable after it, and counts the decisions after that.
func storing(k groupKey, life, decision string, taken []int64, have *proof) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("select autoctl.store($1, $2, $3, $4::jsonb, $5)", k.Formation, k.Number, life, decision, taken)
	b.Queue("commit")
	counting(b, have)
	return b
}

// ending ends the transaction without a decision, and counts as storing does.
func ending(have *proof) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("rollback")
	counting(b, have)
	return b
}

func counting(b *pgx.Batch, have *proof) {
	b.Queue("select p.decisions, p.incarnation from autoctl.proof() p").QueryRow(func(row pgx.Row) error {
		return row.Scan(&have.Decisions, &have.Incarnation)
	})
}

// publishing lets everybody hear of a decision. Losing this commit in a crash only means that it is told again.
func publishing(k groupKey, decision string) *pgx.Batch {
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue("set local synchronous_commit = off")
	b.Queue("select autoctl.publish($1, $2, $3::jsonb)", k.Formation, k.Number, decision)
	b.Queue("commit")
	return b
}

// rehearse lets a new connection plan all that a decision runs, which takes longer than running it: the first decision may be a failover. It decides
// for a group that cannot exist, which changes nothing.
func rehearse(ctx context.Context, conn *pgx.Conn) error {
	nowhere := groupKey{Number: -1}
	empty, err := json.Marshal(fsm.Decision{})
	if err != nil {
		return fmt.Errorf("prepare to decide: %w", err)
	}
	var raw []byte
	var have proof
	for _, b := range []*pgx.Batch{loading(nowhere, &raw), storing(nowhere, "", string(empty), []int64{}, &have), publishing(nowhere, string(empty))} {
		if err := conn.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("prepare to decide: %w", err)
		}
	}
	return nil
}

// rollTimeout bounds the end of a transaction that failed.
const rollTimeout = 5 * time.Second

// rollBack ends the transaction of conn, if there is one, without changing anything.
func rollBack(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback") // a connection that cannot do that is lost, and its transaction with it
}
