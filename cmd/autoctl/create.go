package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
	"github.com/autoctl/autoctl/internal/tlscert"
	"github.com/autoctl/autoctl/monitor"
)

func (a *app) createCommand() *cobra.Command {
	return parent("create", "Create a monitor, a node, or a formation", a.createMonitor(), a.createPostgres(), a.createCoordinator(), a.createWorker(), a.createFormation(), a.createDatabase())
}

// optionUsage is what --help says of the options that are keys of the configuration.
func optionUsage(k key) string {
	usage := k.doc
	if k.env != "" {
		usage += " (" + k.env + ")"
	}
	return usage
}

// bindKeys adds an option for each key that role has one for, and the families of TLS options.
func bindKeys(cmd *cobra.Command, role string) {
	for _, k := range keys() {
		if k.flag == "" || !k.has(role) || k.only != nil && !slices.Contains(k.only, cmd.Name()) {
			continue
		}
		switch def := k.def.(type) {
		case int:
			cmd.Flags().Int(k.flag, def, optionUsage(k))
		case bool:
			if def { // an option that is on by itself takes a value, also as a word of its own
				cmd.Flags().String(k.flag, "true", optionUsage(k))
				continue
			}
			cmd.Flags().Bool(k.flag, def, optionUsage(k))
		case string:
			cmd.Flags().String(k.flag, def, optionUsage(k))
		}
	}
	cmd.Flags().Bool("ssl-self-signed", false, "TLS with a certificate that autoctl makes (AUTOCTL_SSL=self-signed)")
	cmd.Flags().Bool("no-ssl", false, "no TLS (AUTOCTL_SSL=off)")
	exclusive(cmd, "ssl-self-signed", "no-ssl", "server-cert")
}

// pathKeys are the options whose value is a path: relative ones are meant from where the command is given.
func pathKeys() []string {
	return []string{"pgdata", "pghost", "pgctl", "ssl-ca-file", "ssl-crl-file", "server-cert", "server-key", "password-file"}
}

// newConfig reads what create was given, on top of a file that an earlier run of it may have written.
func newConfig(flags *pflag.FlagSet, role string) (*loaded, error) {
	for _, name := range pathKeys() {
		f := flags.Lookup(name)
		if f == nil || !f.Changed || f.Value.String() == "" {
			continue
		}
		abs, err := absolutePath(f.Value.String())
		if err != nil {
			return nil, err
		}
		if err := f.Value.Set(abs); err != nil {
			return nil, err
		}
	}
	t := &target{pgdata: flags.Lookup("pgdata").Value.String()}
	dir, err := t.dataDirectory()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fail(classUsage, "give --pgdata, or set PGDATA", "no data directory is chosen")
	}
	if err := flags.Set("pgdata", dir); err != nil {
		return nil, err
	}
	l, err := load(configPath(dir), flags, true)
	if err != nil {
		return nil, err
	}
	if l.Role != "" && l.Role != role {
		return nil, fail(classPrecondition, "choose another --pgdata", "%s belongs to a %s already", dir, l.Role)
	}
	l.set("role", role)
	l.Role = role
	return l, nil
}

// set changes one value; the decoded fields follow by hand where they are needed.
func (l *loaded) set(name, text string) { l.values[name] = text }

// settleSSL makes sure that exactly one family of TLS options was chosen, and fills in what follows from it.
func (l *loaded) settleSSL() error {
	if l.SSL.Source == "" && (l.SSL.CertFile != "" || l.SSL.KeyFile != "") {
		l.SSL.Source = sslFiles
	}
	switch l.SSL.Source {
	case "":
		return fail(classUsage, "--ssl-self-signed is easy and keeps the wire private; --ssl-ca-file, --server-cert and --server-key also prove who is who; --no-ssl does without",
			"choose how TLS is set up: --ssl-self-signed, --server-cert with --server-key, or --no-ssl")
	case sslSelfSigned:
		l.SSL.CertFile, l.SSL.KeyFile = l.selfSigned()
	case sslOff:
		l.SSL.CertFile, l.SSL.KeyFile, l.SSL.CAFile, l.SSL.CRLFile = "", "", "", ""
	}
	l.set("ssl.source", l.SSL.Source)
	l.set("ssl.cert_file", l.SSL.CertFile)
	l.set("ssl.key_file", l.SSL.KeyFile)
	return nil
}

