package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
)

// errPassword is why a URI with a password is refused: arguments and configuration files are read by others (P7).
var errPassword = errors.New("holds a password: put it into ~/.pgpass, name a file with passfile= in the URI, or set PGPASSWORD")

var passwordKeyword = regexp.MustCompile(`(?i)(^|[\s?&])(ssl)?password\s*=`)

// monitorURI checks a connection string for a monitor. What it complains about never quotes the string: it may hold a secret.
func monitorURI(s string) error {
	if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") {
		if passwordKeyword.MatchString(s) {
			return errPassword
		}
		return errors.New("is no connection URI: it must look like postgres://autoctl_node@host:port/autoctl")
	}
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("is no valid URI: it must look like postgres://autoctl_node@host:port/autoctl")
	}
	if _, ok := u.User.Password(); ok || passwordKeyword.MatchString("?"+u.RawQuery) {
		return errPassword
	}
	if u.Hostname() == "" && u.Query().Get("host") == "" {
		return errors.New("names no host: it must look like postgres://autoctl_node@host:port/autoctl")
	}
	if err := uriParameters(u.Query()); err != nil {
		return err
	}
	if _, err := pgconn.ParseConfig(s); err != nil {
		return fmt.Errorf("is not accepted: %s", parseReason(err))
	}
	return nil
}

// uriKnown are the parameters of a monitor's URI. What is none of them would go to the server as one of its own.
var uriKnown = []string{
	"application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "host", "krbspn", "krbsrvname", "max_protocol_version",
	"min_protocol_version", "options", "passfile", "port", "require_auth", "service", "servicefile", "sslcert", "sslcertmode", "sslkey", "sslmode",
	"sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs", "user",
}

// uriParameters refuses what is no parameter, without quoting it: a part of a password may stand there by mistake.
func uriParameters(given url.Values) error {
	for name := range given {
		if slices.Contains(uriKnown, name) {
			continue
		}
		near := nearest(name, append([]string{"password", "sslpassword"}, uriKnown...))
		switch {
		case near == "":
			return errors.New("has a parameter that is none; there are: " + strings.Join(uriKnown, ", "))
		case strings.HasSuffix(near, "password"):
			return errPassword
		}
		return fmt.Errorf("has a parameter that is none: did you mean %s?", near)
	}
	return nil
}

// parseReason is the last clause of pgx's complaint; the others quote the string.
func parseReason(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// target is the set of options that choose what a command is about.
type target struct {
	pgdata, monitor, formation string
	group                      int
	cmd                        *cobra.Command
}

// bindTarget adds --pgdata and --monitor, and with formation the options --formation and --group.
func bindTarget(cmd *cobra.Command, formation bool) *target {
	t := &target{cmd: cmd, group: -1}
	cmd.Flags().StringVarP(&t.pgdata, "pgdata", "D", "", "data `directory` of a node or monitor on this machine (PGDATA)")
	cmd.Flags().StringVar(&t.monitor, "monitor", "", "connection `URI` of the monitor (AUTOCTL_MONITOR)")
	if formation {
		cmd.Flags().StringVar(&t.formation, "formation", "", "formation `name` (AUTOCTL_FORMATION; default: the node's, else \"default\")")
		cmd.Flags().IntVar(&t.group, "group", -1, "group `number` (default: the node's, the only one, or all)")
	}
	return t
}

// bindLocal adds --pgdata alone, for commands about this machine.
func bindLocal(cmd *cobra.Command) *target {
	t := &target{cmd: cmd, group: -1}
	cmd.Flags().StringVarP(&t.pgdata, "pgdata", "D", "", "data `directory` (PGDATA)")
	return t
}

// dataDirectory is the directory that was chosen, absolute; "" when none was.
func (t *target) dataDirectory() (string, error) {
	dir := firstOf(t.pgdata, os.Getenv("AUTOCTL_PGDATA"), os.Getenv("PGDATA"))
	if dir == "" {
		return "", nil
	}
	return absolutePath(dir)
}

// absolutePath makes a data directory's name the same however it was reached.
func absolutePath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fail(classUsage, "", "find data directory %q: %w", dir, err)
	}
	if err := oneLine(abs); err != nil {
		return "", fail(classUsage, "", "data directory %w", err)
	}
	return followed(resolved(abs)), nil
}

// followed is what a symbolic link leads to, where that was created and the link was not: one directory must not become two nodes.
func followed(dir string) string {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || real == dir || exists(configPath(dir)) || !exists(configPath(real)) {
		return dir
	}
	return real
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// resolved replaces symbolic links among the ancestors of a path, as far as they exist: the name of a directory must be the same
// before and after it is made. The last element stays: it may be a link that somebody put there to be followed.
func resolved(abs string) string {
	for dir, rest := filepath.Dir(abs), filepath.Base(abs); ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return abs
		}
	}
}

// local loads the configuration of the chosen data directory.
func (t *target) local() (*loaded, string, error) {
	dir, err := t.dataDirectory()
	if err != nil {
		return nil, "", err
	}
	if dir == "" {
		return nil, "", fail(classUsage, "give --pgdata, or set PGDATA", "no data directory is chosen")
	}
	path := configPath(dir)
	l, err := load(path, nil, false)
	if err != nil {
		return nil, "", err
	}
	return l, path, nil
}

// monitorURI finds the monitor: --monitor, else an explicit --pgdata, else the environment. A --pgdata beside --monitor only
// says which node is meant.
func (t *target) monitorURI() (string, error) {
	uri, from := t.monitor, "--monitor"
	if uri == "" && t.pgdata == "" {
		uri, from = os.Getenv("AUTOCTL_MONITOR"), "AUTOCTL_MONITOR"
	}
	if uri != "" {
		if err := monitorURI(uri); err != nil {
			return "", fail(classUsage, "", "%s %w", from, err)
		}
		return uri, nil
	}
	dir, err := t.dataDirectory()
	if err != nil {
		return "", err
	}
	if dir == "" {
		return "", fail(classUsage, "give --monitor URI (AUTOCTL_MONITOR), or --pgdata of a node on this machine (PGDATA)", "no monitor is chosen")
	}
	l, err := load(configPath(dir), nil, false)
	if err != nil {
		return "", err
	}
	if t.formation == "" && l.Role == roleKeeper {
		t.formation = l.Node.Formation
	}
	if l.Role == roleMonitor {
		return l.nearURI()
	}
	if l.Monitor.URI == "" {
		return "", fail(classConfig, "move it to one with \"autoctl enable monitor\", or give --monitor", "the node in %s has no monitor", dir)
	}
	return l.Monitor.URI, nil
}

// formationName is the chosen formation, checked.
func (t *target) formationName() (string, error) {
	name := firstOf(t.formation, "default")
	if err := formationName(name); err != nil {
		return "", fail(classUsage, "", "--formation %w", err)
	}
	return name, nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// sslOf returns sslmode and sslrootcert of a URI.
func sslOf(uri string) (mode, root string) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", ""
	}
	return u.Query().Get("sslmode"), u.Query().Get("sslrootcert")
}
