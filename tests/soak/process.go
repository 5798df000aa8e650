package soak

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
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

// outlive kills a postmaster one of whose children does not notice.
func outlive(_ context.Context, _ *nemesis, x *injection) (undo, error) {
	server := x.node.Server()
	if len(server) < 2 {
		return nil, fmt.Errorf("%w: no server runs", errSkip)
	}
	child := server[1+x.rng.IntN(len(server)-1)]
	x.Detail = child.Args
	err := x.node.TrySignal(child.PID, syscall.SIGSTOP)
	return thaw(x), errors.Join(err, x.node.TrySignal(server[0].PID, syscall.SIGKILL))
}

// keepBusy has as many programs want a processor as there are processors, twice.
func keepBusy(ctx context.Context, _ *nemesis, _ *injection) (undo, error) {
	ctx, end := context.WithCancel(ctx)
	var all []*exec.Cmd
	var errs []error
	for range 2 * runtime.NumCPU() {
		c := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		errs = append(errs, c.Start())
		all = append(all, c)
	}
	return func(context.Context) error {
		end()
		for _, c := range all {
			_ = c.Wait() // says that it was killed
		}
		return nil
	}, errors.Join(errs...)
}

// canFakeTime reports whether there is something that moves a clock.
func canFakeTime(n *nemesis, _ string) bool { return n.fakeTime != "" }

// changeClock begins everything on a host anew with another time of day.
func changeClock(ctx context.Context, n *nemesis, x *injection) (undo, error) {
	if err := errors.Join(x.node.TryKill(), awaitEnd(ctx, x, endWithin)); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ahead[x.Host] = !n.ahead[x.Host]
	x.Detail = "right"
	if n.ahead[x.Host] {
		x.Detail = "an hour ahead"
	}
	return launch(x), nil
}

// clock is the environment in which a host's programs have the time of day that it has.
func (n *nemesis) clock(host string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ahead[host] {
		return nil
	}
	return []string{"LD_PRELOAD=" + n.fakeTime, "FAKETIME=+1h", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
}
