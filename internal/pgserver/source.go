package pgserver

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// DescribeSource asks a server that is to be copied how much there is: the
// bytes of what lies in its data directory, WAL left out, and its tablespaces
// elsewhere. The role needs pg_read_all_stats (pg_monitor has it).
func DescribeSource(ctx context.Context, conn *pgx.Conn) (bytes int64, list []SourceTablespace, err error) {
	const query = `
		select oid, pg_tablespace_location(oid), coalesce(pg_tablespace_size(oid), 0)
		from pg_tablespace order by oid`
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return 0, nil, fmt.Errorf("ask for tablespaces: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[SourceTablespace])
	if err != nil {
		return 0, nil, fmt.Errorf("ask for tablespaces: %w", err)
	}
	for _, t := range all {
		// Built-in ones have no location, in-place ones a relative one.
		if len(t.Location) == 0 || t.Location[0] != '/' {
			bytes += t.Bytes
			continue
		}
		list = append(list, t)
	}
	return bytes, list, nil
}
