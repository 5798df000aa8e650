package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/monitor"
)

// ownerOf names the user that owns a file, or "".
func ownerOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(stat.Uid), 10))
	if err != nil {
		return ""
	}
	return u.Username
}

// createdJSON is the document of create monitor and create postgres.
type createdJSON struct {
	Role   string   `json:"role"`
	PGData string   `json:"pgdata"`
	Config string   `json:"config"`
	URI    string   `json:"uri,omitempty"`
	Case   string   `json:"case,omitempty"`
	Node   int64    `json:"node_id,omitempty"`
	Name   string   `json:"name,omitempty"`
	Group  *int     `json:"group,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

func (a *app) createMonitor() *cobra.Command {
	var andRun bool
	cmd := &cobra.Command{
		Use: "monitor", Short: "Create the monitor, with a PostgreSQL of its own",
		Example: "  autoctl create monitor --pgdata /var/lib/autoctl/monitor --ssl-self-signed --auth trust --run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newConfig(cmd.Flags(), roleMonitor)
			if err != nil {
				return attempt(err, "create monitor")
			}
			if err := a.makeMonitor(cmd.Context(), l, andRun); err != nil {
				l.forgetPassword()
				return attempt(err, "create monitor in %s", l.PostgreSQL.PGData)
			}
			if !andRun {
				return nil
			}
			return a.runDaemon(cmd.Context(), l.PostgreSQL.PGData)
		},
	}
	bindKeys(cmd, roleMonitor)
	cmd.Flags().BoolVar(&andRun, "run", false, "go on as the daemon, in the foreground")
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) makeMonitor(ctx context.Context, l *loaded, andRun bool) (err error) {
	dir := l.PostgreSQL.PGData
	if err := notRoot(dir); err != nil {
		return err
	}
	if err := l.settleSSL(); err != nil {
		return err
	}
	if l.Node.Hostname == "" {
		l.Node.Hostname = defaultHostname()
		l.set("node.hostname", l.Node.Hostname)
	}
	if err := resolves(ctx, l.Node.Hostname); err != nil {
		return err
	}
	if err := l.settlePassword(); err != nil {
		return err
	}
	if err := l.selfSign(ctx, time.Now()); err != nil {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	if err := keeper.CheckSocket(l.keeperConfig()); err != nil {
		return err
	}
	config, err := a.monitorConfig(ctx, l)
	if err != nil {
		return err
	}
	config.LeaveRunning = andRun // the daemon, which follows at once, adopts it
	if err := monitor.Create(ctx, config); err != nil {
		return err
	}
	defer func() {
		if err != nil && andRun { // no daemon follows that would adopt it
			err = errors.Join(err, stopServer(ctx, dir))
		}
	}()
	if err := writeConfig(configPath(dir), l); err != nil {
		return err
	}
	uri, err := l.ownURI()
	if err != nil {
		return err
	}
	doc := createdJSON{Role: roleMonitor, PGData: dir, Config: configPath(dir), URI: uri}
	if andRun && a.json() {
		return nil // a daemon prints no document
	}
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "The monitor is created in %s.\n", dir)
		if !andRun {
			fmt.Fprintf(w, "Start it with:\n    autoctl run --pgdata %s\n", shellQuoted([]string{dir})[0])
		}
		fmt.Fprintf(w, "Nodes reach it at:\n    %s\n%s\n", uri, worstText(fsm.DefaultSettings()))
	})
}

// stopServer stops the server of a data directory, if one runs.
func stopServer(ctx context.Context, dir string) error {
	p, err := pgserver.Adopt(dir)
	if errors.Is(err, pgserver.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the server in %s: %w", dir, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := errors.Join(p.Stop(ctx, pgserver.StopFast), p.Close()); err != nil {
		return fmt.Errorf("stop the server in %s: %w", dir, err)
	}
	return nil
}

// ownURI is where the nodes reach this monitor.
func (l *loaded) ownURI() (string, error) {
	options := map[string]string{"sslmode": l.sslMode()}
	if options["sslmode"] == "verify-ca" || options["sslmode"] == "verify-full" {
		options["sslrootcert"] = l.SSL.CAFile
	}
	host := firstOf(l.Node.Hostname, defaultHostname(), "localhost")
	return conninfo.URI([]conninfo.Host{{Name: host, Port: l.PostgreSQL.Port}}, monitor.Role, monitor.Database, options)
}

// nearURI is how commands on the monitor's own machine reach it: through its socket as the user that owns it, who needs no
// password there; for others it is the URI that everybody has.
func (l *loaded) nearURI() (string, error) {
	dir := keeper.SocketDir(l.keeperConfig())
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil || ownerOf(filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d", l.PostgreSQL.Port))) != u.Username {
		return l.ownURI()
	}
	return conninfo.URI(nil, u.Username, monitor.Database, map[string]string{"host": dir, "port": strconv.Itoa(l.PostgreSQL.Port)})
}

// monitorConfig is the configuration as package monitor takes it.
func (a *app) monitorConfig(ctx context.Context, l *loaded) (monitor.Config, error) {
	binaries, err := l.binaries(ctx)
	if err != nil {
		return monitor.Config{}, err
	}
	c := monitor.Config{
		DataDir: l.PostgreSQL.PGData, StateDir: statePath(l.PostgreSQL.PGData), Binaries: binaries,
		Port: l.PostgreSQL.Port, Listen: l.PostgreSQL.Listen, SocketDir: l.PostgreSQL.SocketDirectory,
		Auth: l.Auth.Method, SkipHBA: l.Auth.SkipHBA, Software: version,
		TLS: monitor.TLS{CertFile: l.SSL.CertFile, KeyFile: l.SSL.KeyFile, CAFile: l.SSL.CAFile, CRLFile: l.SSL.CRLFile},
		Log: a.logger(l.Log.Level, l.Log.Format),
	}
	if c.Auth == monitor.AuthTrust {
		// Without passwords the network is the only fence: that of this machine, not the whole world.
		c.Networks = []string{"samehost", "samenet"}
	}
	if l.Auth.PasswordFile != "" {
		if c.NodePassword, err = readPassword(l.Auth.PasswordFile); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (l *loaded) binaries(ctx context.Context) (pgserver.Binaries, error) {
	return pgserver.FindBinaries(ctx, pgserver.Search{PGCtl: l.PostgreSQL.PGCtl})
}

// nodeKind is what one of the commands creates: create postgres, create coordinator, create worker.
type nodeKind struct {
	use, short, long, example string
	kind                      fsm.Kind
	// settle checks and completes what was given; nil where there is nothing to it.
	settle func(*loaded) error
}

func (a *app) createPostgres() *cobra.Command {
	return a.createNode(nodeKind{
		use: "postgres", short: "Create a PostgreSQL node and register it with the monitor", kind: fsm.KindPgsql,
		long: `Create a PostgreSQL node and register it with the monitor.

The first node of a group becomes its primary: in an empty data directory a new cluster is
made, an existing cluster (running or not) is adopted with its settings. Every other node
becomes a standby: by a base backup of the primary, or from an existing data directory of the
same system, without copying. A directory of another system is refused and left as it is.

What was interrupted goes on with the same command, or with "autoctl run". A node that was dropped
becomes one again without --run only: a service manager that repeats the command must not undo that.`,
		example: "  autoctl create postgres --pgdata /var/lib/autoctl/node --ssl-self-signed --auth trust \\\n" +
			"      --monitor 'postgres://autoctl_node@monitor/autoctl?sslmode=require' --run",
	})
}

// createNode is a command that makes a node of one kind.
func (a *app) createNode(k nodeKind) *cobra.Command {
	var andRun bool
	cmd := &cobra.Command{
		Use: k.use, Short: k.short, Long: k.long, Example: k.example,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newConfig(cmd.Flags(), roleKeeper)
			if err == nil {
				err = l.settleKind(k)
			}
			if err != nil {
				return attempt(err, "create %s", k.use)
			}
			if m, err := memory(l.PostgreSQL.PGData); andRun && err == nil && (m.Released || m.State == fsm.StateDropped) {
				l.forgetPassword()
				return attempt(fail(classDropped, "the same command without --run makes it a node again; \"autoctl drop node --destroy\" removes what is left",
					"this node was dropped from its group"), "create %s in %s", k.use, l.PostgreSQL.PGData)
			}
			if err := a.makePostgres(cmd.Context(), l, andRun); err != nil {
				l.forgetPassword()
				return attempt(err, "create %s in %s", k.use, l.PostgreSQL.PGData)
			}
			if !andRun {
				return nil
			}
			return a.runDaemon(cmd.Context(), l.PostgreSQL.PGData)
		},
	}
	bindKeys(cmd, roleKeeper)
	cmd.Flags().BoolVar(&andRun, "run", false, "go on as the daemon, in the foreground")
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) makePostgres(ctx context.Context, l *loaded, andRun bool) error {
	if l.Monitor.URI == "" {
		return fail(classUsage, `"autoctl create monitor" prints it`, "--monitor is missing")
	}
	if err := notRoot(l.PostgreSQL.PGData); err != nil {
		return err
	}
	if err := l.settleSSL(); err != nil {
		return err
	}
	if err := l.settlePassword(); err != nil {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	if andRun && l.goesOn(ctx) {
		a.say("The monitor cannot be reached; the node is registered and goes on.")
		return l.keep(ctx)
	}
	if err := l.checkAsFound(ctx); err != nil {
		return err
	}
	client, err := a.dialPatiently(ctx, l.Monitor.URI, andRun)
	if err != nil {
		return err
	}
	defer client.Close()
	said := func(note string) { a.say("%s", note) }
	made, err := a.registerPatiently(ctx, l, client, said, andRun)
	if err != nil {
		return err
	}
	l.Node.Name, l.Node.Hostname, l.Node.Group = made.Config.Name, made.Config.Host, made.Config.Group
	l.PostgreSQL.SocketDirectory = made.Config.SocketDir // that of a running server
	l.set("postgresql.socket_directory", l.PostgreSQL.SocketDirectory)
	l.set("node.name", l.Node.Name)
	l.set("node.hostname", l.Node.Hostname)
	l.set("node.group", strconv.Itoa(l.Node.Group))
	if err := l.keep(ctx); err != nil {
		return err
	}
	return a.tellCreated(l, made, andRun)
}

// checkAsFound checks a certificate against the name under which a node will register, where that is still to be found.
func (l *loaded) checkAsFound(ctx context.Context) error {
	if l.Node.Hostname != "" || l.SSL.Source != sslFiles || l.sslMode() != "verify-full" {
		return nil
	}
	next := *l
	var err error
	if next.Node.Hostname, err = keeper.OwnHost(ctx, l.keeperConfig()); err != nil {
		return err
	}
	return next.check()
}

// keep makes what belongs to the configuration and writes it down.
func (l *loaded) keep(ctx context.Context) error {
	if err := l.selfSign(ctx, time.Now()); err != nil {
		return err
	}
	return writeConfig(configPath(l.PostgreSQL.PGData), l)
}

// goesOn reports whether the node was created before and its monitor is away: containers give the create command at every
// start, and a lost monitor must not cost a node (P4).
func (l *loaded) goesOn(ctx context.Context) bool {
	m, err := memory(l.PostgreSQL.PGData)
	if err != nil || m.Node == 0 || m.Released || l.Node.Hostname == "" {
		return false
	}
	client, err := dial(ctx, l.Monitor.URI)
	if err == nil {
		client.Close()
	}
	return monitorapi.CodeOf(err) == monitorapi.CodeUnreachable
}

// dialPatiently connects to the monitor; with --run it waits for one that is just starting, as containers do.
func (a *app) dialPatiently(ctx context.Context, uri string, wait bool) (*monitorapi.Client, error) {
	client, err := dial(ctx, uri)
	if err == nil || !wait || monitorapi.CodeOf(err) != monitorapi.CodeUnreachable {
		return client, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	a.say("%v: waiting for it.", err)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
		if client, next := dial(ctx, uri); next == nil {
			return client, nil
		}
	}
}

func (a *app) tellCreated(l *loaded, made keeper.Created, andRun bool) error {
	if andRun && a.json() {
		return nil // a daemon prints no document
	}
	dir := l.PostgreSQL.PGData
	doc := createdJSON{Role: roleKeeper, PGData: dir, Config: configPath(dir), Case: string(made.Case), Node: int64(made.Node),
		Name: l.Node.Name, Group: &l.Node.Group, Notes: made.Notes}
	return a.print(doc, func(w io.Writer) {
		fmt.Fprintf(w, "Node %d, named %s, is registered in formation %s, group %d; its data directory is %s.\n",
			made.Node, printable(l.Node.Name), l.Node.Formation, l.Node.Group, dir)
		if !andRun {
			fmt.Fprintf(w, "Start it with:\n    autoctl run --pgdata %s\n", shellQuoted([]string{dir})[0])
		}
	})
}

// keeperConfig is the configuration as package keeper takes it.
func (l *loaded) keeperConfig() keeper.Config {
	return keeper.Config{
		PGData: l.PostgreSQL.PGData, PGCtl: l.PostgreSQL.PGCtl, StateDir: statePath(l.PostgreSQL.PGData),
		SocketDir: l.PostgreSQL.SocketDirectory, Port: l.PostgreSQL.Port, Listen: l.PostgreSQL.Listen,
		Username: l.PostgreSQL.Username, Database: l.PostgreSQL.Database,
		Name: l.Node.Name, Host: l.Node.Hostname, Formation: l.Node.Formation, Kind: fsm.Kind(l.Node.Kind), Group: l.Node.Group,
		Priority: l.Node.CandidatePriority, Quorum: l.Node.ReplicationQuorum, Cluster: l.Node.CitusCluster, ProxyPort: l.Node.ProxyPort, Monitor: l.Monitor.URI,
		SSL:  keeper.SSL{Mode: l.sslMode(), CA: l.SSL.CAFile, CRL: l.SSL.CRLFile, Cert: l.SSL.CertFile, Key: l.SSL.KeyFile},
		Auth: l.Auth.Method, SkipHBA: l.Auth.SkipHBA, LAN: l.Auth.LAN, PasswordFile: l.Auth.PasswordFile,
		BackupRate: l.Replication.MaximumBackupRate,
	}
}
