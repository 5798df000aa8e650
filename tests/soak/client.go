package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/tests/cluster"
)

// client is a connection to whoever is the primary, found as applications find
// it: hosts in any order, the first that is not read-only.
type client struct {
	n    *nemesis
	conn *pgx.Conn
	// warned says that a statement came with a warning, such as that a commit might
	// not have been replicated: it was not acknowledged then.
	warned bool
}

// statementTimeout is how long a client waits for an answer; what it then does
// not know may have happened, or may happen later.
const statementTimeout = 2 * time.Second

// connect makes the connection if there is none.
func (c *client) connect(ctx context.Context, uri string) error {
	if c.conn != nil {
		return nil
	}
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		return err
	}
	cfg.DialFunc, cfg.ConnectTimeout = c.n.c.Lab.Dial, time.Second
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		c.warned = c.warned || n.SeverityUnlocalized == "WARNING"
	}
	c.conn, err = pgx.ConnectConfig(ctx, cfg)
	return err
}

// anyPrimary names all hosts in a random order.
func (c *client) anyPrimary() string {
	names := nodeNames(c.n.nodes)
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return c.n.c.ServiceURI(names...)
}

// one names one node, whatever it is.
func (c *client) one(node *cluster.Node) string {
	return fmt.Sprintf("postgresql://%s@%s:%d/%s?sslmode=disable", node.User(), node.Addr, node.Port, cluster.Database)
}

// exec sends statements as one transaction, and returns the results once the
// commit was acknowledged. After an error the connection is gone; sent tells
// whether anything can have happened.
func (c *client) exec(ctx context.Context, sql string) (results []*pgconn.Result, sent bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if err := c.connect(ctx, c.anyPrimary()); err != nil {
		return nil, false, err
	}
	c.warned = false
	results, err = c.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err == nil && c.warned {
		err = errors.New("the server warned that the commit might not have been replicated")
	}
	if err != nil {
		c.close()
		return nil, true, err
	}
	return results, true, nil
}

// answered notes who serves.
func (n *nemesis) answered(conn *pgx.Conn) {
	from := conn.PgConn().Conn().RemoteAddr().String()
	for _, node := range n.nodes {
		if from == node.Addr+":"+strconv.Itoa(node.Port) {
			n.serving.Store(node.Name)
		}
	}
}

func (c *client) close() {
	if c.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.conn.Close(ctx)
	c.conn = nil
}

// number reads a number out of the first row of a result; false without rows.
func number(r *pgconn.Result) (int64, bool) {
	if len(r.Rows) == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(r.Rows[0][0]), 10, 64)
	return n, err == nil
}
