package local

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// Parameters of our own: PostgreSQL keeps what has a dot in its name without a meaning. A session that shows our fingerprint has read exactly the
// files that we wrote; the other names the upstream for whoever reads the file back.
const (
	fingerprintParam = "autoctl.fingerprint"
	upstreamParam    = "autoctl.upstream"
)

// closedSet cannot be satisfied: nothing may connect under that name (S8).
const closedSet = `ANY 1 ("autoctl_closed")`

// StandbyName is the name of a node's slot and of its connections as a standby: unique by the slot's exclusivity, and by the node's token (S11).
func StandbyName(node fsm.NodeID, token string) string {
	return fmt.Sprintf("autoctl_standby_%d_%s", node, token)
}

// SyncNames renders a configuration as synchronous_standby_names; nil is the set that cannot be satisfied.
func SyncNames(c *fsm.Configuration, peers []fsm.Peer) string {
	if c == nil {
		return closedSet
	}
	if c.K == 0 {
		return ""
	}
	if len(c.Members) == 0 {
		return closedSet
	}
	var names []string
	for _, node := range nodesOf(c) {
		names = append(names, `"`+StandbyName(node, tokenOf(node, peers))+`"`)
	}
	return fmt.Sprintf("ANY %d (%s)", c.K, strings.Join(names, ", "))
}

// nodesOf lists the members' nodes, each once: a change of the set that was overtaken may name two data generations of one.
func nodesOf(c *fsm.Configuration) []fsm.NodeID {
	var nodes []fsm.NodeID
	for _, m := range c.Members {
		if !slices.Contains(nodes, m.Node) {
			nodes = append(nodes, m.Node)
		}
	}
	return nodes
}

// tokenOf returns a node's token. A member that is no peer any more cannot connect, and so gets a name that nobody has.
func tokenOf(node fsm.NodeID, peers []fsm.Peer) string {
	for _, p := range peers {
		if p.Node == node {
			return p.Token
		}
	}
	return "gone"
}

// ownName is this node's own standby name.
func (n *Node) ownName() string {
	m := n.memory.Get()
	return StandbyName(m.Node, m.Token)
}

// params returns the content of our include file, without the fingerprint.
func (n *Node) params(dir string, f fsm.Files) (conf.Params, error) {
	user, err := userParams(dir)
	if err != nil {
		return nil, err
	}
	p := conf.Params{
		"listen_addresses": n.config().Listen, "port": strconv.Itoa(n.config().Port), "unix_socket_directories": n.config().SocketDir,
		"wal_level": oneOf(user["wal_level"], "replica", "logical"), "hot_standby": "on", "fsync": "on", "full_page_writes": "on",
		"synchronous_commit":    oneOf(user["synchronous_commit"], "on", "remote_apply"),
		"max_wal_senders":       atLeast(user["max_wal_senders"], 10),
		"max_replication_slots": atLeast(user["max_replication_slots"], 10),
		"wal_keep_size":         "128MB", "max_slot_wal_keep_size": n.slotKeep(),
		"wal_retrieve_retry_interval":  millis(f.Settings.WALRetrieveRetryMS),
		"wal_receiver_status_interval": strconv.FormatInt(max(1, f.Settings.WALReceiverStatusMS/1000), 10) + "s",
		"wal_receiver_timeout":         millis(f.Settings.WALReceiverTimeoutMS),
		"wal_sender_timeout":           millis(f.Settings.WALSenderTimeoutMS),
		"synchronous_standby_names":    SyncNames(f.Configuration, f.Peers),
		"restart_after_crash":          "off", "recovery_target_timeline": "latest", "restore_command": "",
		"primary_conninfo": "", "primary_slot_name": "", upstreamParam: "0",
		"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
	}
	if n.config().Listen == "" {
		p["listen_addresses"] = "*"
	}
	n.versionParams(p, user)
	n.tlsParams(p)
	if err := n.upstreamParams(p, f); err != nil {
		return nil, err
	}
	if err := n.citusParams(p, user); err != nil {
		return nil, err
	}
	if f.Standby {
		n.matchPrimary(p, user, f.Limits)
	}
	maps.Copy(p, n.config().Overrides)
	if dir == n.config().DataDir {
		n.noteLimits(p, user)
	}
	return p, nil
}

// usualLimits are PostgreSQL's defaults of what a standby must match or exceed.
var usualLimits = fsm.Limits{Connections: 100, Workers: 8, Senders: 10, Prepared: 0, Locks: 64}

// noteLimits remembers, for reports, what the files ask for.
func (n *Node) noteLimits(p, user conf.Params) {
	limits := usualLimits
	for name, limit := range limits.ByName() {
		for _, params := range []conf.Params{user, p} {
			if v, err := strconv.Atoi(params[name]); err == nil {
				*limit = v
			}
		}
	}
	n.mu.Lock()
	news := n.limits != limits
	n.limits = limits
	n.mu.Unlock()
	if news {
		n.signal()
	}
}

