package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/tests/machine"
)

func cutHost(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	return func(context.Context) error { return x.node.TryHeal() }, x.node.TryCut()
}

func cutLink(_ context.Context, n *nemesis, x *injection) (undo, error) {
	return n.cut(x.node.Host, x.other.Host, true)
}

func cutLinkOneWay(_ context.Context, n *nemesis, x *injection) (undo, error) {
	from, to := x.node.Host, x.other.Host
	if x.rng.IntN(2) == 0 {
		from, to = to, from
	}
	x.Detail = from.Name + " to " + to.Name
	return n.cut(from, to, false)
}

func cutMonitorLink(_ context.Context, n *nemesis, x *injection) (undo, error) {
	return n.cut(x.node.Host, n.c.Monitor.Host, true)
}

func cutMonitorLinkOneWay(_ context.Context, n *nemesis, x *injection) (undo, error) {
	from, to := x.node.Host, n.c.Monitor.Host
	if x.rng.IntN(2) == 0 {
		from, to = to, from
	}
	x.Detail = from.Name + " to " + to.Name
	return n.cut(from, to, false)
}

func (n *nemesis) cut(from, to *machine.Host, both bool) (undo, error) {
	lab := n.c.Lab
	err := lab.TryCutOneWay(from, to)
	if both {
		err = errors.Join(err, lab.TryCutOneWay(to, from))
	}
	return func(context.Context) error {
		return errors.Join(lab.TryHealOneWay(from, to), lab.TryHealOneWay(to, from))
	}, err
}

// lossPercent is the share of packets that a bad network loses.
const lossPercent = 5

func losePackets(_ context.Context, n *nemesis, _ *injection) (undo, error) {
	return func(context.Context) error { return n.c.Lab.TryLose(0) }, n.c.Lab.TryLose(lossPercent)
}

func slowNetwork(_ context.Context, n *nemesis, x *injection) (undo, error) {
	delay := time.Duration(10+x.rng.IntN(291)) * time.Millisecond
	x.Detail = fmt.Sprintf("%v later, %d %% lost", delay, lossPercent)
	end, err := n.c.Lab.TrySlow(delay, lossPercent)
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return end() }, nil
}
