package pgserver

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// WeakCommits names the roles and databases whose sessions begin with a synchronous_commit that acknowledges before a standby
// has the commit on disk, as "role NAME, database NAME: synchronous_commit=VALUE": they are outside of what autoctl promises (S15).
// A session that lowers it for itself leaves no trace in a catalog and is not among them.
func WeakCommits(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	const query = `select coalesce('role ' || quote_ident(rolname), 'all roles') || coalesce(', database ' || quote_ident(datname), '') || ': ' || s
		from pg_db_role_setting left join pg_roles r on r.oid = setrole left join pg_database d on d.oid = setdatabase, unnest(setconfig) s
		where s ~ '^synchronous_commit=(off|local|remote_write)$' order by 1`
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("read settings of roles and databases: %w", err)
	}
	weak, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read settings of roles and databases: %w", err)
	}
	return weak, nil
}
