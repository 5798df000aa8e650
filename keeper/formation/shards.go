package formation

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/citus"
)

// Shards is how many shards of a table live in one group and nowhere else.
type Shards struct {
	Table  string `json:"table"`
	Shards int    `json:"shards"`
}

// ShardsQuery lists, on a coordinator, the tables that have shards in group $1 and nowhere else: what dropping the group would lose. Reference tables are everywhere.
const ShardsQuery = `select s.logicalrelid::regclass::text, count(*) from pg_dist_placement p join pg_dist_shard s using (shardid)
	where p.groupid = $1 and not exists (select from pg_dist_placement o where o.shardid = p.shardid and o.groupid <> p.groupid)
	group by 1 order by 1`

// Shards asks the coordinator what lives in a group alone.
func (k *Keeper) Shards(ctx context.Context, group int) ([]Shards, error) {
	t, _, _ := k.desired(ctx)
	g := t.Group(citus.Coordinator)
	if g == nil || !g.Serving {
		return nil, errors.New("the formation's coordinator does not serve")
	}
	c, err := k.Client.Connect(ctx, citus.Coordinator, g.Primary, t.Database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return ShardsOf(ctx, c, group)
}

// ShardsOf is [Keeper.Shards] over a session with the coordinator.
func ShardsOf(ctx context.Context, c *pgx.Conn, group int) ([]Shards, error) {
	rows, err := c.Query(ctx, ShardsQuery, pgx.QueryExecModeExec, group)
	if err != nil {
		return nil, fmt.Errorf("list shards of group %d: %w", group, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Shards])
	if err != nil {
		return nil, fmt.Errorf("list shards of group %d: %w", group, err)
	}
	return list, nil
}
