package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// operatorWait is how many seconds commands wait for the end of their work: the
// group may be in no state to do it.
const operatorWait = "20"

func performFailover(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	_, err := n.command(ctx, x, "perform", "failover", "--wait", operatorWait)
	return nil, err
}

func performPromotion(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	_, err := n.command(ctx, x, "perform", "promotion", "--name", x.Host, "--wait", operatorWait)
	return nil, err
}

func maintain(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	_, err := n.command(ctx, x, "enable", "maintenance", "--name", x.Host, "--allow-failover", "--wait", operatorWait)
	return func(ctx context.Context) error {
		_, err := n.command(ctx, x, "disable", "maintenance", "--name", x.Host, "--wait", operatorWait)
		return err
	}, err
}

// stopWithin is how long a daemon may take to hand over and to end; afterwards it
// is killed, as service managers do.
const stopWithin = 60 * time.Second

func restart(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if !x.node.Running() {
		return nil, fmt.Errorf("%w: no daemon runs", errSkip)
	}
	x.node.Signal(syscall.SIGTERM)
	began := time.Now()
	if err := awaitEnd(ctx, x, stopWithin); err != nil {
		x.Result = "did not end after SIGTERM and was killed"
		x.node.Signal(syscall.SIGKILL)
		if err := awaitEnd(ctx, x, endWithin); err != nil {
			return nil, err
		}
	} else {
		x.Result = fmt.Sprintf("ended after %.1f s", time.Since(began).Seconds())
	}
	return launch(x), nil
}

func replace(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	n.saved.Store(false) // a monitor of that time would not know the new one
	code, err := n.commandOn(ctx, x.node.Host, x, "drop", "node", "--destroy", "--pgdata", x.node.PGDATA(), "--wait", operatorWait)
	if err != nil || code != 0 {
		return nil, err
	}
	if err := awaitEnd(ctx, x, endWithin); err != nil {
		return nil, err
	}
	return func(context.Context) error { return x.node.TryLaunch(true, n.flags(x.Host)...) }, nil
}

// dropByForce drops a node that is off, as one that is lost for good. When it comes back after all, it is told so, and made anew like any node that has left.
func dropByForce(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if err := errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin)); err != nil {
		return nil, err
	}
	n.saved.Store(false)
	_, err := n.command(ctx, x, "drop", "node", "--name", x.Host, "--force", "--wait", operatorWait)
	return launch(x), err
}

// flags are those that a node is made with.
func (n *nemesis) flags(name string) []string {
	if n.counts(name) {
		return nil
	}
	return []string{"--replication-quorum", "false"}
}

// counts reports whether a node counts for commits, as the options have it.
func (n *nemesis) counts(name string) bool {
	for i, node := range n.nodes {
		if node.Name == name {
			return i < len(n.nodes)-n.opt.async
		}
	}
	return true
}

func changeNumberSync(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	most := min(2, n.opt.nodes-n.opt.async-1)
	want := x.rng.IntN(most + 1)
	x.Detail = fmt.Sprint(want)
	_, err := n.command(ctx, x, "set", "formation", "number-sync-standbys", x.Detail)
	return func(ctx context.Context) error {
		_, err := n.command(ctx, x, "set", "formation", "number-sync-standbys", strconv.Itoa(n.opt.numberSync))
		return err
	}, err
}

// usualPriority is that of nodes whose priority nobody has set.
const usualPriority = 50

func changePriority(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	x.Detail = strconv.Itoa([]int{0, 0, 1, 49, 51, 100}[x.rng.IntN(6)])
	_, err := n.command(ctx, x, "set", "node", "candidate-priority", "--name", x.Host, x.Detail)
	return func(ctx context.Context) error {
		_, err := n.command(ctx, x, "set", "node", "candidate-priority", "--name", x.Host, strconv.Itoa(usualPriority))
		return err
	}, err
}

func changeQuorum(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	usual := n.counts(x.Host)
	x.Detail = strconv.FormatBool(!usual)
	_, err := n.command(ctx, x, "set", "node", "replication-quorum", "--name", x.Host, x.Detail)
	return func(ctx context.Context) error {
		_, err := n.command(ctx, x, "set", "node", "replication-quorum", "--name", x.Host, strconv.FormatBool(usual))
		return err
	}, err
}
