package local

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
)

// Replicator is the role as which standbys stream, copy and rewind. It is no superuser.
const Replicator = "autoctl_replicator"

// Prober is the role that probes name. It need not exist: a probe gets no further than the handshake.
const Prober = "autoctl_probe"

// Memory is the keeper's durable memory; package state has it. When Update returns an error nothing has changed.
type Memory interface {
	Get() fsm.Memory
	Update(change func(*fsm.Memory)) error
}

// Config describes the PostgreSQL of a node.
type Config struct {
	// DataDir is absolute. Its configuration files are inside.
	DataDir  string
	Binaries pgserver.Binaries
	// StateDir is the keeper's own directory, outside DataDir; the server's log and the password file for replication are kept there.
	StateDir string
	// LogFile gets what the server prints; StateDir/postgresql.log when empty.
	LogFile string

	Port      int
	Listen    string
	SocketDir string
	// Superuser is the role as which the keeper connects, by the Unix socket: the operating system's user of that name.
	Superuser string
	// Username is the applications' role and is created with a new cluster; empty for none.
	Username string

	// PasswordFile holds the password of [Replicator] alone in its first line; empty for none.
	PasswordFile string
	// Auth is the method for peers and, with LAN, for clients: trust, scram-sha-256 or cert.
	Auth string
	TLS  TLS
	// SkipHBA leaves pg_hba.conf to the user, but for the crash gate; LAN admits clients from the networks of this machine.
	SkipHBA bool
	LAN     bool

	// Citus says that the node belongs to a Citus formation; Host is then the name under which the others, and its own Citus, reach it.
	Citus bool
	Host  string
	// Cluster is the Citus cluster name of a read replica, whose queries read from the read replicas of that cluster; empty for all other nodes.
	Cluster string

	// BackupRate limits base backups, as pg_basebackup writes it; empty for no limit.
	BackupRate string
	// Overrides win over the parameters that we set. They are for demonstrations and tests, which can do without fsync.
	Overrides conf.Params
	// NoSync leaves new clusters and copies unsynced: for demonstrations and tests.
	NoSync bool

	Log zerolog.Logger
}

// TLS names the server's certificate and how clients of ours use TLS. Without a certificate the server has none.
type TLS struct {
	// Mode is the sslmode of replication; prefer when empty.
	Mode               string
	CA, CRL, Cert, Key string
}

func (c Config) withDefaults() Config {
	if c.LogFile == "" {
		c.LogFile = filepath.Join(c.StateDir, "postgresql.log")
	}
	if c.Auth == "" {
		c.Auth = "scram-sha-256"
	}
	return c
}

// Validate returns every complaint about c, joined.
func (c Config) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!filepath.IsAbs(c.DataDir), "data directory %q is not an absolute path", c.DataDir)
	bad(!filepath.IsAbs(c.StateDir), "state directory %q is not an absolute path", c.StateDir)
	bad(!filepath.IsAbs(c.SocketDir), "socket directory %q is not an absolute path", c.SocketDir)
	bad(c.Port < 1 || c.Port > 65535, "port %d: must be between 1 and 65535", c.Port)
	bad(c.Superuser == "", "no superuser is named")
	bad(c.Binaries.Dir == "", "no PostgreSQL programs are named")
	return errors.Join(errs...)
}
