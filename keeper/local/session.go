package local

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// queryTimeout bounds a question to the local server.
const queryTimeout = 5 * time.Second

// plain keeps the environment (PGSSLMODE, PGTARGETSESSIONATTRS, …) from leading a session elsewhere, or from refusing a server for what it is.
const plain = "sslmode=disable target_session_attrs=any"

// dial opens a session by the Unix socket. Its own commits never wait for a standby: the keeper must be able to act while nobody confirms.
func (n *Node) dial(ctx context.Context, name string) (*pgx.Conn, error) {
	return n.dialTo(ctx, name, "postgres")
}

// dialTo is dial to another database.
func (n *Node) dialTo(ctx context.Context, name, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(plain)
	if err != nil {
		return nil, fmt.Errorf("connect to the local server: %w", err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Database, cfg.Password = n.config().SocketDir, uint16(n.config().Port), n.config().Superuser, database, ""
	cfg.TLSConfig, cfg.Fallbacks = nil, nil
	cfg.ConnectTimeout = queryTimeout
	cfg.RuntimeParams = map[string]string{
		"application_name": name, "synchronous_commit": "local", "search_path": "pg_catalog", "lock_timeout": "3s", "client_min_messages": "error",
		"statement_timeout": "0", "default_transaction_read_only": "off", "idle_in_transaction_session_timeout": "0",
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // no prepared statements: a session outlives a promotion
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the local server: %w", err)
	}
	return conn, nil
}

// with runs f on the persistent session, opening it where needed; one that has failed is dropped.
func (n *Node) with(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	n.sessionMu.Lock()
	defer n.sessionMu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	fresh := false
	if n.session == nil || n.session.IsClosed() {
		conn, err := n.dial(ctx, "autoctl_keeper")
		if err != nil {
			return err
		}
		n.session, fresh = conn, true
	}
	err := f(ctx, n.session)
	if err != nil && n.session.IsClosed() && !fresh && ctx.Err() == nil {
		// A session of a server that has been replaced meanwhile proves nothing about the present one.
		conn, dialErr := n.dial(ctx, "autoctl_keeper")
		if dialErr != nil {
			return dialErr
		}
		n.session = conn
		err = f(ctx, n.session)
	}
	return err
}

// exec runs statements on the persistent session.
func (n *Node) exec(ctx context.Context, sql string, args ...any) error {
	return n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, sql, args...)
		return err
	})
}

func (n *Node) dropSession(ctx context.Context) {
	n.sessionMu.Lock()
	defer n.sessionMu.Unlock()
	if n.session != nil {
		closeConn(ctx, n.session)
		n.session = nil
	}
}

// closeConn says goodbye, but waits for nobody.
func closeConn(ctx context.Context, c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx)
}
