package soak

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

func killPostmaster(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	return nil, signalPostmaster(x, syscall.SIGKILL)
}

func stopServer(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	return nil, signalPostmaster(x, syscall.SIGINT)
}

func signalPostmaster(x *injection, s syscall.Signal) error {
	pid := x.node.Postmaster()
	if pid == 0 {
		return fmt.Errorf("%w: no postmaster runs", errSkip)
	}
	return x.node.TrySignal(pid, s)
}

func killBackend(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	server := x.node.Server()
	if len(server) < 2 {
		return nil, fmt.Errorf("%w: no server runs", errSkip)
	}
	victim := server[1+x.rng.IntN(len(server)-1)]
	x.Detail = victim.Args
	return nil, x.node.TrySignal(victim.PID, syscall.SIGKILL)
}

// endWithin is how long a daemon may take to end that was killed.
const endWithin = 10 * time.Second

func killKeeper(ctx context.Context, _ *nemesis, x *injection) (undo, error) {
	if !x.node.Running() {
		return nil, fmt.Errorf("%w: no daemon runs", errSkip)
	}
	x.node.Signal(syscall.SIGKILL)
	return launch(x), awaitEnd(ctx, x, endWithin)
}

func awaitEnd(ctx context.Context, x *injection, within time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), within, errors.New("the daemon has not ended"))
	defer cancel()
	_, err := x.node.TryEnd(ctx)
	return err
}

func launch(x *injection) undo {
	return func(context.Context) error { return x.node.TryLaunch(false) }
}

func freezeKeeper(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	if !x.node.Running() {
		return nil, fmt.Errorf("%w: no daemon runs", errSkip)
	}
	x.node.Signal(syscall.SIGSTOP)
	return func(context.Context) error { x.node.Signal(syscall.SIGCONT); return nil }, nil
}

func freezePostmaster(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	return thaw(x), signalPostmaster(x, syscall.SIGSTOP)
}

func freezeServer(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	if x.node.Postmaster() == 0 {
		return nil, fmt.Errorf("%w: no postmaster runs", errSkip)
	}
	return thaw(x), x.node.TryFreezeServer()
}

func freezeHost(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	return thaw(x), x.node.TryFreeze()
}

func thaw(x *injection) undo {
	return func(context.Context) error { return x.node.TryThaw() }
}

func killHost(ctx context.Context, _ *nemesis, x *injection) (undo, error) {
	return launch(x), errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin))
}
