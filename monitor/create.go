package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// RefusedError says that a monitor cannot be created or run here, and why. Nothing was changed.
type RefusedError struct {
	What string
	Hint string
}

// Error returns what is wrong.
func (e *RefusedError) Error() string { return e.What }

func refuse(hint, format string, args ...any) error {
	return &RefusedError{What: fmt.Sprintf(format, args...), Hint: hint}
}

// ErrLocked says that another autoctl process runs this monitor.
var ErrLocked = errors.New("another autoctl process runs this monitor")

// Create makes a monitor: a PostgreSQL cluster with the roles, the database and the functions that clients call. It leaves the
// server stopped, unless LeaveRunning is set. It may be interrupted anywhere and called again; on a monitor that exists it brings everything up to date.
// What is in the way is a *RefusedError, and then nothing was changed.
func Create(ctx context.Context, c Config) (err error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return fmt.Errorf("check the monitor's options: %w", err)
	}
	if err := checkPlace(ctx, c); err != nil {
		return err
	}
	unlock, err := lock(c)
	if err != nil {
		return err
	}
	defer unlock()
	if err := ensureCluster(ctx, c); err != nil {
		return err
	}
	server, err := startServer(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		if c.LeaveRunning && err == nil {
			err = server.Close()
			return
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		err = errors.Join(err, server.Stop(stop, pgserver.StopFast), server.Close())
	}()
	l, err := prepareDatabase(ctx, c)
	if err != nil {
		return err
	}
	l.Close()
	return nil
}

// stopPatience is how long a fast stop may take before we give up waiting.
const stopPatience = 60 * time.Second

// checkPlace refuses what cannot work, before anything is touched.
func checkPlace(ctx context.Context, c Config) error {
	if os.Geteuid() == 0 {
		return refuse("run it as the user that is to own the monitor, for instance: setpriv --reuid=postgres --regid=postgres --init-groups autoctl …",
			"PostgreSQL does not run as root")
	}
	d, err := pgserver.InspectDataDir(ctx, c.Binaries, c.DataDir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", c.DataDir, err)
	}
	switch d.Kind {
	case pgserver.DataAbsent, pgserver.DataEmpty:
		return checkPort(c)
	case pgserver.DataReady:
		if d.ForeignOwner || d.TooOpen {
			return refuse("chown it to the user that runs autoctl, and chmod 0700", "%s belongs to another user or is open to others", c.DataDir)
		}
		return checkOurs(c.DataDir)
	default:
		return refuse("choose an absent or empty directory", "%s cannot become a monitor's data directory: %s", c.DataDir, d.Reason)
	}
}

// checkOurs refuses a data directory that no monitor made: our files are in place before it gets its name.
func checkOurs(dir string) error {
	p, err := conf.ReadInclude(dir)
	if err != nil || p["cluster_name"] != ClusterName {
		return refuse("choose an absent or empty directory", "%s holds a PostgreSQL that is not a monitor", dir)
	}
	return nil
}

func checkPort(c Config) error {
	host := c.Listen
	if host == "*" {
		host = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(c.Port))) //nolint:noctx // answered by the kernel at once
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return refuse("choose another --pgport, or stop what runs there", "port %d is in use", c.Port)
	case errors.Is(err, syscall.EACCES):
		return refuse("choose another --pgport: those below 1024 are root's", "port %d cannot be used by this user", c.Port)
	}
	if err == nil {
		l.Close()
	}
	return nil // anything else PostgreSQL itself tells better
}

// lock keeps a second process away from the monitor, also from one that is suspended.
func lock(c Config) (unlock func(), err error) {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	l := flock.New(filepath.Join(c.StateDir, "monitor.lock"), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the monitor: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("run monitor in %s: %w", c.DataDir, ErrLocked)
	}
	return func() { _ = l.Close() }, nil
}

// ensureCluster creates the cluster beside its place and moves it there when it is whole, so that an interrupted initdb leaves
// nothing in the way of the next.
func ensureCluster(ctx context.Context, c Config) error {
	d, err := pgserver.InspectDataDir(ctx, c.Binaries, c.DataDir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", c.DataDir, err)
	}
	if d.Kind == pgserver.DataReady {
		return writeFiles(c, c.DataDir)
	}
	place := c.DataDir
	if !d.MountPoint && !d.ParentClosed {
		place = c.DataDir + ".autoctl-new"
		if err := os.RemoveAll(place); err != nil {
			return fmt.Errorf("remove an interrupted attempt: %w", err)
		}
	}
	self, err := superuser()
	if err != nil {
		return err
	}
	if err := pgserver.InitDB(ctx, c.Binaries, pgserver.InitConfig{DataDir: place, Superuser: self, NoSync: c.NoSync}); err != nil {
		return fmt.Errorf("create the monitor's cluster: %w", err)
	}
	if err := writeFiles(c, place); err != nil {
		return err
	}
	if place == c.DataDir {
		return nil
	}
	if d.Kind == pgserver.DataEmpty {
		if err := os.Remove(c.DataDir); err != nil {
			return fmt.Errorf("make room for the monitor's cluster: %w", err)
		}
	}
	if err := disk.Rename(place, c.DataDir); err != nil {
		return fmt.Errorf("move the monitor's cluster into place: %w", err)
	}
	return nil
}

