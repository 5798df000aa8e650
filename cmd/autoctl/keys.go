package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/autoctl/autoctl/fsm"
)

// key is one setting of the configuration file of a node or monitor.
type key struct {
	// name is section.option, as config get and set take it.
	name string
	// flag is the option of create and run that sets it; env the environment variable; both may be empty.
	flag, env string
	// ambient is PostgreSQL's own variable, consulted last, and by create only: a shell's PGPORT must not move a running node.
	ambient string
	def     any
	// monitor and keeper tell whose configuration has the key.
	monitor, keeper bool
	// check returns what is wrong with a value; nil allows all.
	check func(string) error
	doc   string
	// only names the create commands that have the option; nil for all.
	only []string
	// fixed keys cannot be changed by config set: the command that can is named in fixedHint.
	fixed     bool
	fixedHint string
}

// The values of ssl.source and of auth.method.
const (
	sslSelfSigned = "self-signed"
	sslFiles      = "files"
	sslOff        = "off"
)

const (
	roleMonitor = "monitor"
	roleKeeper  = "keeper"
)

// sections are the parts of the file in their order, with the comment above each.
func sections() [][2]string {
	return [][2]string{
		{"", ""},
		{"postgresql", "the PostgreSQL server on this machine"},
		{"node", "who this node is"},
		{"monitor", "where the monitor is"},
		{"ssl", "TLS of the server, and what its clients are asked to check"},
		{"auth", "how clients prove who they are"},
		{"replication", "copying and following the primary"},
		{"log", "what the daemon logs, to standard error"},
	}
}

