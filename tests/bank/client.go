package bank

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// kind is what a client does, again and again.
type kind struct {
	name   string
	groups []int // whose shards it touches; a change of a reference table touches all
	writes bool  // it makes entries
	both   bool  // it changes the account with each entry
	do     func(ctx context.Context, c *client, conn *pgx.Conn, seq int) error
}

func (k kind) touches(group int) bool { return slices.Contains(k.groups, group) }

// kindsOf are what clients do in a formation with these groups.
func kindsOf(groups []int) []kind {
	all := append([]int{0}, groups...)
	kinds := []kind{
		{name: "transfer", groups: groups, writes: true, do: transfer},
		{name: "reference", groups: all, do: reference},
	}
	for i, g := range groups {
		of := []int{g}
		kinds = append(kinds,
			kind{name: fmt.Sprintf("write in group %d", g), groups: of, writes: true, do: func(ctx context.Context, c *client, conn *pgx.Conn, seq int) error {
				return c.enter(ctx, conn, c.accounts[i], seq)
			}},
			kind{name: fmt.Sprintf("several in group %d", g), groups: of, writes: true, both: true, do: func(ctx context.Context, c *client, conn *pgx.Conn, seq int) error {
				return c.several(ctx, conn, c.accounts[i], seq)
			}},
			kind{name: fmt.Sprintf("read in group %d", g), groups: of, do: func(ctx context.Context, c *client, conn *pgx.Conn, _ int) error {
				return conn.QueryRow(ctx, `select balance from accounts where id = $1`, c.accounts[i]).Scan(new(int))
			}})
	}
	return kinds
}

// queryer is a session or a transaction.
type queryer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// enter writes one row, by a statement of its own or within a transaction.
func (c *client) enter(ctx context.Context, q queryer, account, seq int) error {
	_, err := q.Exec(ctx, `insert into entries values ($1, $2, $3)`, account, c.id, seq)
	return err
}

// several writes two rows of one group in one transaction.
func (c *client) several(ctx context.Context, conn *pgx.Conn, account, seq int) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update accounts set touched = touched + 1 where id = $1`, account); err != nil {
			return err
		}
		return c.enter(ctx, tx, account, seq)
	})
}

// transfer moves one from an account of one group to that of another, in one transaction, once the last transfer is visible whole.
func transfer(ctx context.Context, c *client, conn *pgx.Conn, seq int) error {
	if err := c.audit(ctx, conn); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for amount, account := range c.sides(seq) {
			if _, err := tx.Exec(ctx, `update accounts set balance = balance + $2 where id = $1`, account, amount); err != nil {
				return err
			}
			if err := c.enter(ctx, tx, account, seq); err != nil {
				return err
			}
		}
		return nil
	})
}

// sides are the accounts of a transfer, by what is added to them.
func (c *client) sides(seq int) map[int]int {
	n := len(c.accounts)
	return map[int]int{-1: c.accounts[seq%n], 1: c.accounts[(seq+1)%n]}
}

// audit waits until the client's accounts sum up to zero, and notes for how long they did not.
func (c *client) audit(ctx context.Context, conn *pgx.Conn) error {
	began := time.Now()
	for half := false; ; half = true {
		var sum int
		if err := conn.QueryRow(ctx, `select sum(balance) from accounts where client = $1`, c.id).Scan(&sum); err != nil {
			return err
		}
		if half {
			c.bank.mu.Lock()
			c.half = max(c.half, time.Since(began))
			c.bank.mu.Unlock()
		}
		if sum == 0 {
			return nil
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// reference changes a row of which every node has a copy.
func reference(ctx context.Context, c *client, conn *pgx.Conn, seq int) error {
	tag, err := conn.Exec(ctx, `update rates set seq = $2 where client = $1`, c.id, seq)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("%d rows were changed, not one", tag.RowsAffected())
	}
	return err
}

// client works alone on rows of its own.
type client struct {
	bank     *Bank
	id       int
	via      Via
	kind     kind
	accounts []int // one in each group
	warned   bool

	// Guarded by the bank's mutex.
	sent  int // the last number that was sent
	acked map[int]bool
	acks  []time.Duration // when an operation succeeded
	errs  []failure
	begun time.Duration // when the last that succeeded was begun
	last  error
	half  time.Duration // the longest that a commit was half visible
}

// failure is an error that a client saw.
type failure struct {
	at  time.Duration
	err error
}

func (c *client) name() string { return c.kind.name + " through " + c.via.Name }

// work does operation after operation until ctx ends. Whatever goes wrong, it goes on with a new number, with a new session where the old one is closed.
func (c *client) work(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = c.bank.connect(ctx, c.via.URI, c.notice); err != nil {
				conn = nil
				if ctx.Err() == nil {
					c.failed(fmt.Errorf("connect: %w", err))
				}
				pause(ctx, c.bank.cfg.Pause)
				continue
			}
		}
		c.once(context.WithoutCancel(ctx), conn)
		pause(ctx, c.bank.cfg.Pause)
	}
}

// notice notes that a commit may not have been replicated: that is no acknowledgement.
func (c *client) notice(n *pgconn.Notice) {
	c.warned = c.warned || n.SeverityUnlocalized == "WARNING" && strings.Contains(n.Message, "synchronous replication")
}

// once does one operation, which no end of the workload breaks off.
func (c *client) once(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.bank.cfg.OperationTimeout, fmt.Errorf("no answer within %v", c.bank.cfg.OperationTimeout))
	defer cancel()
	began := c.bank.elapsed()
	c.bank.mu.Lock()
	c.sent++
	seq := c.sent
	c.bank.mu.Unlock()
	c.warned = false
	err := c.kind.do(ctx, c, conn, seq)
	if err == nil && c.warned {
		err = errors.New("the server warned that it might not have been replicated")
	}
	if err != nil {
		c.failed(fmt.Errorf("after %v: %w", (c.bank.elapsed() - began).Round(time.Millisecond), err))
		return
	}
	c.bank.mu.Lock()
	defer c.bank.mu.Unlock()
	c.acked[seq] = true
	c.acks = append(c.acks, c.bank.elapsed())
	c.begun = began
}

func (c *client) failed(err error) {
	c.bank.mu.Lock()
	defer c.bank.mu.Unlock()
	c.last = err
	c.errs = append(c.errs, failure{c.bank.elapsed(), err})
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
