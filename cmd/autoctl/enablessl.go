package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/local"
)

func (a *app) enableSSL() *cobra.Command {
	var t *target
	var selfSigned bool
	var mode, ca, crl, cert, key string
	cmd := &cobra.Command{
		Use: "ssl", Short: "Turn TLS on, or change its certificates, for a node or monitor; a running one takes it without a restart",
		RunE: func(cmd *cobra.Command, _ []string) error {
			values := map[string]string{}
			switch {
			case selfSigned:
				values["ssl.source"] = sslSelfSigned
			case cert != "" || key != "":
				values["ssl.source"] = sslFiles
			default:
				return fail(classUsage, "give --ssl-self-signed, or --server-cert with --server-key", "enable ssl: no certificate is chosen")
			}
			for name, path := range map[string]string{"ssl.ca_file": ca, "ssl.crl_file": crl, "ssl.cert_file": cert, "ssl.key_file": key} {
				if path == "" {
					continue
				}
				abs, err := absolutePath(path)
				if err != nil {
					return err
				}
				values[name] = abs
			}
			if mode != "" {
				values["ssl.mode"] = mode
			}
			return attempt(a.changeSSL(cmd.Context(), t, values), "enable ssl")
		},
	}
	t = bindLocal(cmd)
	cmd.Flags().BoolVar(&selfSigned, "ssl-self-signed", false, "with a certificate that autoctl makes")
	cmd.Flags().StringVar(&mode, "ssl-mode", "", "sslmode of clients")
	cmd.Flags().StringVar(&ca, "ssl-ca-file", "", "`file` with the certificates of the authorities")
	cmd.Flags().StringVar(&crl, "ssl-crl-file", "", "`file` with revoked certificates")
	cmd.Flags().StringVar(&cert, "server-cert", "", "`file` with the certificate of the server")
	cmd.Flags().StringVar(&key, "server-key", "", "`file` with its key")
	exclusive(cmd, "ssl-self-signed", "server-cert")
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) disableSSL() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "ssl", Short: "Turn TLS off for a node or monitor; a running one takes it without a restart",
		Long: `Turn TLS off for a node or monitor; a running one takes it without a restart. Clients whose
sslmode demands TLS can no longer connect: change them first.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(a.changeSSL(cmd.Context(), t, map[string]string{"ssl.source": sslOff, "ssl.mode": ""}), "disable ssl")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// changeSSL writes the configuration, checked with the certificates that it names, and makes a running daemon take it.
func (a *app) changeSSL(ctx context.Context, t *target, values map[string]string) error {
	l, path, err := t.local()
	if err != nil {
		return err
	}
	for _, name := range []string{"ssl.cert_file", "ssl.key_file", "ssl.ca_file", "ssl.crl_file"} {
		// What is not given does not come from a certificate of another kind.
		if _, given := values[name]; !given && l.SSL.Source != values["ssl.source"] {
			values[name] = ""
		}
	}
	if values["ssl.source"] == sslSelfSigned {
		next := *l
		next.SSL.Source = sslSelfSigned
		if err := next.selfSign(ctx, time.Now()); err != nil {
			return err
		}
		values["ssl.cert_file"], values["ssl.key_file"] = l.selfSigned()
	}
	if err := changeConfig(path, values); err != nil {
		return err
	}
	text := map[string]string{sslOff: "TLS is off", sslSelfSigned: "TLS is on, with the certificate in " + values["ssl.cert_file"],
		sslFiles: "TLS is on, with the certificate in " + firstOf(values["ssl.cert_file"], l.SSL.CertFile)}[values["ssl.source"]]
	switch err := askReload(ctx, l); {
	case errors.Is(err, control.ErrNotRunning):
		text += "; no daemon runs that would have to take it."
	case err != nil:
		return err
	default:
		text += "; the running server takes it."
	}
	return a.print(map[string]any{"ssl": values["ssl.source"]}, func(w io.Writer) { fmt.Fprintln(w, text) })
}

func (a *app) enableMonitor() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "monitor URI", Short: "Move the node on this machine to a replacement monitor, without restarting PostgreSQL",
		Long: `Move the node on this machine to a replacement monitor, without restarting PostgreSQL. The new
monitor continues the group as the nodes know it: ids, epoch, and who holds which commits.
Give it on every node; until all are there, the new monitor promotes nobody.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := monitorURI(args[0]); err != nil {
				return fail(classUsage, "", "enable monitor: URI %w", err)
			}
			return attempt(a.changeMonitor(cmd.Context(), t, args[0]), "enable monitor")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.ExactArgs(1))
}

func (a *app) disableMonitor() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "monitor", Short: "Make the node on this machine go on without a monitor",
		Long: `Make the node on this machine go on without a monitor: it stays what it is, and nobody fails
over, until "autoctl enable monitor".`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(a.changeMonitor(cmd.Context(), t, ""), "disable monitor")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// changeMonitor moves the running node, then writes down what it did: a daemon that dies in between asks the former monitor,
// whose goals are older than those it obeys.
func (a *app) changeMonitor(ctx context.Context, t *target, uri string) error {
	l, path, err := t.local()
	if err != nil {
		return err
	}
	if l.Role != roleKeeper {
		return fail(classUsage, "", "%s is a monitor's, not a node's", l.PostgreSQL.PGData)
	}
	if uri == "" && l.Monitor.URI == "" {
		return fail(classNothing, "", "the node goes on without a monitor already")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if l.Monitor.URI == uri && uri != "" {
		if err := l.serves(ctx); err != nil {
			return err
		}
	}
	err = control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: "monitor", URI: uri}, nil, func(s string) { a.say("%s", s) })
	if errors.Is(err, control.ErrNotRunning) {
		err = replaceStopped(ctx, l, uri)
	}
	if err != nil {
		return err
	}
	if err := changeConfig(path, map[string]string{"monitor.uri": uri}); err != nil {
		return err
	}
	if uri == "" {
		a.say("The node goes on without a monitor.")
		return nil
	}
	_, rest, _ := strings.Cut(uri, "@")
	host, _, _ := strings.Cut(rest, "/")
	a.say("The node now obeys the monitor at %s.", host)
	return nil
}

// serves refuses to hand a node over to the monitor that it has, unless that is another one by now: it answers, and does not know the node.
func (l *loaded) serves(ctx context.Context) error {
	m, err := memory(l.PostgreSQL.PGData)
	if err != nil {
		return err
	}
	client, err := dial(ctx, l.Monitor.URI)
	if err != nil {
		return err
	}
	defer client.Close()
	st, err := client.State(ctx, "", -1)
	if err != nil {
		return err
	}
	if knows(st, m) {
		return fail(classNothing, "", "the node uses that monitor already")
	}
	return nil
}

// knows says whether the node with this memory is among those of a monitor: the name of its slot tells it from any other.
func knows(st monitorapi.State, m fsm.Memory) bool {
	for _, f := range st.Formations {
		for _, g := range f.Groups {
			if n := member(g, m.Node); n != nil && n.Slot == local.StandbyName(m.Node, m.Token) {
				return true
			}
		}
	}
	return false
}

// replaceStopped tells the new monitor of a node that does not run now.
func replaceStopped(ctx context.Context, l *loaded, uri string) error {
	if uri == "" {
		return nil
	}
	client, err := dial(ctx, uri)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = keeper.ReplaceStopped(ctx, l.keeperConfig(), client)
	return err
}
