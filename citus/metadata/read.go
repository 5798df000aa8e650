package metadata

import (
	"context"
	"fmt"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
)

// read completes what Identify found by the rows of the server's own tables.
func (s *session) read(ctx context.Context, a citus.Actual) (citus.Actual, error) {
	var err error
	if a.Rows, err = s.rows(ctx); err != nil {
		return a, fmt.Errorf("read pg_dist_node: %w", err)
	}
	if a.Pools, err = s.pools(ctx); err != nil {
		return a, fmt.Errorf("read pg_dist_poolinfo: %w", err)
	}
	if a.Places, err = s.places(ctx); err != nil {
		return a, fmt.Errorf("read autoctl.topology: %w", err)
	}
	return a, nil
}

func (s *session) rows(ctx context.Context) ([]citus.Row, error) {
	rows, err := s.conn.Query(ctx, `select nodeid, groupid, nodename, nodeport, noderole::text, nodecluster::text, hasmetadata, metadatasynced, isactive, shouldhaveshards
		from pg_catalog.pg_dist_node order by nodeid`, pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (citus.Row, error) {
		var n citus.Row
		err := r.Scan(&n.ID, &n.Group, &n.Host, &n.Port, &n.Role, &n.Cluster, &n.HasMetadata, &n.MetadataSynced, &n.Active, &n.ShouldHaveShards)
		return n, err
	})
}

func (s *session) pools(ctx context.Context) (map[citus.NodeID]string, error) {
	rows, err := s.conn.Query(ctx, `select nodeid, poolinfo from pg_catalog.pg_dist_poolinfo`, pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	pools := map[citus.NodeID]string{}
	var id citus.NodeID
	var info string
	_, err = pgx.ForEachRow(rows, []any{&id, &info}, func() error {
		pools[id] = info
		return nil
	})
	return pools, err
}

// places reads what the server was told; nothing where it was told nothing yet.
func (s *session) places(ctx context.Context) ([]citus.Place, error) {
	var there bool
	if err := s.conn.QueryRow(ctx, `select to_regclass('autoctl.topology') is not null`, pgx.QueryExecModeExec).Scan(&there); err != nil || !there {
		return nil, err
	}
	rows, err := s.conn.Query(ctx, `select group_id, coalesce(host, ''), coalesce(port, 0), coalesce(pool, ''), incarnation, epoch from autoctl.topology order by group_id`,
		pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (citus.Place, error) {
		var p citus.Place
		var incarnation, number int64
		err := r.Scan(&p.Group, &p.Primary.Host, &p.Primary.Port, &p.Pool, &incarnation, &number)
		p.Epoch = citus.Epoch{Incarnation: uint64(incarnation), Number: uint64(number)}
		return p, err
	})
}

// schema creates the table of what the server was told, where it is missing. It is local to the server: Citus does not know of it, and its standbys have it by
// replication.
func (s *session) schema(ctx context.Context) error {
	var there bool
	if err := s.conn.QueryRow(ctx, `select to_regclass('autoctl.topology') is not null`, pgx.QueryExecModeExec).Scan(&there); err != nil {
		return fmt.Errorf("look for autoctl.topology: %w", err)
	}
	if there {
		return nil
	}
	// Several keepers may come at once.
	_, err := s.conn.Exec(ctx, `begin;
		select pg_advisory_xact_lock(hashtextextended('autoctl.topology', 0));
		select set_config(name, 'off', true)
			from (values ('citus.enable_ddl_propagation'), ('citus.enable_schema_based_sharding'), ('citus.use_citus_managed_tables')) of_citus(name)
			where current_setting(name, true) is not null;
		create schema if not exists autoctl;
		revoke all on schema autoctl from public;
		create table if not exists autoctl.topology (
			group_id integer primary key, host text, port integer, pool text,
			incarnation bigint not null, epoch bigint not null, changed timestamptz not null default clock_timestamp(),
			check ((host is null) = (port is null)));
		comment on table autoctl.topology is 'Where the primary of each group of the formation serves, and since which epoch; kept by autoctl, on every node by itself.';
		commit`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		_ = s.exec(ctx, "rollback")
		return fmt.Errorf("create autoctl.topology: %w", err)
	}
	return nil
}