// keys lists every key that a configuration file may have, in the order in which it is written.
func keys() []key {
	return []key{
		{name: "role", def: "", monitor: true, keeper: true, check: oneOf(roleMonitor, roleKeeper), fixed: true,
			fixedHint: "a data directory keeps its role", doc: "what \"autoctl run\" runs here: monitor or keeper"},
		{name: "postgresql.pgdata", flag: "pgdata", env: "AUTOCTL_PGDATA", ambient: "PGDATA", def: "", monitor: true, keeper: true, check: absolute,
			fixed: true, fixedHint: "the file belongs to one data directory", doc: "data directory"},
		{name: "postgresql.pgctl", flag: "pgctl", env: "AUTOCTL_PGCTL", def: "", monitor: true, keeper: true,
			doc: "path of the pg_ctl of the installation to use; empty: the only one installed"},
		{name: "postgresql.socket_directory", flag: "pghost", env: "AUTOCTL_PGHOST", def: "", monitor: true, keeper: true, check: absoluteOrEmpty,
			doc: "directory of the Unix socket; empty: that of a running server that is adopted, else /var/run/postgresql where it can be written, else /tmp"},
		{name: "postgresql.port", flag: "pgport", env: "AUTOCTL_PGPORT", ambient: "PGPORT", def: 5432, monitor: true, keeper: true, check: intBetween(1, 65535), doc: "port of PostgreSQL"},
		{name: "postgresql.listen", flag: "listen", env: "AUTOCTL_LISTEN", def: "*", monitor: true, keeper: true, check: oneLine, doc: "addresses to listen on (listen_addresses)"},
		{name: "postgresql.username", flag: "username", env: "AUTOCTL_USERNAME", ambient: "PGUSER", def: "", keeper: true, check: roleName,
			doc: "role that applications connect as, created when the node creates its cluster; empty: the operating system's user"},
		{name: "postgresql.database", flag: "dbname", env: "AUTOCTL_DBNAME", ambient: "PGDATABASE", def: "", keeper: true, check: roleName,
			doc: "database of the applications, created with the cluster; empty: the formation's"},

		{name: "node.name", flag: "name", env: "AUTOCTL_NAME", def: "", keeper: true, check: optional(nodeName), doc: "name in the formation; empty: the monitor gives one"},
		{name: "node.hostname", flag: "hostname", env: "AUTOCTL_HOSTNAME", def: "", monitor: true, keeper: true, check: optional(hostName), doc: "name or address under which the others reach this machine"},
		{name: "node.formation", flag: "formation", env: "AUTOCTL_FORMATION", def: "default", keeper: true, check: formationName, fixed: true,
			fixedHint: "drop the node and create it in the other formation", doc: "formation it belongs to"},
		{name: "node.kind", def: string(fsm.KindPgsql), keeper: true, check: oneOf(string(fsm.KindPgsql), string(fsm.KindCitus)), fixed: true,
			fixedHint: "drop the node and create it in a formation of the other kind", doc: "kind of the formation: pgsql or citus"},
		{name: "node.group", flag: "group", env: "AUTOCTL_GROUP", def: -1, keeper: true, check: intBetween(-1, math.MaxInt32), fixed: true,
			fixedHint: "drop the node and create it in the other group", doc: "group in the formation; -1: the monitor chooses"},
		{name: "node.candidate_priority", flag: "candidate-priority", env: "AUTOCTL_CANDIDATE_PRIORITY", def: 50, keeper: true, check: intBetween(0, 100), fixed: true,
			fixedHint: "autoctl set node candidate-priority", doc: "said when the node registers; later: autoctl set node candidate-priority"},
		{name: "node.replication_quorum", flag: "replication-quorum", env: "AUTOCTL_REPLICATION_QUORUM", def: true, keeper: true, check: boolean, fixed: true,
			fixedHint: "autoctl set node replication-quorum", doc: "said when the node registers; later: autoctl set node replication-quorum"},
		{name: "node.proxy_port", flag: "proxyport", env: "AUTOCTL_PROXYPORT", def: 0, keeper: true, check: intBetween(0, 65535), only: []string{"worker"},
			doc: "port of a connection pooler on this machine: written to pg_dist_poolinfo while the node serves; 0: none"},
		{name: "node.citus_secondary", flag: "citus-secondary", env: "AUTOCTL_CITUS_SECONDARY", def: false, keeper: true, check: boolean, only: []string{"coordinator", "worker"}, fixed: true,
			fixedHint: "drop the node and create it anew", doc: "a read replica that Citus knows of, in the cluster of --citus-cluster; it is never promoted"},
		{name: "node.citus_cluster", flag: "citus-cluster", env: "AUTOCTL_CITUS_CLUSTER", def: "", keeper: true, check: optional(citusCluster), only: []string{"coordinator", "worker"}, fixed: true,
			fixedHint: "drop the node and create it anew", doc: "Citus cluster name of a read replica: its queries read from the replicas of that cluster"},

		{name: "monitor.uri", flag: "monitor", env: "AUTOCTL_MONITOR", def: "", keeper: true, check: optional(monitorURI), fixed: true,
			fixedHint: "autoctl enable monitor", doc: "connection URI of the monitor, without a password (use .pgpass, passfile= or PGPASSWORD)"},

		{name: "ssl.source", env: "AUTOCTL_SSL", def: "", monitor: true, keeper: true, check: oneOf("", sslSelfSigned, sslFiles, sslOff), fixed: true,
			fixedHint: "autoctl enable ssl, autoctl disable ssl", doc: "self-signed (made by autoctl), files (yours) or off"},
		{name: "ssl.mode", flag: "ssl-mode", env: "AUTOCTL_SSL_MODE", def: "", monitor: true, keeper: true,
			check: oneOf("", "disable", "allow", "prefer", "require", "verify-ca", "verify-full"), doc: "sslmode of clients, in URIs and for replication; empty: verify-full with your own authority, require with self-signed, prefer with off"},
		{name: "ssl.ca_file", flag: "ssl-ca-file", env: "AUTOCTL_SSL_CA_FILE", def: "", monitor: true, keeper: true, check: absoluteOrEmpty, doc: "certificates of the authorities"},
		{name: "ssl.crl_file", flag: "ssl-crl-file", env: "AUTOCTL_SSL_CRL_FILE", def: "", monitor: true, keeper: true, check: absoluteOrEmpty, doc: "revoked certificates"},
		{name: "ssl.cert_file", flag: "server-cert", env: "AUTOCTL_SERVER_CERT", def: "", monitor: true, keeper: true, check: absoluteOrEmpty, doc: "certificate of the server"},
		{name: "ssl.key_file", flag: "server-key", env: "AUTOCTL_SERVER_KEY", def: "", monitor: true, keeper: true, check: absoluteOrEmpty, doc: "its key, mode 0600"},

		{name: "auth.method", flag: "auth", env: "AUTOCTL_AUTH", def: "scram-sha-256", monitor: true, keeper: true, check: oneOf("trust", "scram-sha-256", "cert"), doc: "trust, scram-sha-256 or cert, written to pg_hba.conf for the connections that autoctl makes"},
		{name: "auth.skip_pg_hba", flag: "skip-pg-hba", env: "AUTOCTL_SKIP_PG_HBA", def: false, monitor: true, keeper: true, check: boolean, doc: "leave pg_hba.conf to you, except for the gate of a restarted primary"},
		{name: "auth.pg_hba_lan", flag: "pg-hba-lan", env: "AUTOCTL_PG_HBA_LAN", def: false, monitor: true, keeper: true, check: boolean, doc: "also admit applications from the local network"},
		{name: "auth.password_file", flag: "password-file", env: "AUTOCTL_PASSWORD_FILE", def: "", monitor: true, keeper: true, check: absoluteOrEmpty,
			doc: "file with the password of autoctl's own role here: autoctl_node on a monitor, autoctl_replicator on a node (mode 0600; the same on all nodes of a formation)"},

		{name: "replication.maximum_backup_rate", flag: "maximum-backup-rate", env: "AUTOCTL_MAXIMUM_BACKUP_RATE", def: "", keeper: true, check: backupRate, doc: "limit of base backups, such as 100M; empty: none"},

		{name: "log.level", env: "AUTOCTL_LOG_LEVEL", def: "info", monitor: true, keeper: true, check: oneOf("error", "warn", "info", "debug", "trace"), doc: "error, warn, info, debug or trace"},
		{name: "log.format", env: "AUTOCTL_LOG_FORMAT", def: "auto", monitor: true, keeper: true, check: oneOf("auto", "text", "json"), doc: "text, json, or auto: text on a terminal; from the daemon's next start"},
	}
}