// selfSigned is where the certificate that autoctl makes is, and its key.
func (l *loaded) selfSigned() (cert, key string) {
	dir := configDir(l.PostgreSQL.PGData)
	return filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
}

// selfSignLookup bounds the look-up of the host's addresses: without an answer the certificate holds its name alone.
const selfSignLookup = 5 * time.Second

// selfSign makes the certificate for the host, once its name is settled.
func (l *loaded) selfSign(ctx context.Context, now time.Time) error {
	if l.SSL.Source != sslSelfSigned {
		return nil
	}
	hosts := []string{l.Node.Hostname, "localhost", "127.0.0.1", "::1"}
	ctx, cancel := context.WithTimeout(ctx, selfSignLookup)
	defer cancel()
	if addrs, err := net.DefaultResolver.LookupHost(ctx, l.Node.Hostname); err == nil {
		hosts = append(hosts, addrs...)
	}
	if _, err := tlscert.SelfSigned(configDir(l.PostgreSQL.PGData), hosts, now); err != nil {
		return fail(classPrecondition, "", "%w", err)
	}
	return nil
}

// settlePassword takes a password from the environment, else from libpq's password file, into a file of its own, where the
// daemon finds it after a restart.
func (l *loaded) settlePassword() error {
	role, whose := replicatorRole, "autoctl_replicator, the same on all nodes of a formation"
	if l.Role == roleMonitor {
		role, whose = monitor.Role, "autoctl_node, which nodes then need in ~/.pgpass or PGPASSWORD"
	}
	if l.Auth.PasswordFile == "" {
		password := os.Getenv("AUTOCTL_PASSWORD")
		if password == "" && l.Auth.Method == "scram-sha-256" {
			password = passwordOf(role, l.Node.Hostname, l.PostgreSQL.Port)
		}
		if err := l.keepPassword(password); err != nil {
			return err
		}
	}
	if l.Auth.Method != "scram-sha-256" || l.Auth.SkipHBA {
		return nil
	}
	if l.Auth.PasswordFile == "" {
		hint := fmt.Sprintf("give --password-file or AUTOCTL_PASSWORD (the password of role %s), or choose --auth trust or --auth cert", whose)
		return fail(classUsage, hint, "--auth scram-sha-256 needs a password")
	}
	_, err := readPassword(l.Auth.PasswordFile)
	return err
}

// replicatorRole is the role that nodes come to each other as.
const replicatorRole = "autoctl_replicator"

// passwordOf looks a role's password up in libpq's password file (PGPASSFILE, ~/.pgpass); "" when there is none for it.
func passwordOf(role, host string, port int) string {
	for _, database := range []string{"replication", "postgres", monitor.Database} {
		// An empty password beats PGPASSWORD, which is another role's.
		text := conninfo.Params{"host": firstOf(host, "localhost"), "port": strconv.Itoa(port), "user": role, "dbname": database, "sslmode": "disable"}
		rendered, err := text.Render()
		if err != nil {
			return ""
		}
		if config, err := pgconn.ParseConfig(rendered + " password=''"); err == nil && config.Password != "" {
			return config.Password
		}
	}
	return ""
}

// keepPassword writes a password into the file that the configuration then names; without a password it does nothing.
func (l *loaded) keepPassword(password string) error {
	if password == "" {
		return nil
	}
	path := filepath.Join(configDir(l.PostgreSQL.PGData), "password")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(classPrecondition, "", "keep the password: %w", err)
	}
	if err := replaceFile(path, []byte(password+"\n")); err != nil {
		return fail(classPrecondition, "", "keep the password: %w", err)
	}
	l.Auth.PasswordFile, l.keptPassword = path, path
	l.set("auth.password_file", path)
	return nil
}

