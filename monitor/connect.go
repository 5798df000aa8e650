package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connectTimeout bounds connecting to our own server through its socket.
const connectTimeout = 5 * time.Second

// connect opens a session as superuser through the socket.
func (c Config) connect(ctx context.Context, database, name string) (*pgx.Conn, error) {
	self, err := superuser()
	if err != nil {
		return nil, err
	}
	// Every parameter is set here: nothing of the environment (PGHOST, PGSSLMODE, …) may lead us elsewhere.
	config, err := pgx.ParseConfig("sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, fmt.Errorf("prepare connection: %w", err)
	}
	config.Host, config.Port, config.User, config.Database = c.SocketDir, uint16(c.Port), self, database
	config.Password, config.TLSConfig, config.Fallbacks = "", nil, nil
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams = map[string]string{"application_name": name, "search_path": "pg_catalog"}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the monitor's server: %w", err)
	}
	return conn, nil
}

func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server notices by itself
}

// mayRetry reports whether a transaction failed for a reason that another try may not meet.
func mayRetry(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == pgerrcode.SerializationFailure || pg.Code == pgerrcode.DeadlockDetected)
}
