package monitor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/autoctl/autoctl/internal/pgserver"
)

// startPatience is how long the server may take to come up, crash recovery included.
const startPatience = 5 * time.Minute

// startServer adopts the server that a former process left running, or starts one, and waits until it accepts connections.
func startServer(ctx context.Context, c Config) (*pgserver.Process, error) {
	p, err := pgserver.Adopt(c.DataDir)
	if errors.Is(err, pgserver.ErrNotRunning) {
		p, err = freshServer(ctx, c)
	} else if err == nil {
		// What was written into its files meanwhile, as far as it takes effect without a restart.
		err = p.Reload()
	}
	if err != nil {
		return nil, fmt.Errorf("start the monitor's server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if _, err := p.WaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the monitor's server: %w", err), p.Close())
	}
	return p, nil
}

func freshServer(ctx context.Context, c Config) (*pgserver.Process, error) {
	if _, err := pgserver.EndRemains(ctx, c.DataDir); err != nil {
		return nil, err
	}
	if _, err := pgserver.RemoveStalePIDFile(c.DataDir); err != nil {
		return nil, err
	}
	if _, err := pgserver.TrimLog(c.logFile(), pgserver.LogLimit); err != nil {
		return nil, err
	}
	return pgserver.Start(ctx, c.Binaries, pgserver.StartConfig{DataDir: c.DataDir, LogFile: c.logFile()})
}

// logFile gets what the server prints.
func (c Config) logFile() string { return filepath.Join(c.StateDir, "postgresql.log") }

// ErrLeaveRunning as the cause of Run's context makes Run return without stopping the monitor's PostgreSQL: for upgrades.
var ErrLeaveRunning = errors.New("leave the monitor's server running")

// keepServing runs PostgreSQL and, while it runs, sessions; both again and again, with growing pauses when they fail, until ctx ends.
func (s *Server) keepServing(ctx context.Context) error {
	pause := newPause(5 * time.Second)
	for ctx.Err() == nil {
		began := time.Now()
		err := s.serveOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrNewer) {
			return errors.Join(err, s.finish(ctx))
		}
		if time.Since(began) > pause.MaxInterval {
			pause.Reset()
		}
		s.c.Log.Error().Err(err).Msg("the monitor's server ended; starting it again")
		if !sleep(ctx, pause.NextBackOff()) {
			break
		}
	}
	return s.finish(ctx)
}

func newPause(longest time.Duration) *backoff.ExponentialBackOff {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, longest
	return pause
}

// serveOnce starts or adopts PostgreSQL and holds sessions until it ends.
func (s *Server) serveOnce(ctx context.Context) (err error) {
	p, err := startServer(ctx, s.c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	ended := errors.New("the server ended")
	up, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-p.Exited():
			cancel(fmt.Errorf("%w: %s", ended, p.Exit()))
		case <-up.Done():
		}
	}()
	cause := s.holdSessions(up)
	cancel(nil)
	<-done
	return cause
}

// holdSessions holds one session after the other until ctx ends, and returns why it did.
func (s *Server) holdSessions(ctx context.Context) error {
	// The server runs: what ended a session is rarely there for long, and meanwhile nobody decides.
	pause := newPause(500 * time.Millisecond)
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if errors.Is(err, ErrNewer) {
			return err
		}
		if time.Since(began) > pause.MaxInterval {
			pause.Reset()
		}
		if ctx.Err() == nil {
			s.c.Log.Warn().Err(err).Msg("session with the monitor's server ended; beginning another")
			sleep(ctx, pause.NextBackOff())
		}
	}
	return context.Cause(ctx)
}

// finish stops the server unless it is to be left running.
func (s *Server) finish(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), ErrLeaveRunning) {
		return nil
	}
	p, err := pgserver.Adopt(s.c.DataDir)
	if errors.Is(err, pgserver.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the monitor's server: %w", err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	return errors.Join(p.Stop(stop, pgserver.StopFast), p.Close())
}

// sleep waits, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