// has reports whether the configuration of role has the key.
func (k key) has(role string) bool {
	return role == roleMonitor && k.monitor || role == roleKeeper && k.keeper || role == ""
}

// keyNames returns the names of the keys of role.
func keyNames(role string) []string {
	var names []string
	for _, k := range keys() {
		if k.has(role) {
			names = append(names, k.name)
		}
	}
	return names
}

// takes says how a running daemon takes a changed value.
func (k key) takes() string {
	switch k.name {
	case "postgresql.port", "postgresql.socket_directory", "postgresql.pgctl":
		return `It counts from the next start: "autoctl stop", then "autoctl run".`
	}
	return `"autoctl reload" makes a running daemon take it.`
}

func findKey(name string) (key, error) {
	all := keys()
	if i := slices.IndexFunc(all, func(k key) bool { return k.name == name }); i >= 0 {
		return all[i], nil
	}
	return key{}, unknownKey(classUsage, "", name)
}

func unknownKey(c class, where, name string) error {
	hint := `"autoctl config get" lists the keys`
	var titles []string
	for _, s := range sections() {
		titles = append(titles, s[0])
	}
	if near := nearest(name, titles); near != "" && !strings.Contains(name, ".") {
		hint = fmt.Sprintf("did you mean the section %s?", near)
	} else if near := nearestKey(name); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return fail(c, hint, "%sunknown key %q", where, name)
}

