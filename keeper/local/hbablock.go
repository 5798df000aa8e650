package local

import (
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

// block returns our part of pg_hba.conf. The gate keeps everybody out but the keeper, the standbys that must confirm the end of the log, and their
// keepers' questions; a user who writes pg_hba.conf himself still gets the gate.
func (n *Node) block(f fsm.Files) hba.Block {
	ours := n.rules(f)
	b := hba.Block{Rules: ours}
	if f.Gate {
		b.Gate = &hba.Gate{Admit: ours}
	}
	if n.config().SkipHBA {
		b.Rules = nil
		return b
	}
	b.Rules = append(b.Rules, n.fellowRules(f)...)
	if n.config().LAN {
		b.Rules = append(b.Rules, n.host([]string{hba.All}, []string{hba.All}, "samenet"))
	}
	return b
}

// rules admit the keeper, its peers, and probes.
func (n *Node) rules(f fsm.Files) []hba.Rule {
	var rules []hba.Rule
	if u, err := user.LookupId(strconv.Itoa(os.Geteuid())); err == nil && u.Username == n.config().Superuser {
		rules = append(rules,
			hba.Rule{Type: hba.Local, Databases: []string{hba.All}, Users: []string{n.config().Superuser}, Method: "peer"})
	}
	written := map[string]bool{} // several peers may be on one host
	for _, p := range f.Peers {
		for _, address := range n.peerAddresses(p.Host) {
			if written[address] {
				continue
			}
			written[address] = true
			rules = append(rules, n.peer(hba.Replication, address), n.peer("postgres", address))
		}
	}
	return append(rules, hba.Rule{Type: hba.Host, Databases: []string{hba.All}, Users: []string{Prober}, Address: "all", Method: "scram-sha-256"})
}

// peer is a rule for another node, which may come with a certificate that does not bear the role's name.
func (n *Node) peer(database, address string) hba.Rule {
	r := n.host([]string{database}, []string{Replicator}, address)
	if r.Method == "cert" {
		r.Options = []hba.Option{{Name: "map", Value: identMap}}
	}
	return r
}

// host is a rule for connections by TCP, with the method that the node was set up with.
func (n *Node) host(databases, users []string, address string) hba.Rule {
	r := hba.Rule{Type: hba.Host, Databases: databases, Users: users, Address: address, Method: n.config().Auth}
	if n.config().TLS.Cert != "" && (n.config().TLS.Mode == "require" || n.config().TLS.Mode == "verify-ca" || n.config().TLS.Mode == "verify-full" || n.config().Auth == "cert") {
		r.Type = hba.HostSSL
	}
	return r
}

// writeHBA replaces the file by content that was rendered from what it was; [disk.ErrChanged] says that somebody else edited it meanwhile.
func writeHBA(path string, was, content []byte) error {
	if _, err := disk.ReplaceFile(path, was, content, 0o600); err != nil {
		return fmt.Errorf("write pg_hba.conf: %w", err)
	}
	return nil
}
