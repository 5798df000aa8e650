package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/keeper/state"
)

// Options are what [Open] needs beside the configuration.
type Options struct {
	Config   Config
	Log      zerolog.Logger
	Software string
	// Reload reads the configuration again, for the reload command; nil where
	// that is not possible.
	Reload func() (Config, error)
	// Reached is told of each goal that is reached; see [daemon.Parts].
	Reached func(fsm.Goal)
	// HandOver bounds a graceful stop's wait; 0 for 45 s.
	HandOver time.Duration
}

// Service is a keeper with everything that it works with: the lock, the memory,
// PostgreSQL, the monitor's client, the control socket. It is what autoctl run
// runs.
type Service struct {
	opts  Options
	lock  *state.Lock
	store *state.Store
	ended chan struct{} // closed when the last daemon has ended

	mu       sync.Mutex // guards what follows
	config   Config
	node     *postgres
	client   *monitorapi.Client // nil while the monitor is disabled
	daemon   *daemon.Daemon
	stopping bool
	next     *change // a reload under way
}

// change is a new configuration on its way in.
type change struct {
	config  Config
	applied chan error
}

// errDone ends what runs beside a daemon that has ended well.
var errDone = errors.New("done")

// Open takes the lock of a node that was created before, reads its memory, and
// adopts its server if one runs. Refusals are [*Refusal]s. The caller calls
// [Service.Run], and [Service.Close] at the end.
func Open(ctx context.Context, o Options) (*Service, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, refuse(CodeConfig, err, "correct the configuration file; autoctl config check", "%v", err)
	}
	if err := notRoot(o.Config.PGData); err != nil {
		return nil, err
	}
	lock, store, err := open(o.Config.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Service{opts: o, lock: lock, store: store, ended: make(chan struct{})}
	switch mem := store.Get(); {
	case mem.Node == 0:
		err = refuse(CodeNotCreated, nil, "run the create command again: it goes on where it was", "this node was not registered with a monitor yet")
	case mem.Released:
		err = refuse(CodeGone, ErrDropped, "autoctl create postgres makes it a node again; autoctl drop node --destroy removes what is left", "this node was dropped from its group")
	default:
		err = s.assemble(ctx, o.Config)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// assemble makes the parts that a configuration describes, in place of none.
func (s *Service) assemble(ctx context.Context, cfg Config) error {
	var client *monitorapi.Client
	var monitor daemon.Monitor
	if cfg.Monitor != "" {
		var err error
		if client, err = monitorapi.New(cfg.Monitor, monitorapi.Options{Software: s.opts.Software}); err != nil {
			return err
		}
		monitor = client
	}
	node, err := newPostgres(ctx, cfg, s.store, s.opts.Log)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config, s.node, s.client = cfg, node, client
	s.daemon = daemon.New(daemon.Parts{
		Store: s.store, Node: node, Monitor: monitor, Plan: fsm.Plan, Log: s.opts.Log,
		Software: s.opts.Software, HandOver: s.opts.HandOver, Reached: s.opts.Reached,
	})
	return nil
}

// disassemble ends the parts; PostgreSQL stays as it is.
func (s *Service) disassemble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.client != nil {
		s.client.Close()
	}
	if s.node != nil {
		err = s.node.Close()
	}
	s.client, s.node = nil, nil
	return err
}

// Run runs the node until [Service.Stop], or until ctx ends, which leaves
// PostgreSQL running. It returns [ErrDropped] when the node left its group.
func (s *Service) Run(ctx context.Context) error {
	serving, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		// Without it the keeper does its work all the same.
		if err := control.Serve(serving, s.opts.Config.StateDir, s.handle); err != nil {
			s.opts.Log.Error().Err(err).Msg("control socket")
		}
	})
	defer wg.Wait()
	defer hangUp()
	defer close(s.ended)
	for {
		err := s.runOnce(ctx)
		c := s.changing()
		if err != nil || ctx.Err() != nil || c == nil {
			return err
		}
		if err := s.exchange(ctx, *c); err != nil {
			return err
		}
	}
}

func (s *Service) runOnce(ctx context.Context) error {
	s.mu.Lock()
	d, client, cfg := s.daemon, s.client, s.config
	s.mu.Unlock()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := d.Run(ctx); err != nil {
			return err
		}
		return errDone
	})
	if client != nil {
		g.Go(func() error { return s.introduce(ctx, client, cfg) })
	}
	if err := g.Wait(); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// changing takes the reload that ended the daemon; nil when there was none.
func (s *Service) changing() *change {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.next
	s.next = nil
	return c
}

// exchange makes all parts anew over the running server. Where the new
// configuration does not do, the former goes on.
func (s *Service) exchange(ctx context.Context, c change) error {
	if err := s.disassemble(); err != nil {
		s.opts.Log.Warn().Err(err).Msg("reload")
	}
	former := s.config
	err := s.assemble(ctx, c.config)
	c.applied <- err
	if err == nil {
		s.opts.Log.Info().Msg("configuration reloaded")
		return nil
	}
	return s.assemble(ctx, former)
}

// Stop asks for a stop; see [daemon.Daemon.Stop].
func (s *Service) Stop(mode StopMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	s.daemon.Stop(mode)
}

// Close releases everything and leaves PostgreSQL as it is.
func (s *Service) Close() error {
	return errors.Join(s.disassemble(), s.lock.Release())
}

