package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Probe tries until a host of the URI acknowledges a write, every 5 ms, and
// returns nil at once then; at the end of ctx it returns why the last attempt
// failed. What it writes leaves no row.
func Probe(ctx context.Context, uri string, dial pgconn.DialFunc) error {
	cfg := Config{URI: uri, Dial: dial}.withDefaults()
	conn, err := connConfig(cfg)
	if err != nil {
		return err
	}
	// Of a host that is up but not the primary yet no more is wanted than its
	// refusal.
	conn.ConnectTimeout = 250 * time.Millisecond
	w := &Writer{cfg: cfg, conn: conn}
	for {
		if err = w.probe(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		w.pause(ctx, cfg.Pause)
	}
}

func (w *Writer) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.StatementTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, w.conn)
	if err != nil {
		return err
	}
	defer w.close(conn)
	// A logical message is WAL that commits like a row, and touches no table.
	_, err = conn.Exec(ctx, "select pg_logical_emit_message(true, 'autoctl', '')")
	return err
}
