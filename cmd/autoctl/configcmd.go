package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/tlscert"
	"github.com/autoctl/autoctl/keeper"
)

func (a *app) configCommand() *cobra.Command {
	return parent("config", "Check, print and change the configuration file of a node or monitor", a.configCheck(), a.configGet(), a.configSet())
}

// check finds what is wrong beyond single values: what contradicts another key, or this machine.
func (l *loaded) check() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(l.Role == "", "role is missing: must be monitor or keeper")
	bad(l.PostgreSQL.PGData == "", "postgresql.pgdata is missing")
	bad(l.SSL.Source == sslOff && l.SSL.Mode != "" && l.SSL.Mode != "disable" && l.SSL.Mode != "allow" && l.SSL.Mode != "prefer",
		"ssl.mode (--ssl-mode) is %q, but TLS is off (--no-ssl): nobody could connect", l.SSL.Mode)
	verifies := l.sslMode() == "verify-ca" || l.sslMode() == "verify-full"
	bad(verifies && l.SSL.CAFile == "", "ssl.mode (--ssl-mode) is %q, but ssl.ca_file (--ssl-ca-file) is missing: there is nothing to verify against", l.sslMode())
	bad(l.Auth.Method == "cert" && (l.SSL.Source != sslFiles || l.SSL.CAFile == ""), "auth.method (--auth) is cert, which needs certificates of your own: --ssl-ca-file, --server-cert and --server-key")
	if err := l.checkCertificates(time.Now()); err != nil {
		errs = append(errs, err)
	}
	if l.Auth.PasswordFile != "" {
		if _, err := readPassword(l.Auth.PasswordFile); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	all, hint := errors.Join(errs...), ""
	if own, ok := errors.AsType[*failure](all); ok {
		hint = own.hint
	} else if known := classifyLocal(all); known != nil {
		hint = known.hint
	}
	return fail(classConfig, hint, "%w", all)
}

// checkHost makes sure that others can find this machine, once its name is settled.
func (l *loaded) checkHost(ctx context.Context) error {
	if l.Node.Hostname == "" || net.ParseIP(l.Node.Hostname) != nil {
		return nil
	}
	return resolves(ctx, l.Node.Hostname)
}

// checkCertificates finds what would keep PostgreSQL from starting with TLS, or its clients from trusting it.
func (l *loaded) checkCertificates(now time.Time) error {
	f := tlscert.Files{CA: l.SSL.CAFile, CRL: l.SSL.CRLFile, Cert: l.SSL.CertFile, Key: l.SSL.KeyFile}
	ours := tlscert.Files{}
	switch l.SSL.Source {
	case sslFiles:
		host := ""
		if l.sslMode() == "verify-full" {
			host = l.Node.Hostname
		}
		return tlscert.Check(f, host, now)
	case sslSelfSigned:
		ours.Cert, ours.Key = l.selfSigned()
	}
	if f.Cert != ours.Cert || f.Key != ours.Key {
		return fail(classConfig, "certificates of your own: autoctl enable ssl --server-cert FILE --server-key FILE; otherwise leave ssl.cert_file and ssl.key_file as they are",
			"ssl.cert_file is %q and ssl.key_file %q, but ssl.source is %s, which goes with %q and %q", f.Cert, f.Key, l.SSL.Source, ours.Cert, ours.Key)
	}
	if l.SSL.Source == sslSelfSigned {
		return tlscert.CheckTrust(f)
	}
	return nil
}