// nearestKey compares whole names, and options alone: the right option in the wrong section is a likely slip.
func nearestKey(name string) string {
	names := keyNames("")
	option := name[strings.LastIndexByte(name, '.')+1:]
	for _, n := range names {
		if n[strings.LastIndexByte(n, '.')+1:] == option {
			return n
		}
	}
	return nearest(name, names)
}

func oneOf(values ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(values, s) {
			return nil
		}
		return fmt.Errorf("is %q: must be one of %s", s, strings.Join(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" }), ", "))
	}
}

func intBetween(low, high int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("is %q: must be a whole number", s)
		}
		if n < low || n > high {
			return fmt.Errorf("is %d: must be between %d and %d", n, low, high)
		}
		return nil
	}
}

func boolean(s string) error {
	if _, err := parseBool(s); err != nil {
		return err
	}
	return nil
}

// parseBool reads the words that PostgreSQL reads.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "1":
		return true, nil
	case "false", "off", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("is %q: must be true or false", s)
}

func optional(check func(string) error) func(string) error {
	return func(s string) error {
		if s == "" {
			return nil
		}
		return check(s)
	}
}

func absolute(s string) error {
	if !filepath.IsAbs(s) {
		return fmt.Errorf("is %q: must be an absolute path", s)
	}
	return oneLine(s)
}

func absoluteOrEmpty(s string) error { return optional(absolute)(s) }

func oneLine(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("is %q: must be text without control characters", s)
	}
	return nil
}

// nodeName allows any printable name: whoever writes it into a file, SQL or a terminal quotes it there.
func nodeName(s string) error {
	switch {
	case s == "":
		return errors.New("is empty: must have 1 to 63 characters")
	case !utf8.ValidString(s):
		return fmt.Errorf("is %q: must be valid UTF-8", s)
	case utf8.RuneCountInString(s) > 63:
		return fmt.Errorf("has %d characters: at most 63 are allowed", utf8.RuneCountInString(s))
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("is %q: must not hold control characters", s)
	case strings.TrimSpace(s) != s:
		return fmt.Errorf("is %q: must not begin or end with a space", s)
	}
	return nil
}

// formationName follows nodeName and leaves out what would be awkward in a path or a URI.
func formationName(s string) error {
	if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,62}$`).MatchString(s) {
		return fmt.Errorf("is %q: must be 1 to 63 letters, digits, '-' or '_', beginning with a letter", s)
	}
	return nil
}

// roleName is the bound that PostgreSQL sets to identifiers; empty is allowed.
func roleName(s string) error {
	if len(s) > 63 {
		return fmt.Errorf("has %d bytes: PostgreSQL's names have at most 63", len(s))
	}
	return oneLine(s)
}

// citusCluster checks the name of a cluster of read replicas.
func citusCluster(s string) error {
	if s == "default" {
		return errors.New("is \"default\": that is the cluster of the primaries")
	}
	return roleName(s)
}

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// hostName checks the form only; whether it resolves is asked when it is used.
func hostName(s string) error {
	if net.ParseIP(s) != nil {
		return nil
	}
	if len(s) > 253 {
		return fmt.Errorf("has %d characters: a host name has at most 253", len(s))
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if !hostLabel.MatchString(label) {
			return fmt.Errorf("is %q: not a host name or address (of a name with other letters, give the xn-- form)", s)
		}
	}
	return nil
}

func backupRate(s string) error {
	if s == "" {
		return nil
	}
	m := regexp.MustCompile(`^(\d{1,9})([kM]?)$`).FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("is %q: must be a number of kB/s, or one with k or M, such as 100M", s)
	}
	n, _ := strconv.Atoi(m[1]) // nine digits fit
	if m[2] == "M" {
		n *= 1024
	}
	if n < 32 || n > 1024*1024 {
		return fmt.Errorf("is %q: pg_basebackup allows 32k to 1024M", s)
	}
	return nil
}

// defaultHostname is the machine's own name, when it resolves; create checks that.
func defaultHostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
