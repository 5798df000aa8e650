package keeper

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/state"
)

// Registrar is the part of the monitor's interface that makes a node a member.
type Registrar interface {
	Register(ctx context.Context, r monitorapi.Registration) (monitorapi.Registered, error)
}

// Case is what create found a data directory to be.
type Case string

// The cases. Which role a node gets in its group is the monitor's decision: the
// first of its group serves, every other follows.
const (
	CaseEmpty    Case = "empty"    // nothing there: initdb as the first of its group, else a base backup
	CaseExisting Case = "existing" // a cluster: adopted as the first, else taken as standby without copying
	CaseAgain    Case = "again"    // registered before: create was run again
)

// Created is what create did.
type Created struct {
	Case Case
	// Config is the configuration to write: name, group, host and port are
	// decided.
	Config Config
	Node   fsm.NodeID
	// Notes say what will change in an existing cluster, for people.
	Notes []string
}

// Create registers a node after it has looked at everything that could keep it
// from running; it creates no cluster itself: that is the daemon's first goal.
// Interrupted anywhere, the same call goes on. note is called with what the
// daemon will change, for people, once the node is registered. A refusal is a
// [*Refusal] or an error of package monitorapi, and has changed nothing.
func Create(ctx context.Context, cfg Config, monitor Registrar, note func(string)) (made Created, err error) {
	if err := cfg.Validate(); err != nil {
		return Created{}, refuse(CodeConfig, err, "", "%v", err)
	}
	if err := notRoot(cfg.PGData); err != nil {
		return Created{}, err
	}
	if err := checkPasswordFile(cfg); err != nil {
		return Created{}, err
	}
	lock, store, err := open(cfg)
	if err != nil {
		return Created{}, err
	}
	defer func() {
		if refusedOutright(err) {
			_ = lock.Abandon()
			return
		}
		_ = lock.Release()
	}()
	s, err := look(ctx, cfg, store.Get())
	if err != nil {
		return Created{}, err
	}
	if cfg, err = decide(ctx, cfg, s); err != nil {
		return Created{}, err
	}
	if cfg.Group, err = citusGroup(ctx, cfg, s); err != nil {
		return Created{}, err
	}
	made = Created{Case: CaseEmpty, Config: cfg}
	if s.existing() {
		made.Case = CaseExisting
		if made.Notes, err = s.lacking(ctx, cfg); err != nil {
			return Created{}, err
		}
		if err := s.unitChangeable(); err != nil {
			return Created{}, err
		}
	}
	if made, err = register(ctx, made, s, store, monitor); err != nil {
		return made, err
	}
	for _, n := range made.Notes { // not of another cluster's directory, which the monitor refuses
		note(n)
	}
	return made, nil
}

// refusedOutright reports whether err means that nothing was begun: we, or the monitor in so many words, refused. An answer that was lost is not that.
func refusedOutright(err error) bool {
	if _, ok := errors.AsType[*Refusal](err); ok {
		return true
	}
	switch monitorapi.CodeOf(err) {
	case monitorapi.CodeRefused, monitorapi.CodeConflict, monitorapi.CodeOtherSystem, monitorapi.CodeInvalid, monitorapi.CodeUnknown,
		monitorapi.CodeAuth, monitorapi.CodeTLS, monitorapi.CodeProtocol, monitorapi.CodeNotMonitor:
		return true
	default:
		return false
	}
}

// open takes the locks and reads the memory of a node.
func open(cfg Config) (*state.Lock, *state.Store, error) {
	lock, err := state.Acquire(cfg.StateDir)
	if err != nil {
		if held, ok := errors.AsType[*state.HeldError](err); ok {
			return nil, nil, refuse(CodeHeld, err, "stop it first with autoctl stop, or use it", "%v", held)
		}
		return nil, nil, refuse(CodeState, err, "the directory must be writable by this user", "%v", err)
	}
	if err := lock.Data.Hold(cfg.PGData); err != nil {
		return nil, nil, errors.Join(refuse(CodeHeld, err, "use the name of the directory and the user with which that one was created", "%v", err), lock.Abandon())
	}
	store, err := state.Open(cfg.StateDir)
	if err != nil {
		return nil, nil, errors.Join(refuse(CodeState, err, state.Hint(err), "%v", err), lock.Release())
	}
	return lock, store, nil
}

// decide fills in what the configuration leaves to us.
func decide(ctx context.Context, cfg Config, s survey) (Config, error) {
	if s.running != nil {
		if s.running.Port != 0 && cfg.Port != s.running.Port {
			return cfg, refuse(CodePort, nil, fmt.Sprintf("give --pgport %d, or stop the server first", s.running.Port),
				"the server that runs on %s listens on port %d, not %d", cfg.PGData, s.running.Port, cfg.Port)
		}
		if cfg.SocketDir == "" {
			cfg.SocketDir = s.running.SocketDir // that is where it can be reached
		} else if elsewhere(*s.running, cfg) {
			return cfg, refuse(CodePort, nil, fmt.Sprintf("give --pghost %s, or stop the server first", s.running.SocketDir),
				"the server that runs on %s has its socket in %s, not in %s", cfg.PGData, s.running.SocketDir, cfg.SocketDir)
		}
	} else if err := errors.Join(checkPort(ctx, cfg.Port), CheckSocket(cfg)); err != nil {
		return cfg, err
	}
	var err error
	if cfg.Host, err = OwnHost(ctx, cfg); err != nil {
		return cfg, err
	}
	return cfg, checkHost(ctx, cfg.Host)
}

