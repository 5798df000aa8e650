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
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/daemon"
	"github.com/autoctl/autoctl/keeper/formation"
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
	opts   Options
	lock   *state.Lock
	store  *state.Store
	node   *postgres
	daemon *daemon.Daemon
	// formation keeps the metadata of a Citus formation; nil elsewhere.
	formation *formation.Keeper
	ended     chan struct{} // closed when the daemon has ended
	unheard   chan struct{} // the monitor was away when there was something to announce

	mu     sync.Mutex // guards what follows
	config Config
	client *monitorapi.Client // nil while the monitor is disabled
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
	lock, store, err := open(o.Config)
	if err != nil {
		return nil, err
	}
	s := &Service{opts: o, lock: lock, store: store, config: o.Config, ended: make(chan struct{}), unheard: make(chan struct{}, 1)}
	switch mem := store.Get(); {
	case mem.Node == 0:
		err = refuse(CodeNotCreated, nil, "run the create command again: it goes on where it was", "this node was not registered with a monitor yet")
	case mem.Released:
		err = refuse(CodeGone, ErrDropped, "autoctl create postgres makes it a node again; autoctl drop node --destroy removes what is left", "this node was dropped from its group")
	default:
		err = s.assemble(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// assemble makes the parts that the configuration describes.
func (s *Service) assemble(ctx context.Context) error {
	o := s.opts
	if err := sameAddress(o.Config); err != nil {
		return err
	}
	c, err := localConfig(ctx, o.Config, o.Log)
	if err != nil {
		return err
	}
	if err := bringConfigIn(ctx, o.Config, c.Binaries, s.store.Get()); err != nil {
		return err
	}
	var monitor daemon.Monitor
	if o.Config.Monitor != "" {
		if s.client, err = monitorapi.New(o.Config.Monitor, monitorapi.Options{Software: o.Software}); err != nil {
			return err
		}
		monitor = s.client
	}
	if s.node, err = newPostgres(c, s.store, &s.lock.Data); err != nil {
		return err
	}
	parts := daemon.Parts{
		Store: s.store, Node: s.node, Monitor: monitor, Plan: fsm.Plan, Log: o.Log,
		Software: o.Software, HandOver: o.HandOver, Reached: o.Reached,
	}
	if o.Config.Kind == fsm.KindCitus {
		s.formation = s.newFormation()
		parts.Obeyed, parts.Supplement = s.formation.Obeyed, s.formation.Supplement
	}
	s.daemon = daemon.New(parts)
	return nil
}

// sameAddress refuses to take over a server that listens elsewhere than the
// configuration says: it could not be talked to.
func sameAddress(cfg Config) error {
	p, err := pgserver.Adopt(cfg.PGData)
	if err != nil {
		return nil // none runs: its start will have the configured port and socket
	}
	defer func() { _ = p.Close() }()
	f, err := pgserver.ReadPIDFile(cfg.PGData)
	if err != nil || f.Port == 0 {
		return nil // it has not said where it listens: then it was started over our files
	}
	const stop = "or stop the server first: pg_ctl stop -D "
	if f.Port != cfg.Port {
		return refuse(CodePort, nil, fmt.Sprintf("set the port back to %d, %s%s", f.Port, stop, cfg.PGData),
			"the server that runs on %s listens on port %d, and the configuration says %d", cfg.PGData, f.Port, cfg.Port)
	}
	if elsewhere(f, cfg) {
		return refuse(CodePort, nil, fmt.Sprintf("autoctl config set postgresql.socket_directory %s, %s%s", f.SocketDir, stop, cfg.PGData),
			"the server that runs on %s has its socket in %s, and the configuration says %s", cfg.PGData, f.SocketDir, SocketDir(cfg))
	}
	return nil
}

// elsewhere reports whether a running server's socket is in another directory
// than the configuration's, whatever links lead there.
func elsewhere(f pgserver.PIDFile, cfg Config) bool {
	if f.SocketDir == "" || f.SocketDir == SocketDir(cfg) {
		return false
	}
	theirs, err := os.Stat(f.SocketDir)
	if err != nil {
		return true
	}
	ours, err := os.Stat(SocketDir(cfg))
	return err != nil || !os.SameFile(theirs, ours)
}

// Run runs the node until [Service.Stop], or until ctx ends, which leaves
// PostgreSQL running. It returns [ErrDropped] when the node left its group.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	serving, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error {
		defer hangUp()
		defer close(s.ended)
		if err := s.daemon.Run(ctx); err != nil {
			return err
		}
		return errDone
	})
	g.Go(func() error {
		// Without it the keeper does its work all the same.
		if err := control.Serve(serving, s.opts.Config.StateDir, s.handle); err != nil {
			s.opts.Log.Error().Err(err).Msg("control socket")
		}
		return nil
	})
	g.Go(func() error { return s.introduce(ctx) })
	if s.formation != nil {
		g.Go(func() error { return s.formation.Run(ctx) })
	}
	if err := g.Wait(); !errors.Is(err, errDone) {
		return err
	}
	return nil
}

// Stop asks for a stop; see [daemon.Daemon.Stop].
func (s *Service) Stop(mode StopMode) { s.daemon.Stop(mode) }

// Close releases everything and leaves PostgreSQL as it is.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.Close()
	}
	var err error
	if s.node != nil {
		err = s.node.Close()
	}
	return errors.Join(err, s.lock.Release())
}

// systemID returns that of the data directory as it was last seen; else the
// group's.
func (s *Service) systemID() uint64 {
	if id := s.node.SystemID(); id != 0 {
		return id
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
	// MonitorAgeMS is the age of the monitor's last answer; -1 when it is disabled, or has not answered in this run.
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
	case "citus", "activate":
		return s.metadata(ctx, r.Command == "activate")
	case "shards":
		return s.shards(ctx, r.Group)
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
	if known, ok := errors.AsType[*control.Error](err); ok {
		return known
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
	report, goal, age := s.daemon.Snapshot(ctx)
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
		if mem.State == "" || mem.Goal.State == "" { // one that has only just begun
			now = ""
		}
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

// reload applies a changed configuration file.
func (s *Service) reload(ctx context.Context) error {
	if s.opts.Reload == nil {
		return refuse(CodeSetup, nil, "", "this daemon cannot read its configuration again")
	}
	cfg, err := s.opts.Reload()
	if _, known := errors.AsType[*control.Error](err); known {
		return err
	}
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return refuse(CodeConfig, err, "the configuration in force stays as it was", "%v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.config
	if cfg.PGData != before.PGData || cfg.StateDir != before.StateDir || cfg.Port != before.Port || SocketDir(cfg) != SocketDir(before) || cfg.PGCtl != before.PGCtl {
		return refuse(CodeConfig, nil, "set it back, or stop the node and run it again: autoctl stop; autoctl run",
			"data directory, programs, port and socket directory cannot change while PostgreSQL runs")
	}
	c, err := localConfig(ctx, cfg, s.opts.Log)
	if err != nil {
		return err
	}
	if err := s.node.Reconfigure(c); err != nil {
		return err
	}
	cfg.Monitor = before.Monitor // that is enable monitor's
	s.config = cfg
	s.daemon.Wake()
	if s.client == nil {
		return nil
	}
	return s.tell(ctx, s.client, cfg)
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
