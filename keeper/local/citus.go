package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

// citusLibrary is the extension, and the library that must be the first of those that the server loads.
const citusLibrary = "citus"

// citusParams adds what a node of a Citus formation needs beside what every node has. Citus' own defaults let one node that hangs delay all others for 90 s,
// and tell the others of a moved node after a minute.
func (n *Node) citusParams(p, user conf.Params) error {
	if !n.config().Citus {
		return nil
	}
	p["shared_preload_libraries"] = preload(user["shared_preload_libraries"])
	p["wal_level"] = "logical"
	connections := max(number(user["max_connections"]), usualLimits.Connections)
	// Citus replaces 0 by this at the start, which a standby does not know of its primary.
	p["max_prepared_transactions"] = atLeast(user["max_prepared_transactions"], 2*connections)
	p["max_worker_processes"] = atLeast(user["max_worker_processes"], 24)
	p["max_locks_per_transaction"] = atLeast(user["max_locks_per_transaction"], 128)
	p["max_wal_senders"] = atLeast(user["max_wal_senders"], 20)
	p["max_replication_slots"] = atLeast(user["max_replication_slots"], 20)
	p["max_logical_replication_workers"] = atLeast(user["max_logical_replication_workers"], 8)
	// The sessions of an initiator whose host vanished keep their locks until then.
	p["tcp_keepalives_interval"], p["tcp_user_timeout"] = "3", "15s"
	between, err := n.between().Render()
	if err != nil {
		return fmt.Errorf("render citus.node_conninfo: %w", err)
	}
	p["citus.node_conninfo"] = between
	p["citus.local_hostname"] = n.config().Host
	p["citus.node_connection_timeout"] = "2000ms"
	p["citus.metadata_sync_interval"], p["citus.metadata_sync_retry_interval"] = "2000ms", "1000ms"
	p["citus.recover_2pc_interval"] = "10s"
	p["citus.enable_statistics_collection"] = "off"
	// The default compares the addresses of shards with those of nodes, which are not read at the same time: a query that is planned while an address changes fails.
	if user["citus.task_assignment_policy"] == "" {
		p["citus.task_assignment_policy"] = "first-replica"
	}
	p["citus.use_secondary_nodes"], p["citus.cluster_name"] = "never", "default"
	if n.config().Cluster != "" {
		p["citus.use_secondary_nodes"], p["citus.cluster_name"] = "always", n.config().Cluster
	}
	return nil
}

// preload puts Citus before the libraries that the user wants: it refuses to be loaded after another.
func preload(user string) string {
	libraries := []string{citusLibrary}
	for name := range strings.SplitSeq(user, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		if name != "" && !slices.Contains(libraries, name) {
			libraries = append(libraries, name)
		}
	}
	return strings.Join(libraries, ",")
}

func number(text string) int {
	v, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return v
}

// between says how the nodes of a formation connect to each other.
func (n *Node) between() conninfo.Params {
	p := conninfo.Params{
		"sslmode": n.sslMode(), "keepalives": "1", "keepalives_idle": "5", "keepalives_interval": "2", "keepalives_count": "3", "tcp_user_timeout": "10000",
	}
	if n.config().TLS.CA != "" {
		p["sslrootcert"] = n.config().TLS.CA
	}
	if n.config().Auth == "cert" {
		p["sslcert"], p["sslkey"] = n.clientCertificate()
	}
	return p
}

// fellowRules admit the nodes of the formation to its databases, in whatever role a query runs: any node of a Citus formation sends queries to any other, and to
// itself by its own name.
func (n *Node) fellowRules(f fsm.Files) []hba.Rule {
	if !n.config().Citus || f.Database == "" {
		return nil
	}
	hosts := []string{n.config().Host}
	for _, p := range f.Peers {
		hosts = append(hosts, p.Host)
	}
	for _, p := range f.Fellows {
		hosts = append(hosts, p.Host)
	}
	slices.Sort(hosts)
	databases := append([]string{f.Database}, f.Databases...)
	var rules []hba.Rule
	for _, host := range slices.Compact(hosts) {
		if host == "" {
			continue
		}
		for _, address := range n.peerAddresses(host) {
			r := n.host(databases, []string{hba.All}, address)
			if r.Method == "cert" {
				// The nodes' own certificates are good for the roles of the map. Another role needs one of its own, which pg_dist_authinfo names.
				known := n.host(databases, n.certificateRoles(), address)
				known.Options = []hba.Option{{Name: "map", Value: identMap}}
				rules = append(rules, known)
			}
			rules = append(rules, r)
		}
	}
	return rules
}

