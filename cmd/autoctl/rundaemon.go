package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/monitor"
)

// monitorDaemon is the process around a monitor.Server: signals, the control socket, and a new server after a reload.
type monitorDaemon struct {
	dir   string
	log   zerolog.Logger
	l     atomic.Pointer[loaded]
	wake  chan error // why the present server is to end
	ended chan struct{}
}

// serve runs one server after another until one is stopped for good.
func (m *monitorDaemon) serve(ctx context.Context, a *app) error {
	for {
		config, err := a.monitorConfig(ctx, m.l.Load())
		if err != nil {
			return err
		}
		server, err := monitor.New(config)
		if err != nil {
			return err
		}
		why, err := m.serveOnce(ctx, server)
		if !errors.Is(why, errReload) || err != nil {
			return err
		}
		m.log.Info().Msg("configuration reloaded")
	}
}

// serveOnce runs a server until it ends or is asked to, and returns what it was asked.
func (m *monitorDaemon) serveOnce(ctx context.Context, server *monitor.Server) (why, err error) {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	done := make(chan error, 1)
	go func() { done <- server.Run(running) }()
	for {
		select {
		case err := <-done:
			if why != nil && (errors.Is(err, context.Canceled) || errors.Is(err, why)) {
				err = nil
			}
			return why, err
		case next := <-m.wake:
			if why == nil || errors.Is(why, errReload) {
				why = next
			}
			cause := next
			if errors.Is(next, errReload) {
				cause = monitor.ErrLeaveRunning // PostgreSQL stays; the next server adopts it
			}
			end(cause)
		}
	}
}

// stop ends the daemon. A monitor has nobody to hand over to: gently and fast are the same.
func (m *monitorDaemon) stop(mode daemon.StopMode) {
	why := errStopped
	if mode == daemon.StopKeeper {
		why = monitor.ErrLeaveRunning
	}
	select {
	case m.wake <- why:
	default: // it is ending already
	}
}

func (m *monitorDaemon) reload(ctx context.Context) error {
	next, err := reloaded(ctx, m.dir)
	if err != nil {
		return err
	}
	m.l.Store(next)
	select {
	case m.wake <- errReload:
	default:
	}
	return nil
}

// handle answers the control socket.
func (m *monitorDaemon) handle(ctx context.Context, r control.Request, progress func(string)) (any, error) {
	switch r.Command {
	case "status":
		return m.status()
	case "reload":
		if err := m.reload(ctx); err != nil {
			return nil, controlError(err)
		}
		return nil, nil
	case "stop":
		mode, err := daemon.ParseStopMode(r.Mode)
		if err != nil {
			return nil, &control.Error{Code: "usage", Text: err.Error()}
		}
		progress("stopping the monitor")
		m.stop(mode)
		select {
		case <-m.ended:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return nil, &control.Error{Code: "protocol", Text: fmt.Sprintf("a monitor's daemon does not know %q", r.Command)}
}

// controlError makes an error of ours fit for the control socket.
func controlError(err error) error {
	f, code := classify(err), keeper.CodeConfig
	if f.class == classPrecondition {
		code = keeper.CodeSetup
	}
	return &control.Error{Code: string(code), Text: f.Error(), Hint: f.hint}
}

// monitorStatus is what status prints of a monitor.
type monitorStatus struct {
	PID      int    `json:"pid"`
	Software string `json:"software"`
	PGData   string `json:"pgdata"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	URI      string `json:"uri"`
}

func (m *monitorDaemon) status() (any, error) {
	l := m.l.Load()
	uri, err := l.ownURI()
	return monitorStatus{PID: os.Getpid(), Software: version, PGData: m.dir, Host: l.Node.Hostname, Port: l.PostgreSQL.Port, URI: uri}, err
}