func (n *Node) versionParams(p, user conf.Params) {
	if n.config().Binaries.Version.IdleSlotTimeout() {
		p["idle_replication_slot_timeout"] = "0"
	}
	if !n.config().Binaries.Version.ReloadsRestoreCommand() {
		delete(p, "restore_command")
	}
	if n.config().Binaries.Version.RecoveryInitSyncMethod() && disk.TellsLostWrites() {
		// A sync for each of a thousand files delays every start after a crash or a copy, and the neighbours on the same disk.
		p["recovery_init_sync_method"] = oneOf(user["recovery_init_sync_method"], "syncfs", "fsync")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.data.control(); c.SystemIdentifier != 0 && !c.Checksums {
		p["wal_log_hints"] = "on"
	}
}

func (n *Node) tlsParams(p conf.Params) {
	if n.config().TLS.Cert == "" {
		return
	}
	p["ssl"], p["ssl_cert_file"], p["ssl_key_file"] = "on", n.config().TLS.Cert, n.config().TLS.Key
	p["ssl_ca_file"], p["ssl_crl_file"] = n.config().TLS.CA, n.config().TLS.CRL
}

func (n *Node) upstreamParams(p conf.Params, f fsm.Files) error {
	if f.Upstream == nil {
		return nil
	}
	source, err := n.conninfo(*f.Upstream, n.ownName(), "").Render()
	if err != nil {
		return fmt.Errorf("render primary_conninfo: %w", err)
	}
	p["primary_conninfo"], p["primary_slot_name"] = source, n.ownName()
	p[upstreamParam] = strconv.FormatInt(int64(f.Upstream.Node), 10)
	return nil
}

// matchPrimary raises what a standby must match or exceed to what the log says that the primary has, or the primary's files say that it will have: a
// standby would stop, or pause, otherwise.
func (n *Node) matchPrimary(p, user conf.Params, wanted fsm.Limits) {
	n.mu.Lock()
	primary := n.data.control().Settings
	n.mu.Unlock()
	least := wanted.ByName()
	for name, usual := range usualLimits.ByName() {
		own := user[name]
		if v, ours := p[name]; ours {
			own = v
		}
		if own == "" {
			own = strconv.Itoa(*usual)
		}
		need := max(primary[name], *least[name])
		if have, err := strconv.Atoi(own); err == nil && need > have {
			p[name] = strconv.Itoa(need)
		}
	}
}

// userParams are the settings of the user's own files.
func userParams(dir string) (conf.Params, error) {
	p, err := conf.Read(filepath.Join(dir, "postgresql.conf"))
	if err != nil {
		return nil, err
	}
	auto, err := conf.ReadAuto(dir)
	if err != nil {
		return nil, err
	}
	maps.Copy(p, auto)
	return p, nil
}

func oneOf(value string, allowed ...string) string {
	for _, a := range allowed {
		if value == a {
			return a
		}
	}
	return allowed[0]
}

func atLeast(value string, least int) string {
	if v, err := strconv.Atoi(value); err == nil && v > least {
		return value
	}
	return strconv.Itoa(least)
}

func millis(v int64) string { return strconv.FormatInt(v, 10) + "ms" }

// slotKeep bounds what a dead standby can keep on our disk: a quarter of what was free when we first wrote our file, between 1 and 64 GB.
func (n *Node) slotKeep() string {
	if p, err := conf.ReadInclude(n.config().DataDir); err == nil && p["max_slot_wal_keep_size"] != "" {
		return p["max_slot_wal_keep_size"]
	}
	free, err := disk.Free(n.config().DataDir)
	if err != nil {
		free = 0
	}
	return strconv.FormatInt(min(max(free/4>>20, 1<<10), 64<<10), 10) + "MB"
}

// conninfo says how to reach an upstream as the replication role; database "" is for streaming.
func (n *Node) conninfo(u fsm.Upstream, application, database string) conninfo.Params {
	p := conninfo.Params{
		"host": u.Host, "port": strconv.Itoa(u.Port), "user": Replicator, "application_name": application, "dbname": database,
		"connect_timeout": "3", "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3",
		"sslmode": n.sslMode(),
	}
	if n.config().PasswordFile != "" {
		p["passfile"] = n.passfile()
	}
	if n.config().TLS.CA != "" {
		p["sslrootcert"] = n.config().TLS.CA
	}
	if n.config().Auth == "cert" {
		p["sslcert"], p["sslkey"] = n.clientCertificate()
	}
	return p
}

func (n *Node) sslMode() string {
	if n.config().TLS.Mode == "" {
		return "prefer"
	}
	return n.config().TLS.Mode
}

func (n *Node) passfile() string { return filepath.Join(n.config().StateDir, "replication.pgpass") }

// writePassfile turns the password file into one that libpq reads, for PostgreSQL's WAL receiver and the tools. It is ours alone to read.
func (n *Node) writePassfile() error {
	if n.config().PasswordFile == "" {
		return nil
	}
	password, err := n.password()
	if err != nil {
		return err
	}
	escaped := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password)
	if _, err := disk.WriteFile(n.passfile(), []byte("*:*:*:"+Replicator+":"+escaped+"\n"), 0o600); err != nil {
		return fmt.Errorf("write password file for replication: %w", err)
	}
	return nil
}

// password returns the first line of the password file.
func (n *Node) password() (string, error) {
	data, err := os.ReadFile(n.config().PasswordFile)
	if err != nil {
		return "", fmt.Errorf("read password of %s: %w", Replicator, err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimRight(line, "\r"), nil
}

// fingerprint stands for the content of files.
func fingerprint(contents ...[]byte) string {
	h := sha256.New()
	for _, c := range contents {
		_, _ = fmt.Fprintf(h, "%d:", len(c)) // a hash never fails
		_, _ = h.Write(c)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}