func (a *app) configCheck() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration file: keys, values, certificates, names",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, path, err := t.local()
			if err != nil {
				return attempt(err, "config check")
			}
			if err := l.check(); err != nil {
				return attempt(err, "config check %s", path)
			}
			if err := l.checkHost(cmd.Context()); err != nil {
				return attempt(err, "config check %s", path)
			}
			warnings := l.weakCommits(cmd.Context())
			doc := map[string]any{"file": path, "ok": true, "warnings": warnings}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "%s is fine.\n", path)
				for _, warning := range warnings {
					fmt.Fprintf(w, "warning: %s\n", warning)
				}
			})
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// weakCommits names the roles and databases whose sessions begin with a synchronous_commit that acknowledges before a standby
// has the commit: they are outside of what autoctl promises (S15). Without a server that answers there is nothing to name.
func (l *loaded) weakCommits(ctx context.Context) []string {
	warnings := []string{}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	config, err := pgx.ParseConfig("sslmode=disable target_session_attrs=any dbname=postgres")
	if err != nil || l.Role != roleKeeper {
		return warnings
	}
	config.Host, config.Port, config.Password, config.Fallbacks = keeper.SocketDir(l.keeperConfig()), uint16(l.PostgreSQL.Port), "", nil
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return append(warnings, "the server does not answer on its socket: roles and databases were not looked at")
	}
	defer conn.Close(ctx)
	weak, err := pgserver.WeakCommits(ctx, conn)
	if err != nil {
		return append(warnings, "roles and databases were not looked at: "+err.Error())
	}
	for _, w := range weak {
		warnings = append(warnings, w+" acknowledges commits before a standby has them: a failover may lose them")
	}
	return warnings
}

func (a *app) configGet() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "get [KEY]", Short: "Print the configuration as it counts: file, environment and defaults together",
		RunE: func(_ *cobra.Command, args []string) error {
			l, path, err := t.local()
			if err != nil {
				return attempt(err, "config get")
			}
			if len(args) == 1 {
				k, err := findKey(args[0])
				if err != nil {
					return err
				}
				return a.print(map[string]any{"file": path, "key": k.name, "value": l.typed(k)}, func(w io.Writer) { fmt.Fprintln(w, l.values[k.name]) })
			}
			all := map[string]any{}
			var rows [][2]string
			for _, k := range keys() {
				if k.has(l.Role) {
					all[k.name] = l.typed(k)
					rows = append(rows, [2]string{k.name, l.values[k.name]})
				}
			}
			return a.print(map[string]any{"file": path, "config": all}, func(w io.Writer) {
				fmt.Fprintf(w, "# %s\n", path)
				pairs(w, rows)
			})
		},
	}
	t = bindLocal(cmd)
	cmd.ValidArgs = keyNames("")
	return leaf(cmd, cobra.MaximumNArgs(1))
}

// typed returns a value with the type of its key, for JSON.
func (l *loaded) typed(k key) any {
	text := l.values[k.name]
	switch k.def.(type) {
	case int:
		var n int
		if _, err := fmt.Sscan(text, &n); err == nil {
			return n
		}
	case bool:
		if v, err := parseBool(text); err == nil {
			return v
		}
	}
	return text
}

func (a *app) configSet() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "set KEY VALUE", Short: "Change one key of the configuration file, after checking the whole",
		Long: `Change one key of the configuration file, after checking the whole; comments stay. A running
daemon takes it with "autoctl reload"; what concerns the server's port or socket counts from
its next start.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := findKey(args[0])
			if err != nil {
				return err
			}
			if k.fixed {
				return fail(classRefused, k.fixedHint, "%s cannot be changed in the file", k.name)
			}
			if k.check != nil {
				if err := k.check(args[1]); err != nil {
					return fail(classUsage, "", "%s %w", k.name, err)
				}
			}
			l, path, err := t.local()
			if err != nil {
				return attempt(err, "config set %s", k.name)
			}
			if !k.has(l.Role) {
				return fail(classRefused, "keys: "+fmt.Sprint(slices.Sorted(slices.Values(keyNames(l.Role)))), "a %s has no %s", l.Role, k.name)
			}
			if k.name == "node.hostname" {
				l.Node.Hostname = args[1]
				if err := l.checkHost(cmd.Context()); err != nil {
					return attempt(err, "config set %s", k.name)
				}
			}
			if err := changeConfig(path, map[string]string{k.name: args[1]}); err != nil {
				return attempt(err, "config set %s", k.name)
			}
			doc := map[string]any{"file": path, "key": k.name, "value": args[1]}
			return a.print(doc, func(w io.Writer) {
				fmt.Fprintf(w, "%s is %s. %s\n", k.name, firstOf(printable(args[1]), "empty"), k.takes())
			})
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.ExactArgs(2))
}
