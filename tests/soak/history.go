package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// sqlWithin is how long a fault may take to ask a server for something.
const sqlWithin = 15 * time.Second

// tell gives statements to one node, as its administrator.
func (n *nemesis) tell(ctx context.Context, node *cluster.Node, statements ...string) error {
	ctx, cancel := context.WithTimeout(ctx, sqlWithin)
	defer cancel()
	c := &client{n: n}
	defer c.close()
	if err := c.connect(ctx, c.one(node)); err != nil {
		return fmt.Errorf("%w: %w", errSkip, err)
	}
	for _, s := range statements {
		if _, err := c.conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
			return fmt.Errorf("%w: %s: %w", errSkip, s, err)
		}
	}
	return nil
}

// fork promotes a standby behind its keeper's back, and lets it write what nobody else has.
func fork(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if n.isPrimary(x.node) || !x.node.Running() {
		return nil, fmt.Errorf("%w: only a standby can be forked", errSkip)
	}
	x.node.Signal(syscall.SIGSTOP)
	if err := n.tell(ctx, x.node, "select pg_promote(wait => false)"); err != nil {
		x.node.Signal(syscall.SIGCONT)
		return nil, err
	}
	return func(ctx context.Context) error {
		defer x.node.Signal(syscall.SIGCONT)
		// Its own commits wait for nobody here. Nobody may ever see what it writes.
		if err := n.tell(ctx, x.node, "set synchronous_commit to local", "create table if not exists "+forked+" (n int)", "insert into "+forked+" values (1)", "checkpoint"); err != nil {
			x.Result = "it wrote nothing: " + err.Error()
		}
		return nil
	}, nil
}

// forked is a table that only forks have.
const forked = "forked"

// loseSlot has a standby away for longer than the primary keeps its log.
func loseSlot(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	primary := n.primary()
	if primary == nil || primary == x.node {
		return nil, fmt.Errorf("%w: only a standby has a slot to lose", errSkip)
	}
	if err := x.node.TryCut(); err != nil {
		return nil, err
	}
	usual, err := primary.TryKeepLog("16MB")
	heal := func(context.Context) error {
		_, err := primary.TryKeepLog(usual)
		return errors.Join(err, x.node.TryHeal())
	}
	// More than wal_keep_size.
	for range 12 {
		err = errors.Join(err, n.tell(ctx, primary, "set synchronous_commit to local", "select pg_logical_emit_message(true, 'soak', ''), pg_switch_wal()"))
	}
	if err = errors.Join(err, n.tell(ctx, primary, "checkpoint")); err != nil {
		return nil, errors.Join(err, heal(ctx))
	}
	c := &client{n: n}
	defer c.close()
	if err := c.connect(ctx, c.one(primary)); err == nil {
		_ = c.conn.QueryRow(ctx, "select 'slots lost: ' || count(*) from pg_replication_slots where wal_status = 'lost'").Scan(&x.Result)
	}
	return heal, nil
}

// primary is the node that answered clients last; nil if that is none of them.
func (n *nemesis) primary() *cluster.Node {
	for _, node := range n.nodes {
		if n.isPrimary(node) {
			return node
		}
	}
	return nil
}

// copyWithin is how long to look for a copy.
const copyWithin = 15 * time.Second

// failRewind kills the primary, whose data then has what cannot be rewound: a directory that nobody may read.
func failRewind(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if !n.isPrimary(x.node) {
		return nil, fmt.Errorf("%w: only a primary is rewound", errSkip)
	}
	if err := errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin)); err != nil {
		return nil, err
	}
	if err := os.Mkdir(unreadable(x.node), 0); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, errors.Join(err, x.node.TryLaunch(false))
	}
	return func(ctx context.Context) error {
		if err := x.node.TryLaunch(false); err != nil {
			return err
		}
		for until := time.Now().Add(copyWithin); time.Now().Before(until); {
			if _, err := os.Lstat(unreadable(x.node)); errors.Is(err, os.ErrNotExist) {
				x.Result = "copied anew"
				return nil
			}
			if n.isPrimary(x.node) || !wait(ctx, 100*time.Millisecond) {
				break
			}
		}
		return mendRewind(x.node)
	}, nil
}

// unreadable is what cannot be rewound; nor can it be copied, so that a primary must not keep it.
func unreadable(node *cluster.Node) string { return filepath.Join(node.PGDATA(), "base", "unreadable") }

func mendRewind(node *cluster.Node) error {
	if err := os.Remove(unreadable(node)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// killCopy makes a node anew, and kills its copy when it has begun.
func killCopy(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	again, err := replace(ctx, n, x)
	if err != nil || again == nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := again(ctx); err != nil {
			return err
		}
		for until := time.Now().Add(copyWithin); time.Now().Before(until); {
			for _, p := range x.node.Processes() {
				if strings.Contains(p.Args, "pg_basebackup") {
					x.Result += " the copy was killed"
					return x.node.TrySignal(p.PID, syscall.SIGKILL)
				}
			}
			if !wait(ctx, 5*time.Millisecond) {
				break
			}
		}
		x.Result += " no copy was seen"
		return nil
	}, nil
}
