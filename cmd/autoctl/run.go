package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/oklog/run"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/keeper/state"
	"github.com/autoctl/autoctl/monitor"
)

func (a *app) runCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "run", Short: "Run the monitor or the keeper of a data directory, in the foreground",
		Long: `Run the monitor or the keeper of a data directory, in the foreground: which of them, its
configuration says. SIGTERM hands over and stops PostgreSQL, SIGINT stops it fast, SIGQUIT
immediately; SIGHUP reads the configuration again.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := t.dataDirectory()
			if err != nil {
				return err
			}
			if dir == "" {
				return fail(classUsage, "give --pgdata, or set PGDATA", "run: no data directory is chosen")
			}
			return a.runDaemon(cmd.Context(), dir)
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// runDaemon runs what the configuration of a data directory says, until a signal or a command stops it.
func (a *app) runDaemon(ctx context.Context, dir string) error {
	err := func() error {
		l, err := load(configPath(dir), nil, false)
		if err != nil {
			return err
		}
		if err := notRoot(dir); err != nil {
			return err
		}
		if err := l.selfSign(ctx, time.Now()); err != nil {
			return err
		}
		if err := l.check(); err != nil {
			return err
		}
		log := a.logger(l.Log.Level, l.Log.Format)
		if l.Role == roleMonitor {
			return a.runMonitor(ctx, l, log)
		}
		return a.runKeeper(ctx, l, log)
	}()
	return attempt(err, "run in %s", dir)
}

// sayRuns begins the log of a daemon that nothing refused.
func sayRuns(log zerolog.Logger, l *loaded) {
	log.Info().Str("role", l.Role).Str("pgdata", l.PostgreSQL.PGData).Int("port", l.PostgreSQL.Port).Str("version", version).Int("pid", os.Getpid()).
		Msg("autoctl runs")
}

// stopSignals maps the signals to ways of stopping, as pg_ctl and the model have them.
func stopSignals() map[os.Signal]daemon.StopMode {
	return map[os.Signal]daemon.StopMode{syscall.SIGTERM: daemon.StopGraceful, syscall.SIGINT: daemon.StopFast, syscall.SIGQUIT: daemon.StopImmediate}
}

// signalActor calls stop and reload as signals ask; it ends with its context.
func signalActor(ctx context.Context, log zerolog.Logger, stop func(daemon.StopMode), reload func()) (func() error, func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP)
	listen := func() error {
		defer signal.Stop(signals)
		for {
			select {
			case s := <-signals:
				log.Info().Stringer("signal", s).Msg("signal received")
				if mode, ok := stopSignals()[s]; ok {
					stop(mode)
				} else {
					reload()
				}
			case <-ctx.Done():
				return nil
			}
		}
	}
	return listen, func(error) { cancel() }
}

func (a *app) runKeeper(ctx context.Context, l *loaded, log zerolog.Logger) error {
	dir := l.PostgreSQL.PGData
	service, err := keeper.Open(ctx, keeper.Options{
		Config: l.keeperConfig(), Log: log, Software: version,
		Reload: func() (keeper.Config, error) {
			next, err := reloaded(ctx, dir)
			if err != nil {
				return keeper.Config{}, controlError(err)
			}
			a.setLogLevel(next.Log.Level)
			return next.keeperConfig(), nil
		},
	})
	if err != nil {
		return err
	}
	sayRuns(log, l)
	defer func() {
		if err := service.Close(); err != nil {
			log.Warn().Err(err).Msg("close")
		}
	}()
	var g run.Group
	ctx, cancel := context.WithCancel(ctx)
	g.Add(func() error { return service.Run(ctx) }, func(error) { cancel() })
	g.Add(signalActor(ctx, log, service.Stop, func() {
		// The socket's way is the only one: a signal and a command then cannot differ.
		if err := control.Call(ctx, statePath(dir), control.Request{Command: "reload"}, nil, nil); err != nil {
			log.Error().Err(err).Msg("reload")
			return
		}
		log.Info().Msg("configuration reloaded")
	}))
	g.Add(progressActor(ctx, log, statePath(dir)))
	return g.Run()
}

// reloaded reads the configuration again and makes what belongs to it.
func reloaded(ctx context.Context, dir string) (*loaded, error) {
	l, err := load(configPath(dir), nil, false)
	if err != nil {
		return nil, err
	}
	if err := l.selfSign(ctx, time.Now()); err != nil {
		return nil, err
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	return l, l.checkHost(ctx) // the others would be told of it
}

// errReload restarts the monitor's server side inside the same process, on a new configuration.
var errReload = errors.New("the configuration is read again")

// errStopped ends the monitor's daemon.
var errStopped = errors.New("stop asked")

func (a *app) runMonitor(ctx context.Context, l *loaded, log zerolog.Logger) error {
	dir := l.PostgreSQL.PGData
	unlock, err := daemonLock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	sayRuns(log, l)
	m := &monitorDaemon{dir: dir, log: log, ended: make(chan struct{}), wake: make(chan error, 4)}
	m.l.Store(l)
	var g run.Group
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Add(func() error { defer close(m.ended); return m.serve(ctx, a) }, func(error) { cancel() })
	g.Add(signalActor(ctx, log, m.stop, func() {
		if err := m.reload(ctx); err != nil {
			log.Error().Err(err).Msg("reload")
		}
	}))
	// The last to end: a command that asked for the stop hears of it.
	serving, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- control.Serve(serving, statePath(dir), m.handle) }()
	err = g.Run()
	hangUp()
	if e := <-served; e != nil {
		log.Error().Err(e).Msg("control socket")
	}
	return err
}

// daemonLockName is the lock of a monitor's daemon in its state directory.
const daemonLockName = "daemon.lock"

// daemonLock makes sure that one daemon owns the control socket and the data directory of a monitor.
func daemonLock(dir string) (func(), error) {
	path := statePath(dir)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fail(classPrecondition, "", "make state directory: %w", err)
	}
	lock := flock.New(filepath.Join(path, daemonLockName), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fail(classPrecondition, "", "lock state directory: %w", err)
	}
	if !ok {
		return nil, monitor.ErrLocked
	}
	var data state.DataLock
	if err := data.Hold(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return func() { _ = data.Release(); _ = lock.Close() }, nil
}