// introduce registers the node again, once a run, so that the monitor learns a
// new address or name from the configuration. It retries while the monitor is
// away and gives up when it says no.
func (s *Service) introduce(ctx context.Context, client *monitorapi.Client, cfg Config) error {
	for pause := 200 * time.Millisecond; ctx.Err() == nil; pause = min(pause*2, 5*time.Second) {
		_, err := client.Register(ctx, registration(cfg, s.store.Get(), s.systemID()))
		if err == nil {
			return nil
		}
		if monitorapi.CodeOf(err) != monitorapi.CodeUnreachable {
			s.opts.Log.Warn().Err(err).Msg("monitor does not take this node's address")
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// systemID returns that of the data directory as it was last seen; else the
// group's.
func (s *Service) systemID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node != nil && s.node.SystemID() != 0 {
		return s.node.SystemID()
	}
	return s.store.Get().Goal.SystemID
}

// ServiceStatus is what autoctl status prints of a keeper.
type ServiceStatus struct {
	PID      int        `json:"pid"`
	Software string     `json:"software"`
	PGData   string     `json:"pgdata"`
	Name     string     `json:"name"`
	Host     string     `json:"host"`
	Port     int        `json:"port"`
	Goal     fsm.State  `json:"assigned_state"`
	Stamp    fsm.Stamp  `json:"assigned_stamp"`
	Report   fsm.Report `json:"report"`
	Monitor  string     `json:"monitor,omitempty"`
	// MonitorAgeMS is the age of the monitor's last answer; -1 when it is disabled.
	MonitorAgeMS int64 `json:"monitor_age_ms"`
}

// handle carries out a request from the control socket.
func (s *Service) handle(ctx context.Context, r control.Request, progress func(string)) (any, error) {
	switch r.Command {
	case "status":
		return s.status(ctx), nil
	case "stop":
		mode, err := ParseStopMode(r.Mode)
		if err != nil {
			return nil, &control.Error{Code: "usage", Text: err.Error()}
		}
		s.Stop(mode)
		return nil, s.awaitEnd(ctx, progress)
	case "reload":
		return nil, told(s.reload(ctx))
	case "monitor":
		reg, err := s.switchMonitor(ctx, r.URI)
		return reg, told(err)
	default:
		return nil, &control.Error{Code: "protocol", Text: fmt.Sprintf("this version of autoctl does not know %q", r.Command), Hint: "are the command and the daemon of one version?"}
	}
}

// told makes an error fit for the control socket: nil stays nil.
func told(err error) error {
	if err == nil {
		return nil
	}
	out := &control.Error{Text: err.Error()}
	if r, ok := errors.AsType[*Refusal](err); ok {
		out.Code, out.Hint = string(r.Code), r.Hint
	}
	if m, ok := errors.AsType[*monitorapi.Error](err); ok {
		out.Code, out.Hint = string(m.Code), m.Hint
	}
	return out
}

func (s *Service) status(ctx context.Context) ServiceStatus {
	s.mu.Lock()
	d := s.daemon
	s.mu.Unlock()
	report, goal, age := d.Snapshot(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ServiceStatus{
		PID: os.Getpid(), Software: s.opts.Software, PGData: s.config.PGData, Name: s.config.Name, Host: s.config.Host, Port: s.config.Port,
		Goal: goal.State, Stamp: goal.Stamp, Report: report, MonitorAgeMS: -1,
	}
	if s.client != nil {
		st.Monitor = s.client.Where()
	}
	if age >= 0 {
		st.MonitorAgeMS = age.Milliseconds()
	}
	return st
}

// awaitEnd waits for the daemon's end and tells what happens meanwhile.
func (s *Service) awaitEnd(ctx context.Context, progress func(string)) error {
	var before string
	for {
		mem := s.store.Get()
		now := fmt.Sprintf("reported %s, assigned %s", mem.State, mem.Goal.State)
		if now != before {
			progress(now)
			before = now
		}
		select {
		case <-s.ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// reload applies a changed configuration file: everything but PostgreSQL is made
// anew.
func (s *Service) reload(ctx context.Context) error {
	if s.opts.Reload == nil {
		return refuse(CodeSetup, nil, "", "this daemon cannot read its configuration again")
	}
	cfg, err := s.opts.Reload()
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return refuse(CodeConfig, err, "the configuration in force stays as it was", "%v", err)
	}
	c := &change{config: cfg, applied: make(chan error, 1)}
	if err := s.begin(c); err != nil {
		return err
	}
	select {
	case err := <-c.applied:
		return err
	case <-s.ended:
		return refuse(CodeGone, nil, "", "the keeper ended meanwhile")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin ends the daemon for a reload.
func (s *Service) begin(c *change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return refuse(CodeGone, nil, "", "the keeper is being stopped")
	case s.next != nil:
		return refuse(CodeHeld, nil, "try again", "another reload is under way")
	case c.config.PGData != s.config.PGData || c.config.StateDir != s.config.StateDir:
		return refuse(CodeConfig, nil, "stop the keeper and start it on the other directory", "a reload cannot change the data directory")
	}
	s.next = c
	s.daemon.Stop(StopKeeper)
	return nil
}

// switchMonitor hands the running node over to another monitor, or to none. The
// command that asks writes the configuration file.
func (s *Service) switchMonitor(ctx context.Context, uri string) (monitorapi.Registered, error) {
	var client *monitorapi.Client
	var reg monitorapi.Registered
	s.mu.Lock()
	cfg := s.config
	s.mu.Unlock()
	if uri != "" {
		var err error
		if client, err = monitorapi.Dial(ctx, uri, monitorapi.Options{Software: s.opts.Software}); err != nil {
			return reg, err
		}
		if reg, err = Replace(ctx, cfg, s.store, s.systemID(), client); err != nil {
			client.Close()
			return reg, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	former := s.client
	s.client, s.config.Monitor = client, uri
	if client == nil {
		s.daemon.UseMonitor(nil)
	} else {
		s.daemon.UseMonitor(client)
	}
	if former != nil {
		former.Close()
	}
	return reg, nil
}
