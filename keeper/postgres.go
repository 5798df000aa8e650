package keeper

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/local"
	"github.com/autoctl/autoctl/keeper/state"
)

// postgres fits package local to [daemon.Node].
type postgres struct {
	*local.Node
	dir      string
	lock     *state.DataLock
	systemID atomic.Uint64 // as last seen
}

// newPostgres prepares the PostgreSQL that a configuration describes and works on
// as long as the lock can be held. It changes nothing and starts nothing.
func newPostgres(c local.Config, store *state.Store, lock *state.DataLock) (*postgres, error) {
	n, err := local.New(c, store)
	if err != nil {
		return nil, refuse(CodeSetup, err, "", "%v", err)
	}
	return &postgres{Node: n, dir: c.DataDir, lock: lock}, nil
}

// localConfig translates the configuration and works out its defaults.
func localConfig(ctx context.Context, cfg Config, log zerolog.Logger) (local.Config, error) {
	b, err := pgserver.FindBinaries(ctx, pgserver.Search{PGCtl: cfg.PGCtl, Major: majorOf(cfg.PGData)})
	if err != nil {
		return local.Config{}, refuse(CodeSetup, err, "install PostgreSQL's server, or name its pg_ctl with --pgctl", "%v", err)
	}
	u, err := user.LookupId(fmt.Sprint(os.Geteuid()))
	if err != nil {
		return local.Config{}, refuse(CodeSetup, err, "give the user an entry in /etc/passwd", "find out who runs this: %v", err)
	}
	return local.Config{
		DataDir: cfg.PGData, Binaries: b, StateDir: cfg.StateDir,
		Port: cfg.Port, Listen: cfg.Listen, SocketDir: SocketDir(cfg), Superuser: u.Username, Username: cfg.Username,
		PasswordFile: cfg.PasswordFile, Auth: cfg.Auth, TLS: local.TLS(cfg.SSL), SkipHBA: cfg.SkipHBA, LAN: cfg.LAN,
		Citus: cfg.Kind == fsm.KindCitus, Host: cfg.Host, Cluster: cfg.Cluster, BackupRate: cfg.BackupRate, Overrides: cfg.Overrides, NoSync: cfg.NoSync, Log: log,
	}, nil
}

// SocketDir returns where the Unix socket of a node is: as configured, else
// /var/run/postgresql where that can be written, else /tmp.
func SocketDir(cfg Config) string {
	const usual = "/var/run/postgresql"
	switch {
	case cfg.SocketDir != "":
		return cfg.SocketDir
	case unix.Access(usual, unix.W_OK|unix.X_OK) == nil:
		return usual
	default:
		return "/tmp"
	}
}

// majorOf returns the major version of a data directory, 0 where there is none:
// it chooses among several installations.
func majorOf(dataDir string) int {
	text, err := os.ReadFile(dataDir + "/PG_VERSION")
	if err != nil {
		return 0
	}
	var major int
	if _, err := fmt.Sscan(string(text), &major); err != nil {
		return 0
	}
	return major
}

// Observe remembers the system identifier on its way. Each step follows a look, so
// that nothing is done to a directory that another keeper works on: one that was
// created, copied or put into its place since the last look is locked here.
func (p *postgres) Observe(ctx context.Context, goal fsm.Goal) (fsm.Facts, error) {
	if err := p.lock.Hold(p.dir); err != nil {
		return fsm.Facts{}, err
	}
	f, err := p.Node.Observe(ctx, goal)
	if f.Data.SystemID != 0 {
		p.systemID.Store(f.Data.SystemID)
	}
	return f, err
}

// SystemID returns the system identifier as it was last seen; 0 for no data, or
// before the first look.
func (p *postgres) SystemID() uint64 { return p.systemID.Load() }
