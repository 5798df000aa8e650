package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/control"
	"github.com/autoctl/autoctl/keeper/formation"
)

// newFormation makes what keeps the metadata of this node's Citus formation.
func (s *Service) newFormation() *formation.Keeper {
	return formation.New(formation.Parts{
		Monitor: func() formation.Monitor {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.client == nil {
				return nil
			}
			return s.client
		},
		Goal:     func() fsm.Goal { return s.store.Get().Goal },
		Open:     func(ctx context.Context) bool { return s.node.Status(ctx, s.store.Get().Goal).Open },
		Position: s.node.Reach,
		Own: func() citus.Address {
			s.mu.Lock()
			defer s.mu.Unlock()
			return citus.Address{Host: s.config.Host, Port: s.config.Port}
		},
		Tell:   func() { s.daemon.Wake() },
		Ensure: s.node.EnsureDatabase,
		Sever:  s.node.Sever,
		Client: &metadata.Client{Connect: s.connectFellow, Log: s.opts.Log},
		Log:    s.opts.Log,
	})
}

// connectFellow opens a superuser session with a server of the formation: this node's own by its socket.
func (s *Service) connectFellow(ctx context.Context, _ int, at citus.Address, database string) (*pgx.Conn, error) {
	s.mu.Lock()
	own := citus.Address{Host: s.config.Host, Port: s.config.Port}
	s.mu.Unlock()
	var conn *pgx.Conn
	var err error
	if at == own {
		conn, err = s.node.DialOwn(ctx, database)
	} else {
		conn, err = s.node.DialFellow(ctx, at.Host, at.Port, database)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == pgerrcode.InvalidCatalogName && database != s.store.Get().Goal.Database {
		return nil, fmt.Errorf("there is no database %q; where it was dropped for good, autoctl drop database takes it out of the formation", database)
	}
	return conn, err
}

// CitusStatus is what show citus prints: where the groups are to be served, and what each node's metadata say.
type CitusStatus struct {
	Formation string          `json:"formation"`
	Database  string          `json:"database"`
	Groups    []citus.Group   `json:"groups"`
	Nodes     []metadata.Node `json:"nodes"`
	// Databases are those of the formation beside Database, in order of their names; the groups are served at the same places in all.
	Databases []CitusDatabase `json:"databases,omitempty"`
}

// CitusDatabase is what each node's metadata say in one more database of the formation.
type CitusDatabase struct {
	Database string          `json:"database"`
	Nodes    []metadata.Node `json:"nodes"`
}

// metadata looks at the formation's metadata, or brings them up to date first.
func (s *Service) metadata(ctx context.Context, activate bool) (any, error) {
	if s.formation == nil {
		return nil, &control.Error{Code: "refused", Text: "this node does not belong to a Citus formation", Hint: "autoctl create coordinator and autoctl create worker make such nodes"}
	}
	look := s.formation.Survey
	if activate {
		look = s.formation.Activate
	}
	found := look(ctx)
	if len(found) == 0 {
		return nil, &control.Error{Code: "unreachable", Text: "the monitor has not told this node yet where the formation's groups are served"}
	}
	t := found[0].Topology
	st := CitusStatus{Formation: t.Formation, Database: t.Database, Groups: t.Groups, Nodes: found[0].Report.Nodes}
	for _, d := range found[1:] {
		st.Databases = append(st.Databases, CitusDatabase{Database: d.Topology.Database, Nodes: d.Report.Nodes})
	}
	return st, nil
}

// shards lists what lives in a group of the formation alone.
func (s *Service) shards(ctx context.Context, group int) (any, error) {
	if s.formation == nil {
		return nil, &control.Error{Code: "refused", Text: "this node does not belong to a Citus formation"}
	}
	list, err := s.formation.Shards(ctx, group)
	return list, told(err)
}
