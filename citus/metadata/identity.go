package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
)

// WrongServerError says that another server answered than the one meant.
type WrongServerError struct {
	Group int
	At    citus.Address
	// What is wrong, such as "its system identifier is 7 rather than 8".
	What string
}

// Error says who was meant, and what is wrong.
func (e *WrongServerError) Error() string {
	return fmt.Sprintf("%s is not the primary of group %d: %s", e.At, e.Group, e.What)
}

// ErrNoExtension says that the database has no Citus extension.
var ErrNoExtension = errors.New("the extension citus is not in this database")

// Identify reads who a server is: its system identifier, its group, whether it is a standby, and the versions of the extension. It changes nothing.
func Identify(ctx context.Context, conn *pgx.Conn) (citus.Actual, error) {
	var a citus.Actual
	var installed bool
	var system int64
	err := conn.QueryRow(ctx, `select (select system_identifier from pg_catalog.pg_control_system()), pg_catalog.pg_is_in_recovery(),
		exists (select from pg_catalog.pg_extension where extname = 'citus') and to_regclass('pg_catalog.pg_dist_local_group') is not null`,
		pgx.QueryExecModeExec).Scan(&system, &a.Recovery, &installed)
	if err != nil {
		return a, fmt.Errorf("ask who the server is: %w", err)
	}
	a.SystemID = uint64(system)
	if !installed {
		return a, ErrNoExtension
	}
	err = conn.QueryRow(ctx, `select (select groupid from pg_catalog.pg_dist_local_group), (select extversion from pg_catalog.pg_extension where extname = 'citus'),
		coalesce(substring(pg_catalog.citus_version() from '^Citus ([0-9.]+)'), '')`, pgx.QueryExecModeExec).Scan(&a.Group, &a.Version, &a.Library)
	if err != nil {
		return a, fmt.Errorf("ask for the server's group: %w", err)
	}
	return a, nil
}

// Check reports, as a [*WrongServerError], why a server is not the primary of the group. One that belongs to no group yet passes: it is about to be registered.
func Check(g citus.Group, a citus.Actual) error {
	wrong := func(format string, args ...any) error {
		return &WrongServerError{Group: g.Number, At: g.Primary, What: fmt.Sprintf(format, args...)}
	}
	switch {
	case g.SystemID != 0 && a.SystemID != g.SystemID:
		return wrong("its system identifier is %d, not %d", a.SystemID, g.SystemID)
	case a.Recovery:
		return wrong("it is a standby")
	case a.Group != g.Number && a.Group != citus.Coordinator:
		return wrong("it belongs to group %d", a.Group)
	default:
		return nil
	}
}

// Databases returns the databases of a server that have the extension, in order of their names. It asks each database by connect, and leaves out those that let nobody in.
func Databases(ctx context.Context, conn *pgx.Conn, connect func(ctx context.Context, database string) (*pgx.Conn, error)) ([]string, error) {
	rows, err := conn.Query(ctx, `select datname from pg_catalog.pg_database where datallowconn and not datistemplate order by datname`, pgx.QueryExecModeExec)
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list databases: %w", err)
	}
	var with []string
	for _, name := range names {
		has, err := hasExtension(ctx, name, connect)
		if err != nil {
			return nil, fmt.Errorf("look for citus in database %s: %w", name, err)
		}
		if has {
			with = append(with, name)
		}
	}
	return with, nil
}

func hasExtension(ctx context.Context, database string, connect func(context.Context, string) (*pgx.Conn, error)) (has bool, err error) {
	conn, err := connect(ctx, database)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	err = conn.QueryRow(ctx, `select exists (select from pg_catalog.pg_extension where extname = 'citus')`, pgx.QueryExecModeExec).Scan(&has)
	return has, err
}
