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
	Database string `json:"database"`
	Table    string `json:"table"`
	Shards   int    `json:"shards"`
}

// ShardsQuery lists, on a coordinator, the tables that have shards in group $1 and nowhere else: what dropping the group would lose. Reference tables are everywhere.
const ShardsQuery = `select current_database(), s.logicalrelid::regclass::text, count(*) from pg_dist_placement p join pg_dist_shard s using (shardid)
	where p.groupid = $1 and not exists (select from pg_dist_placement o where o.shardid = p.shardid and o.groupid <> p.groupid)
	group by 2 order by 2`

// Shards asks the coordinator what lives in a group alone, in every database of the formation.
func (k *Keeper) Shards(ctx context.Context, group int) ([]Shards, error) {
	t, _, _ := k.desired(ctx)
	g := t.Group(citus.Coordinator)
	if g == nil || !g.Serving {
		return nil, errors.New("the formation's coordinator does not serve")
	}
	var all []Shards
	for _, d := range k.databases(t) {
		list, err := k.shardsIn(ctx, g.Primary, d.Database, group)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func (k *Keeper) shardsIn(ctx context.Context, coordinator citus.Address, database string, group int) ([]Shards, error) {
	c, err := k.Client.Connect(ctx, citus.Coordinator, coordinator, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return ShardsOf(ctx, c, group)
}

// ShardsOf is [Keeper.Shards] for the database of a session with the coordinator.
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
