package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/formation"
)

// shardsTimeout bounds the question where shards live.
const shardsTimeout = 10 * time.Second

// keepsShards refuses to drop the last node of a worker group while shards live there and nowhere else, or where that cannot be found out.
func (t *target) keepsShards(ctx context.Context, s *session, n monitorapi.NodeState, g monitorapi.GroupState, force bool) error {
	last := !slices.ContainsFunc(g.Nodes, func(o monitorapi.NodeState) bool { return o.NodeID != n.NodeID && !o.Dropping })
	if force || !last || g.Group == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, shardsTimeout)
	defer cancel()
	st, err := s.State(ctx, s.formation, -1)
	if err != nil || len(st.Formations) != 1 || st.Formations[0].Kind != fsm.KindCitus {
		return err
	}
	shards, err := t.shardsOf(ctx, st.Formations[0], g.Group)
	if err != nil {
		return fail(classRefused, "run it on a node of the formation, or as a user that the coordinator admits; --force drops the node without looking",
			"%s is the last node of group %d, and it cannot be found out whether shards live there: %w", nodeTitle(n), g.Group, err)
	}
	if len(shards) == 0 {
		return nil
	}
	var names []string
	for _, sh := range shards {
		name := printable(sh.Table)
		if len(st.Formations[0].Databases) > 0 {
			name += " in database " + printable(sh.Database)
		}
		names = append(names, fmt.Sprintf("%s (%d)", name, sh.Shards))
	}
	return fail(classRefused, fmt.Sprintf("move them first, on the coordinator: select citus_set_node_property('%s', %d, 'shouldhaveshards', false); "+
		"select citus_rebalance_start(drain_only => true); --force drops the node, and what is in these shards is gone", n.Host, n.Port),
		"%s is the last node of group %d, and shards live there and nowhere else: %s", nodeTitle(n), g.Group, strings.Join(names, ", "))
}

// shardsOf asks the daemon of a node on this machine, which may look everywhere, else the coordinator itself, as an application does.
func (t *target) shardsOf(ctx context.Context, f monitorapi.FormationState, group int) ([]formation.Shards, error) {
	var shards []formation.Shards
	if l, _, err := t.local(); err == nil && l.Node.Kind == string(fsm.KindCitus) && l.Node.Formation == f.Name {
		if err := control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: "shards", Group: group}, &shards, nil); err == nil {
			return shards, nil
		}
	}
	i := slices.IndexFunc(f.Groups, func(g monitorapi.GroupState) bool { return g.Group == 0 })
	if i < 0 {
		return nil, nil // without a coordinator there are no shards
	}
	own, err := t.monitorURI()
	if err != nil {
		return nil, err
	}
	for _, database := range append([]string{f.Database}, f.Databases...) {
		uri, _, err := groupURIs(database, f.Groups[i], t.uriDefaults(own, uriOptions{}))
		if err != nil {
			return nil, err
		}
		list, err := shardsAt(ctx, uri, group)
		if err != nil {
			return nil, err
		}
		shards = append(shards, list...)
	}
	return shards, nil
}

// shardsAt asks a coordinator as an application does.
func shardsAt(ctx context.Context, uri string, group int) ([]formation.Shards, error) {
	conn, err := pgx.Connect(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("connect to the coordinator: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return formation.ShardsOf(ctx, conn, group)
}
