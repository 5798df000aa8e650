package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
)

// askTimeout bounds the question to which group an existing server belongs.
const askTimeout = 10 * time.Second

// citusGroup compares the group that an existing server's own metadata say with the wanted one, and takes it where the monitor would choose: a worker of
// a Citus cluster that is adopted keeps the number under which the others know it.
func citusGroup(ctx context.Context, cfg Config, s survey) (int, error) {
	if cfg.Kind != fsm.KindCitus || !s.existing() {
		return cfg.Group, nil
	}
	own, members, err := askGroup(ctx, cfg, s)
	if err != nil {
		if cfg.Group < 0 {
			return cfg.Group, refuse(CodeSetup, err, "start PostgreSQL there first, or name the group with --group (select groupid from pg_dist_local_group)",
				"it cannot be found out to which group of a Citus cluster %s belongs: %v", cfg.PGData, err)
		}
		return cfg.Group, nil // a server of another group is refused before it is told anything
	}
	switch {
	case own == citus.Coordinator && members == 0: // no member of a cluster yet
		return cfg.Group, nil
	case own == citus.Coordinator && cfg.Group != citus.Coordinator:
		return cfg.Group, refuse(CodeSetup, nil, "autoctl create coordinator", "%s belongs to the coordinator of a Citus cluster with %d nodes", cfg.PGData, members)
	case own != citus.Coordinator && cfg.Group == citus.Coordinator:
		return cfg.Group, refuse(CodeSetup, nil, fmt.Sprintf("autoctl create worker --group %d", own), "%s belongs to a worker of a Citus cluster, in group %d", cfg.PGData, own)
	case cfg.Group >= 0 && cfg.Group != own:
		return cfg.Group, refuse(CodeSetup, nil, fmt.Sprintf("give --group %d, or leave it out", own), "%s belongs to group %d of a Citus cluster, not to group %d", cfg.PGData, own, cfg.Group)
	}
	return own, nil
}

// askGroup asks a running server for its group, and how many nodes it knows; 0 and 0 where the extension is in none of its databases.
func askGroup(ctx context.Context, cfg Config, s survey) (group, members int, err error) {
	if s.running == nil {
		return 0, 0, errors.New("PostgreSQL does not run there")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	first := cfg.Database
	if first == "" {
		first = "postgres"
	}
	conn, err := dialExisting(ctx, cfg, s, first)
	if err != nil && first != "postgres" { // that database is still to be made
		conn, err = dialExisting(ctx, cfg, s, "postgres")
	}
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	names, err := metadata.Databases(ctx, conn, func(ctx context.Context, database string) (*pgx.Conn, error) {
		return dialExisting(ctx, cfg, s, database)
	})
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		in, err := dialExisting(ctx, cfg, s, name)
		if err != nil {
			return 0, 0, err
		}
		err = in.QueryRow(ctx, `select (select groupid from pg_catalog.pg_dist_local_group), (select count(*) from pg_catalog.pg_dist_node)`).Scan(&group, &members)
		_ = in.Close(context.WithoutCancel(ctx))
		if err != nil || members > 0 {
			return group, members, err
		}
	}
	return group, members, nil
}

func dialExisting(ctx context.Context, cfg Config, s survey, database string) (*pgx.Conn, error) {
	u, err := user.LookupId(fmt.Sprint(os.Geteuid()))
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig("sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.User, c.Database, c.Password = s.running.SocketDir, uint16(cfg.Port), u.Username, database, ""
	if c.Host == "" {
		c.Host = SocketDir(cfg)
	}
	c.TLSConfig, c.Fallbacks, c.DefaultQueryExecMode = nil, nil, pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, c)
}
