package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

const (
	identFile = "pg_ident.conf"
	// identMap says which certificates are good for the replication role.
	identMap = "autoctl"
	// clientName is the common name of the certificate that clients of the monitor have: one certificate for everything is enough.
	clientName = "autoctl_node"
)

// renderIdent returns pg_ident.conf with the names under which peers come: those of autoctl's roles, and, for nodes that show their server's
// certificate, the peers' own. It is nil where certificates are not asked for and the file is the user's alone.
func (n *Node) renderIdent(dir string, f fsm.Files) ([]byte, error) {
	present, err := os.ReadFile(filepath.Join(dir, identFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", identFile, err)
	}
	var mappings []hba.Mapping
	if n.config().Auth == "cert" && !n.config().SkipHBA {
		names := []string{Replicator, clientName}
		for _, p := range f.Peers {
			if !slices.Contains(names, p.Host) {
				names = append(names, p.Host)
			}
		}
		for _, p := range f.Fellows {
			if !slices.Contains(names, p.Host) {
				names = append(names, p.Host)
			}
		}
		if n.config().Citus && !slices.Contains(names, n.config().Host) {
			names = append(names, n.config().Host)
		}
		for _, name := range names {
			for _, role := range n.certificateRoles() {
				mappings = append(mappings, hba.Mapping{Map: identMap, External: name, Role: role})
			}
		}
	}
	content, err := hba.ApplyIdent(present, mappings)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", identFile, err)
	}
	if mappings == nil && len(content) == len(present) {
		return nil, nil
	}
	return content, nil
}

// certificateRoles are the roles that a node's certificate is good for: on a node of a Citus formation, queries of other nodes come as the superuser and as the
// applications' role.
func (n *Node) certificateRoles() []string {
	roles := []string{Replicator}
	if n.config().Citus {
		roles = append(roles, n.config().Superuser)
		if n.config().Username != "" && n.config().Username != n.config().Superuser {
			roles = append(roles, n.config().Username)
		}
	}
	return roles
}

// writeIdent replaces the file where there is something of ours to write.
func writeIdent(dir string, content []byte) error {
	if content == nil {
		return nil
	}
	if _, err := disk.WriteFile(filepath.Join(dir, identFile), content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", identFile, err)
	}
	return nil
}

// clientCertificate is what this node shows to others: the certificate that libpq finds in the home directory, else that of the server.
func (n *Node) clientCertificate() (cert, key string) {
	home, err := os.UserHomeDir()
	if err == nil {
		cert, key = filepath.Join(home, ".postgresql", "postgresql.crt"), filepath.Join(home, ".postgresql", "postgresql.key")
		if exists(cert) && exists(key) {
			return cert, key
		}
	}
	return n.config().TLS.Cert, n.config().TLS.Key
}