// EnsureDatabase makes a further database of the formation, with the extension, on a server that serves. It writes nothing when all is there.
func (n *Node) EnsureDatabase(ctx context.Context, database string) error {
	ctx, cancel := context.WithTimeout(ctx, rolesTimeout)
	defer cancel()
	c, err := n.dial(ctx, "autoctl_roles")
	if err != nil {
		return err
	}
	defer closeConn(ctx, c)
	if err := n.ensureDatabase(ctx, c, database); err != nil {
		return fmt.Errorf("create database %q: %w", database, err)
	}
	made, err := n.ensureCitus(ctx, database)
	if err == nil && !made {
		err = errors.New("the server has not loaded the library yet")
	}
	if err != nil {
		return fmt.Errorf("create extension citus in database %q: %w", database, err)
	}
	return nil
}

// ensureCitus makes the extension in a database of the formation, on a server that has loaded it, and lets the nodes know each other's password. It reports whether the extension
// is there.
func (n *Node) ensureCitus(ctx context.Context, database string) (bool, error) {
	if !n.config().Citus || database == "" {
		return false, nil
	}
	c, err := n.dialTo(ctx, "autoctl_roles", database)
	if err != nil {
		return false, err
	}
	defer closeConn(ctx, c)
	var libraries string
	var have bool
	err = c.QueryRow(ctx, `select current_setting('shared_preload_libraries'), exists (select from pg_extension where extname = 'citus')`).Scan(&libraries, &have)
	if err != nil {
		return false, err
	}
	if !strings.Contains(libraries, citusLibrary) {
		return false, nil // it is made after the restart that loads the library
	}
	if !have {
		if _, err := c.Exec(ctx, `create extension if not exists citus`); err != nil {
			return false, err
		}
	}
	return true, n.ensureCredentials(ctx, c)
}

// ensureCredentials lets the nodes' superuser in with the formation's password, where he has none of his own, and tells Citus that password. Both are kept out of
// the server's log (P7).
func (n *Node) ensureCredentials(ctx context.Context, c *pgx.Conn) error {
	if n.config().PasswordFile == "" || n.config().Auth != "scram-sha-256" {
		return nil
	}
	password, err := n.password()
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `set log_statement = 'none'; set log_min_duration_statement = -1; set log_min_error_statement = 'panic'`); err != nil {
		return err
	}
	var verifier string
	if err := c.QueryRow(ctx, `select coalesce(rolpassword, '') from pg_authid where rolname = current_user`).Scan(&verifier); err != nil {
		return err
	}
	if verifier == "" {
		if err := n.setPassword(ctx, c, n.config().Superuser, password); err != nil {
			return err
		}
	}
	info := "password=" + conninfo.Quote(password)
	_, err = c.Exec(ctx, `insert into pg_dist_authinfo (nodeid, rolename, authinfo) values (0, $1, $2)
		on conflict (nodeid, rolename) do update set authinfo = excluded.authinfo where pg_dist_authinfo.authinfo <> excluded.authinfo`, n.config().Superuser, info)
	return err
}

// DialFellow opens a session with the server of another node of the formation, in a database, as the superuser, who has the same name on all of them. Its
// commits wait for no standby: what is written there can be derived again.
func (n *Node) DialFellow(ctx context.Context, host string, port int, database string) (*pgx.Conn, error) {
	p := n.between()
	p["host"], p["port"], p["user"], p["dbname"] = host, strconv.Itoa(port), n.config().Superuser, database
	p["connect_timeout"], p["application_name"], p["target_session_attrs"] = "2", "autoctl_citus", "any"
	delete(p, "keepalives_idle")
	delete(p, "keepalives_interval")
	delete(p, "keepalives_count")
	delete(p, "keepalives")
	delete(p, "tcp_user_timeout") // libpq's words, which pgx does not know
	text, err := p.Render()
	if err != nil {
		return nil, fmt.Errorf("connect to %s:%d: %w", host, port, err)
	}
	cfg, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("connect to %s:%d: unusable settings", host, port)
	}
	if n.config().PasswordFile != "" {
		if cfg.Password, err = n.password(); err != nil {
			return nil, err
		}
	}
	cfg.RuntimeParams["synchronous_commit"] = "local"
	cfg.RuntimeParams["search_path"] = "pg_catalog"
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to %s:%d: %w", host, port, err)
	}
	return conn, nil
}

// DialOwn opens a session with this node's own server, by its socket.
func (n *Node) DialOwn(ctx context.Context, database string) (*pgx.Conn, error) {
	return n.dialTo(ctx, "autoctl_citus", database)
}

// serverEnv is what the server's environment has beside the keeper's. Citus is a client of other servers: libpq looks for certificates in the home directory,
// and fails where it may not look.
func (n *Node) serverEnv() []string {
	if !n.config().Citus {
		return nil
	}
	home, err := os.UserHomeDir()
	if err == nil && unix.Access(home, unix.R_OK|unix.X_OK) == nil {
		return nil
	}
	return []string{"HOME=" + n.config().StateDir}
}
