package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// The methods of authentication for clients of the monitor.
const (
	AuthTrust = "trust"
	AuthSCRAM = "scram-sha-256"
	AuthCert  = "cert"
)

// ClusterName is the cluster_name of a monitor's PostgreSQL: how its data directory is told from a node's.
const ClusterName = "autoctl_monitor"

// Names in the monitor's PostgreSQL.
const (
	Database = "autoctl"
	Role     = "autoctl_node"
)

// Config says how a monitor is created and run. Create and Run take the same one: Run rewrites the configuration files from it.
type Config struct {
	// DataDir is the data directory of the monitor's PostgreSQL.
	DataDir string
	// StateDir holds the incarnation file, the lock and the server's log. It must not be inside DataDir: a restored data directory
	// has to be told by it.
	StateDir string
	Binaries pgserver.Binaries
	Port     int
	// Listen is listen_addresses; empty for all.
	Listen string
	// SocketDir is where the Unix socket is; empty for /var/run/postgresql where that is writable, else /tmp.
	SocketDir string
	// Auth is how clients log in: AuthTrust, AuthSCRAM or AuthCert (which needs TLS with CAFile).
	Auth string
	// Networks are those from which clients may come, in pg_hba.conf's words; empty for all.
	Networks []string
	// SkipHBA leaves pg_hba.conf to the user.
	SkipHBA bool
	// TLS is the server's; without CertFile there is none.
	TLS TLS
	// NodePassword becomes the password of role autoctl_node when not empty (AuthSCRAM). It is never logged.
	NodePassword string
	// Parameters are more settings of the monitor's PostgreSQL, which win over ours.
	Parameters map[string]string
	// NoSync leaves a new cluster unsynced, as initdb --no-sync does: for tests and demonstrations.
	NoSync bool
	// LeaveRunning makes Create leave the server running, for a Run that follows at once and adopts it.
	LeaveRunning bool
	// Software is our version, told to clients.
	Software string
	// KeepEvents is how many of the newest events are kept whatever their age, EventAge how old others may get; 0 for 10000 and 30 days.
	KeepEvents int
	EventAge   time.Duration

	Log zerolog.Logger
	// Decide decides for a group; nil for fsm.Decide.
	Decide func(fsm.Group, fsm.Instant) fsm.Decision
	// Probe asks a node's server; nil for probe.Probe.
	Probe func(context.Context, probe.Target) probe.Result
}

// TLS names the files of the server's certificate.
type TLS struct {
	CertFile string
	KeyFile  string
	// CAFile checks the certificates of clients; empty asks for none.
	CAFile  string
	CRLFile string
}

// Validate checks what can be checked without looking at anything, and returns every complaint joined.
func (c Config) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!filepath.IsAbs(c.DataDir), "data directory %q is not an absolute path", c.DataDir)
	bad(!filepath.IsAbs(c.StateDir), "state directory %q is not an absolute path", c.StateDir)
	bad(within(c.DataDir, c.StateDir), "state directory %s is inside the data directory: a restored copy would bring it along", c.StateDir)
	bad(c.Port < 1 || c.Port > 65535, "port %d is out of range", c.Port)
	bad(c.Auth != AuthTrust && c.Auth != AuthSCRAM && c.Auth != AuthCert, "auth %q is none of trust, scram-sha-256, cert", c.Auth)
	bad((c.TLS.CertFile == "") != (c.TLS.KeyFile == ""), "a certificate and its key belong together: one of them is missing")
	bad(c.Auth == AuthCert && c.TLS.CAFile == "", "auth cert needs a certificate, a key, and the authority that signs the clients' certificates")
	bad(c.Auth == AuthCert && c.TLS.CertFile == "", "auth cert needs TLS")
	return errors.Join(errs...)
}

func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && (rel == "." || filepath.IsLocal(rel))
}

func (c Config) withDefaults() Config {
	if c.Decide == nil {
		c.Decide = fsm.Decide
	}
	if c.Probe == nil {
		c.Probe = probe.Probe
	}
	if c.Listen == "" {
		c.Listen = "*"
	}
	if c.SocketDir == "" {
		c.SocketDir = defaultSocketDir()
	}
	if len(c.Networks) == 0 {
		c.Networks = []string{"all"}
	}
	if c.KeepEvents <= 0 {
		c.KeepEvents = 10000
	}
	if c.EventAge <= 0 {
		c.EventAge = 30 * 24 * time.Hour
	}
	return c
}

// superuser is the name of the bootstrap superuser: the operating system's user, so that peer authentication lets us in.
func superuser() (string, error) {
	u, err := user.LookupId(fmt.Sprint(os.Geteuid()))
	if err != nil {
		return "", fmt.Errorf("find out who runs this: %w", err)
	}
	return u.Username, nil
}