// OwnHost is the name or address under which others reach this machine: the
// configured one, else the one that [DiscoverHost] finds.
func OwnHost(ctx context.Context, cfg Config) (string, error) {
	if cfg.Host != "" {
		return cfg.Host, nil
	}
	host, port, err := monitorAddress(cfg.Monitor)
	if err != nil {
		return "", err
	}
	return DiscoverHost(ctx, host, port)
}

func monitorAddress(uri string) (string, int, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return "", 0, refuse(CodeHost, nil, "give this machine's own name or address with --hostname", "the monitor's URI names no host")
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		port = 5432
	}
	return u.Hostname(), port, nil
}

// register makes the node known. Its token is on disk first, so that a keeper
// that dies in between, or an answer that is lost, leads to the same node again.
func register(ctx context.Context, made Created, s survey, store *state.Store, monitor Registrar) (Created, error) {
	mem := store.Get()
	if mem.Node != 0 && mem.State != fsm.StateDropped {
		made.Case = CaseAgain
	}
	if err := store.Update(func(m *fsm.Memory) { prepare(m, s) }); err != nil {
		return made, refuse(CodeState, err, "the state directory must be writable by this user", "%v", err)
	}
	reg, err := monitor.Register(ctx, registration(made.Config, store.Get(), s.systemID()))
	if err != nil {
		return made, err
	}
	if err := store.Update(func(m *fsm.Memory) { m.Node = reg.Node }); err != nil {
		return made, refuse(CodeState, err, "make it writable and run the command again", "%v", err)
	}
	made.Node, made.Config.Group, made.Config.Name = reg.Node, reg.Group, reg.Name
	return made, nil
}

// prepare makes a memory ready for a registration: a token of its own, and a
// new life for a node that was dropped, whose data keeps its past (S3).
func prepare(m *fsm.Memory, s survey) {
	if m.Released || m.State == fsm.StateDropped {
		busy := m.Busy
		*m = fsm.Memory{Promotions: m.Promotions, Rewound: m.Rewound}
		if s.data.Kind != pgserver.DataAbsent && s.data.Kind != pgserver.DataEmpty {
			m.Busy = busy // data that a rewind or a swap left half done are no better under a new id (S10)
		}
	}
	if !s.existing() && m.Busy == fsm.BusyNone && m.Node == 0 {
		m.Promotions, m.Rewound = nil, fsm.Position{}
	}
	if m.Token == "" {
		m.Token = newToken()
	}
	if s.existing() && m.Generation == 0 {
		m.Generation = 1
	}
}

func (s survey) systemID() uint64 {
	if !s.existing() {
		return 0
	}
	return s.data.Control.SystemIdentifier
}

// newToken returns 8 hexadecimal digits that make a node's slot name its own.
func newToken() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Replace hands a node over to a replacement monitor: the new one learns the
// group, its epoch and its record from this memory and continues them; nothing
// restarts (S9). The daemon, if one runs, does it itself: see package control.
func Replace(ctx context.Context, cfg Config, store *state.Store, systemID uint64, monitor Registrar) (monitorapi.Registered, error) {
	mem := store.Get()
	if mem.Node == 0 {
		return monitorapi.Registered{}, refuse(CodeNotCreated, nil, "autoctl create postgres", "this node was never registered with a monitor")
	}
	request := registration(cfg, mem, systemID)
	request.Memory = &mem
	reg, err := monitor.Register(ctx, request)
	if err != nil || reg.Node == mem.Node {
		return reg, err
	}
	return reg, store.Update(func(m *fsm.Memory) { m.Node = reg.Node })
}

// ReplaceStopped is [Replace] for a node whose daemon does not run.
func ReplaceStopped(ctx context.Context, cfg Config, monitor Registrar) (reg monitorapi.Registered, err error) {
	if err := notRoot(cfg.PGData); err != nil {
		return reg, err
	}
	lock, store, err := open(cfg)
	if err != nil {
		return reg, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	s, err := look(ctx, cfg, store.Get())
	if err != nil {
		return reg, err
	}
	return Replace(ctx, cfg, store, s.systemID(), monitor)
}

// registration says who a node is.
func registration(cfg Config, mem fsm.Memory, systemID uint64) monitorapi.Registration {
	return monitorapi.Registration{
		Formation: cfg.Formation, Kind: cfg.Kind, Group: cfg.Group, Name: cfg.Name, Host: cfg.Host, Port: cfg.Port,
		SystemID: systemID, HasData: systemID != 0, Priority: cfg.Priority, Quorum: cfg.Quorum,
		Token: mem.Token, NodeID: mem.Node, Database: cfg.Database, Cluster: cfg.Cluster, ProxyPort: cfg.ProxyPort,
	}
}

// Destroy removes a data directory and the memory of its node, for good. The
// caller has made sure that an operator asked for it and that nothing runs.
func Destroy(cfg Config) error {
	lock, err := state.Acquire(cfg.StateDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	if err := lock.Data.Hold(cfg.PGData); err != nil {
		return refuse(CodeHeld, err, "stop it first", "%v", err)
	}
	if p, err := pgserver.Adopt(cfg.PGData); err == nil {
		return errors.Join(refuse(CodeHeld, nil, "stop it first", "a server runs on %s", cfg.PGData), p.Close())
	}
	return errors.Join(pgserver.RemoveDataDir(cfg.PGData), os.RemoveAll(cfg.StateDir))
}
