package keeper

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/autoctl/autoctl/fsm"
)

// Config describes one node: what its configuration file says, decoded. The
// file itself, its defaults and the environment are the command line's business.
type Config struct {
	// PGData is the absolute path of the data directory.
	PGData string
	// PGCtl is the path of the pg_ctl of the installation to use; empty for the
	// only one installed.
	PGCtl string
	// StateDir holds what the keeper must remember: outside PGData.
	StateDir string
	// SocketDir is where the server's Unix socket is; empty for
	// /var/run/postgresql where it can be written, else /tmp.
	SocketDir string
	Port      int
	Listen    string
	// Username is the applications' role, created with a new cluster; empty for
	// none beside the operating system's user.
	Username string
	Database string

	Name      string
	Host      string
	Formation string
	Kind      fsm.Kind
	// Group is -1 where the monitor chooses.
	Group    int
	Priority int
	Quorum   bool

	// Cluster is the Citus cluster name of a read replica; empty for all other
	// nodes. ProxyPort is where a connection pooler on this machine takes what
	// other nodes of a Citus formation send to this one; 0 for none.
	Cluster   string
	ProxyPort int

	// Monitor is its URI, without a password; empty where it is disabled.
	Monitor string

	SSL SSL
	// Auth is trust, scram-sha-256 or cert.
	Auth    string
	SkipHBA bool
	LAN     bool
	// PasswordFile holds the password of autoctl_replicator, alone in its first
	// line; empty for none.
	PasswordFile string
	// BackupRate limits base backups, such as "100M"; empty for no limit.
	BackupRate string

	// Overrides win over the server parameters that we set, and NoSync leaves new
	// clusters unsynced: for demonstrations and tests, which can do without fsync.
	Overrides map[string]string
	NoSync    bool
}

// SSL says how the server's TLS is set up. Without a certificate it is off.
type SSL struct {
	// Mode is the sslmode of clients and of replication; empty for prefer.
	Mode               string
	CA, CRL, Cert, Key string
}

// Validate checks all values together and returns every complaint.
func (c Config) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!filepath.IsAbs(c.PGData), "data directory %q is not an absolute path", c.PGData)
	bad(!filepath.IsAbs(c.StateDir), "state directory %q is not an absolute path", c.StateDir)
	bad(inside(c.StateDir, c.PGData), "state directory %s is inside the data directory, which a rebuild replaces", c.StateDir)
	bad(c.Port < 1 || c.Port > 65535, "port %d: must be between 1 and 65535", c.Port)
	bad(c.Priority < 0 || c.Priority > 100, "candidate priority %d: must be between 0 and 100", c.Priority)
	bad(c.Group < -1, "group %d: must be 0 or more", c.Group)
	bad(c.ProxyPort < 0 || c.ProxyPort > 65535, "proxy port %d: must be between 1 and 65535, or 0 for none", c.ProxyPort)
	bad(c.ProxyPort != 0 && c.ProxyPort == c.Port, "proxy port %d is the server's own", c.ProxyPort)
	bad((c.Cluster != "" || c.ProxyPort != 0) && c.Kind != fsm.KindCitus, "read replicas and proxy ports are of Citus formations")
	bad(c.Cluster == "default", "a Citus cluster cannot be called default: that is the primaries' own")
	bad(c.Formation == "", "no formation is named")
	bad(c.Host != "" && !plausibleHost(c.Host), "hostname %q is neither a host name nor an address", c.Host)
	bad((c.SSL.Cert == "") != (c.SSL.Key == ""), "a certificate and its key come together: give both")
	switch c.Auth {
	case "trust", "scram-sha-256", "cert":
	default:
		bad(true, "authentication method %q: must be trust, scram-sha-256 or cert", c.Auth)
	}
	bad(c.Auth == "cert" && (c.SSL.Cert == "" || c.SSL.CA == ""), "authentication by certificate needs a server certificate, its key and the authority's certificate")
	bad(c.Auth == "scram-sha-256" && c.PasswordFile == "" && !c.SkipHBA, "authentication by scram-sha-256 needs the password of autoctl_replicator in a file")
	return errors.Join(errs...)
}

func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// plausibleHost accepts addresses and names as resolvers take them.
func plausibleHost(h string) bool {
	if net.ParseIP(h) != nil {
		return true
	}
	return h != "" && len(h) <= 253 && !strings.ContainsFunc(h, func(r rune) bool {
		letter := r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r))
		return !letter && !strings.ContainsRune(".-_", r)
	})
}