// prepareDatabase creates the database where it is missing, migrates it, sets the password, and compares it with the incarnation file.
func prepareDatabase(ctx context.Context, c Config) (*ledger, error) {
	if err := createDatabase(ctx, c); err != nil {
		return nil, err
	}
	conn, err := c.connect(ctx, Database, "autoctl setup")
	if err != nil {
		return nil, err
	}
	defer hangUp(ctx, conn)
	if err := migrate(ctx, conn, c.Software); err != nil {
		return nil, err
	}
	if err := setPassword(ctx, conn, c.NodePassword); err != nil {
		return nil, err
	}
	return prove(ctx, conn, c)
}

func createDatabase(ctx context.Context, c Config) error {
	conn, err := c.connect(ctx, "postgres", "autoctl setup")
	if err != nil {
		return err
	}
	defer hangUp(ctx, conn)
	var exists bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", Database).Scan(&exists); err != nil {
		return fmt.Errorf("look for the monitor's database: %w", err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{Database}.Sanitize()); err != nil {
		return fmt.Errorf("create the monitor's database: %w", err)
	}
	return nil
}

// setPassword gives clients their password. The settings keep the statement out of the server's log (P7).
func setPassword(ctx context.Context, conn *pgx.Conn, password string) error {
	if password == "" {
		return nil
	}
	const quiet = `set log_statement = 'none'; set log_min_error_statement = 'panic'; set log_min_duration_statement = -1;
		set log_min_duration_sample = -1; set track_activities = off; set password_encryption = 'scram-sha-256'`
	if _, err := conn.PgConn().Exec(ctx, quiet).ReadAll(); err != nil {
		return fmt.Errorf("prepare to set a password: %w", err)
	}
	literal, err := conn.PgConn().EscapeString(password)
	if err != nil {
		return errors.New("set the password of role autoctl_node: it cannot be quoted")
	}
	if _, err := conn.PgConn().Exec(ctx, "alter role autoctl_node password '"+literal+"'").ReadAll(); err != nil {
		return errors.New("set the password of role autoctl_node: the server refused it") // its words may quote the statement
	}
	if _, err := conn.Exec(ctx, "reset all"); err != nil {
		return fmt.Errorf("reset session: %w", err)
	}
	return nil
}

// prove opens the incarnation file and compares it with the database; where that is not provably the one that spoke last, it
// starts a new incarnation (S9). Only then it opens the API to clients.
func prove(ctx context.Context, conn *pgx.Conn, c Config) (*ledger, error) {
	l, err := openLedger(c.StateDir)
	missing := errors.Is(err, errNoProof)
	if err != nil && !missing {
		return nil, err
	}
	have, nodes, err := readProof(ctx, conn)
	if err != nil {
		l.Close()
		return nil, err
	}
	reason := staleness(have, l.Last(), missing, nodes)
	if reason == "" {
		err = l.Advance(have)
	} else {
		c.Log.Warn().Str("reason", reason).Msg("the monitor cannot prove its memory current: new incarnation, all groups unproven")
		err = renew(ctx, conn, l, reason)
	}
	if err == nil {
		_, err = conn.Exec(ctx, `insert into autoctl.opened (started) values (pg_postmaster_start_time())
			on conflict (one) do update set started = excluded.started`)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("open the monitor to clients: %w", err)
	}
	return l, nil
}

// staleness says why the database cannot be proved current, or "".
func staleness(have, said proof, missing bool, nodes int) string {
	switch {
	case missing && have.Decisions == 0 && nodes == 0:
		return "" // new
	case missing:
		return "the incarnation file is missing or damaged"
	case have.Incarnation < said.Incarnation:
		return fmt.Sprintf("the database is of incarnation %d, the monitor was at %d: it was restored", have.Incarnation, said.Incarnation)
	case have.Incarnation > said.Incarnation:
		return fmt.Sprintf("the database is of incarnation %d, the incarnation file of %d: they do not belong together", have.Incarnation, said.Incarnation)
	case have.Decisions < said.Decisions:
		return fmt.Sprintf("the database holds %d decisions, the monitor had made %d: it was restored", have.Decisions, said.Decisions)
	}
	return ""
}

func readProof(ctx context.Context, conn *pgx.Conn) (p proof, nodes int, err error) {
	err = conn.QueryRow(ctx, "select p.decisions, p.incarnation, (select count(*) from autoctl.node) from autoctl.proof() p").
		Scan(&p.Decisions, &p.Incarnation, &nodes)
	if err != nil {
		return p, 0, fmt.Errorf("count decisions: %w", err)
	}
	return p, nodes, nil
}

func renew(ctx context.Context, conn *pgx.Conn, l *ledger, reason string) error {
	if _, err := conn.Exec(ctx, "select autoctl.new_incarnation($1, $2)", l.Last().Incarnation, reason); err != nil {
		return fmt.Errorf("begin a new incarnation: %w", err)
	}
	have, _, err := readProof(ctx, conn)
	if err != nil {
		return err
	}
	return l.Reset(have)
}
