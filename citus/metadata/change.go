package metadata

import (
	"context"
	"errors"
	"fmt"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
)

// NewerError says that a server refused a change because it was told of a newer epoch meanwhile.
type NewerError struct {
	Group int
	Epoch citus.Epoch // the one that was refused
}

// Error names the refused epoch.
func (e *NewerError) Error() string {
	return fmt.Sprintf("group %d: the server was told of a newer epoch than %s", e.Group, e.Epoch)
}

// step makes one change within a transaction that is open.
func (s *session) step(ctx context.Context, step citus.Step) error {
	switch step.Kind {
	case citus.StepNote:
		return s.note(ctx, step)
	case citus.StepMove:
		if s.plain {
			return s.overwrite(ctx, step)
		}
		// force is left at false: see the package's documentation.
		return s.exec(ctx, `select citus_update_node($1, $2, $3)`, int32(step.Node), step.Address.Host, step.Address.Port)
	case citus.StepPool:
		return s.pool(ctx, step)
	case citus.StepCoordinator:
		return s.noted(ctx, step, `select citus_set_coordinator_host($1, $2)`, step.Address.Host, step.Address.Port)
	case citus.StepAdd:
		return s.noted(ctx, step, `select citus_add_node($1, $2, groupid => $3)`, step.Address.Host, step.Address.Port, step.Group)
	case citus.StepActivate:
		return s.exec(ctx, `select citus_activate_node($1, $2)`, step.Address.Host, step.Address.Port)
	case citus.StepAddSecondary:
		return s.exec(ctx, `select citus_add_secondary_node($1, $2, nodename, nodeport, $4) from pg_dist_node where groupid = $3 and noderole = 'primary'`,
			step.Address.Host, step.Address.Port, step.Group, step.Cluster)
	case citus.StepRemove:
		return s.exec(ctx, `select citus_remove_node($1, $2)`, step.Address.Host, step.Address.Port)
	default:
		return fmt.Errorf("unknown step %q", step.Kind)
	}
}

// errNoRow says that a row of pg_dist_node was not there to be written: Citus' daemon deletes a worker's rows and inserts them anew, and whoever has waited for one meanwhile does
// not find the new one.
var errNoRow = errors.New("pg_dist_node has no such row at the moment")

// overwrite writes an address without the locks of the group's shards.
func (s *session) overwrite(ctx context.Context, step citus.Step) error {
	tag, err := s.conn.Exec(ctx, `update pg_catalog.pg_dist_node set nodename = $2, nodeport = $3 where nodeid = $1`,
		pgx.QueryExecModeExec, int32(step.Node), step.Address.Host, step.Address.Port)
	if err == nil && tag.RowsAffected() == 0 {
		err = errNoRow
	}
	return err
}

func (s *session) noted(ctx context.Context, step citus.Step, sql string, args ...any) error {
	if err := s.exec(ctx, sql, args...); err != nil {
		return err
	}
	return s.note(ctx, step)
}

// note writes the group's place. The row's lock makes reconcilers of one server take turns; the condition refuses the one that knows less.
func (s *session) note(ctx context.Context, step citus.Step) error {
	var host, port any
	if !step.Address.IsZero() {
		host, port = step.Address.Host, step.Address.Port
	}
	tag, err := s.conn.Exec(ctx, `insert into autoctl.topology as t (group_id, host, port, incarnation, epoch) values ($1, $2, $3, $4, $5)
		on conflict (group_id) do update set host = excluded.host, port = excluded.port, incarnation = excluded.incarnation, epoch = excluded.epoch, changed = clock_timestamp()
		where (t.incarnation, t.epoch) < (excluded.incarnation, excluded.epoch)
		or (t.incarnation, t.epoch, t.host, t.port) is not distinct from (excluded.incarnation, excluded.epoch, excluded.host, excluded.port)`,
		pgx.QueryExecModeExec, step.Group, host, port, int64(step.Epoch.Incarnation), int64(step.Epoch.Number))
	if err != nil {
		return fmt.Errorf("note epoch %s of group %d: %w", step.Epoch, step.Group, err)
	}
	if tag.RowsAffected() == 0 {
		return &NewerError{Group: step.Group, Epoch: step.Epoch}
	}
	return nil
}

// pool writes the row of pg_dist_poolinfo, and what was written, so that a row of somebody else is told from ours.
func (s *session) pool(ctx context.Context, step citus.Step) error {
	if err := s.exec(ctx, `update autoctl.topology set pool = nullif($2, '') where group_id = $1`, step.Group, step.Pool); err != nil {
		return fmt.Errorf("note pool of group %d: %w", step.Group, err)
	}
	if step.Pool == "" {
		return s.exec(ctx, `delete from pg_catalog.pg_dist_poolinfo where nodeid = $1`, int32(step.Node))
	}
	return s.exec(ctx, `insert into pg_catalog.pg_dist_poolinfo (nodeid, poolinfo) values ($1, $2) on conflict (nodeid) do update set poolinfo = excluded.poolinfo`,
		int32(step.Node), step.Pool)
}

// transact makes the steps in one transaction, or none of them.
func (s *session) transact(ctx context.Context, steps []citus.Step) error {
	return s.within(ctx, func() error { return s.steps(ctx, steps) })
}

// within runs f in a transaction, which is committed unless f fails.
func (s *session) within(ctx context.Context, f func() error) error {
	if err := s.exec(ctx, "begin"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := f()
	if err == nil {
		if err = s.exec(ctx, "commit"); err == nil {
			return nil
		}
		err = fmt.Errorf("commit: %w", err)
	}
	if !s.conn.IsClosed() {
		err = errors.Join(err, s.exec(ctx, "rollback"))
	}
	return err
}

func (s *session) steps(ctx context.Context, steps []citus.Step) error {
	for _, step := range steps {
		if err := s.step(ctx, step); err != nil {
			return fmt.Errorf("%s of group %d: %w", step.Kind, step.Group, err)
		}
	}
	return nil
}