// forgetPassword removes what keepPassword wrote, for a create that was refused and leaves nothing behind.
func (l *loaded) forgetPassword() {
	if l.keptPassword != "" {
		_ = os.Remove(l.keptPassword) // mode 0600, and written again by the next attempt
	}
}

// readPassword reads the first line of a password file that only its owner can read.
func readPassword(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fail(classConfig, "write the password into it, alone in its first line, mode 0600", "read password file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fail(classConfig, "chmod 0600 "+path, "password file %s can be read by others (mode %04o)", path, info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fail(classConfig, "", "read password file: %w", err)
	}
	line, _, _ := strings.Cut(string(content), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fail(classConfig, "", "password file %s is empty", path)
	}
	return line, nil
}

// notRoot refuses root for what runs PostgreSQL, and says as whom to run: the owner of the data directory, else postgres.
func notRoot(pgdata string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	name := "postgres"
	for dir := pgdata; dir != "" && dir != "/"; dir = filepath.Dir(dir) {
		if owner := ownerOf(dir); owner != "" {
			name = owner
			break
		}
	}
	if name == "root" {
		name = "postgres"
	}
	if _, err := user.Lookup(name); err != nil {
		return fail(classPrecondition, "make an ordinary user for it, such as postgres, and run it as that one", "PostgreSQL does not run as root")
	}
	// runuser sets HOME, too: there is the configuration.
	command := strings.Join(append([]string{filepath.Base(os.Args[0])}, shellQuoted(os.Args[1:])...), " ")
	return fail(classPrecondition, fmt.Sprintf("run as: runuser -u %s -- %s", name, command), "PostgreSQL does not run as root")
}

// shellQuoted writes arguments as a shell reads them.
func shellQuoted(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = arg
		if arg == "" || strings.ContainsFunc(arg, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=/.,:@+%", r)
		}) {
			out[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return out
}

func configDir(pgdata string) string { return filepath.Dir(configPath(pgdata)) }

// resolves makes sure that a host name leads somewhere.
func resolves(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			return fail(classPrecondition, "correct /etc/hosts or the name server, or give an address (--hostname, node.hostname)", "host name %q does not resolve: %s", host, dns.Err)
		}
		return fail(classPrecondition, "", "look up host name %q: %w", host, err)
	}
	return nil
}

func (a *app) createFormation() *cobra.Command {
	var t *target
	var kind, database string
	var number int
	cmd := &cobra.Command{
		Use: "formation", Short: "Create a formation: one service, with a group of nodes of its own",
		Example: "  autoctl create formation --monitor postgres://autoctl_node@monitor/autoctl --formation shop --dbname shop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.formation == "" {
				return fail(classUsage, "", "--formation is missing")
			}
			if kind != string(fsm.KindPgsql) && kind != string(fsm.KindCitus) {
				return fail(classUsage, "use --kind pgsql or --kind citus", "--kind is %q", kind)
			}
			if err := roleName(database); err != nil || database == "" {
				return fail(classUsage, "", "--dbname %w", firstError(err, errors.New("is empty")))
			}
			if number < 0 || number > 1000 {
				return fail(classUsage, "", "--number-sync-standbys is %d: must be between 0 and 1000", number)
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				f := monitorapi.Formation{Name: s.formation, Kind: fsm.Kind(kind), Database: database, NumberSync: number}
				began := time.Now()
				if err := s.CreateFormation(cmd.Context(), f); err != nil {
					return err
				}
				return a.did(cmd.Context(), s, nil, began, fmt.Sprintf("Formation %s is there; its nodes are created with --formation %s.", f.Name, f.Name))
			}), "create formation")
		},
	}
	t = bindTarget(cmd, false)
	cmd.Flags().StringVar(&t.formation, "formation", "", "formation `name`")
	cmd.Flags().StringVar(&kind, "kind", string(fsm.KindPgsql), "kind of formation: pgsql or citus")
	cmd.Flags().StringVar(&database, "dbname", "postgres", "`database` of the applications")
	cmd.Flags().IntVar(&number, "number-sync-standbys", 0, "how `many` standbys must hold a commit at least")
	return leaf(cmd, cobra.NoArgs)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
