package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Reconcile makes every metadata primary follow the topology: addresses on each by itself, like [Client.Push], and on the coordinator what Citus carries to all:
// registering, activating and removing nodes, one after another. What remains is in the report, with the reasons.
func (c *Client) Reconcile(ctx context.Context, t citus.Topology) Report {
	r := c.Push(ctx, t)
	done, problem := c.synchronise(ctx, t)
	if len(done) > 0 {
		r = r.join(c.Push(ctx, t))
	}
	if n := r.Node(citus.Coordinator); n != nil {
		n.Done = append(n.Done, done...)
		if problem != nil && n.Problem == "" {
			n.Problem = problem.Error()
		}
	}
	return r
}

// moved reports whether an address was changed on the server.
func (n Node) moved() bool {
	return slices.ContainsFunc(n.Done, func(s citus.Step) bool { return s.Kind == citus.StepMove })
}

// join returns the later report with what was done in the earlier.
func (r Report) join(later Report) Report {
	for i := range later.Nodes {
		if n := r.Node(later.Nodes[i].Group); n != nil {
			later.Nodes[i].Done = append(n.Done, later.Nodes[i].Done...)
		}
	}
	return later
}

// synchronise makes on the coordinator the changes that Citus carries to all nodes.
func (c *Client) synchronise(ctx context.Context, t citus.Topology) ([]citus.Step, error) {
	g := t.Group(citus.Coordinator)
	if g == nil || g.Dropped || !g.Serving {
		return nil, nil
	}
	s, n := c.look(ctx, t, t, *g)
	if s == nil {
		return nil, nil // Push has said why
	}
	defer s.close(ctx)
	var done []citus.Step
	for a := *n.Actual; ; {
		steps := citus.Decide(t, a, g.Number).Sync
		if len(steps) == 0 {
			return done, nil
		}
		made, err := c.series(ctx, t, s, steps)
		done = append(done, made...)
		if err != nil || len(made) == 0 {
			return done, err
		}
		// What was waiting for these may be made now: nobody is added before the coordinator itself.
		if a, err = s.read(ctx, a); err != nil {
			return done, err
		}
	}
}

// series makes changes one after another, and goes on when one fails: another may not need the node that is away.
func (c *Client) series(ctx context.Context, t citus.Topology, s *session, steps []citus.Step) ([]citus.Step, error) {
	if err := s.schema(ctx); err != nil {
		return nil, err
	}
	var done []citus.Step
	var errs []error
	for _, step := range steps {
		err := c.synchronised(ctx, t, s, step)
		if err == nil {
			done = append(done, step)
			continue
		}
		errs = append(errs, fmt.Errorf("%s of group %d at %s: %w", step.Kind, step.Group, step.Address, err))
		if s.conn.IsClosed() {
			break
		}
	}
	return done, errors.Join(errs...)
}

// synchronised makes one of these changes, after a look at the server that will be told everything.
func (c *Client) synchronised(ctx context.Context, t citus.Topology, s *session, step citus.Step) error {
	timings := c.Timings.complete()
	ctx, cancel := context.WithTimeoutCause(ctx, timings.Sync, fmt.Errorf("not done within %v", timings.Sync))
	defer cancel()
	if step.Kind == citus.StepAdd || step.Kind == citus.StepActivate {
		if err := c.newcomer(ctx, t, *t.Group(step.Group)); err != nil {
			return err
		}
	}
	if err := s.limit(ctx, timings.Lock, timings.Sync); err != nil {
		return err
	}
	err := s.lasting(ctx, func() error { return s.step(ctx, step) })
	if step.Kind == citus.StepRemove && unreachable(err) && !s.conn.IsClosed() {
		err = s.removeUnreachable(ctx, step)
	}
	if err != nil {
		return explain(ctx, err)
	}
	return s.confirm(ctx, step)
}

// lasting runs f in a transaction that the server's standbys hold when it returns. Node ids are given once: unlike an address they must not be lost with this server. The wait for
// a standby is not broken off by a timeout.
func (s *session) lasting(ctx context.Context, f func() error) error {
	return s.within(ctx, func() error {
		if err := f(); err != nil {
			return err
		}
		return s.exec(ctx, `select set_config('synchronous_commit', 'on', true), set_config('statement_timeout', '0', true)`)
	})
}

// removeUnreachable deletes a node that does not answer. Citus tells a node with metadata of its own removal, in the same transaction; one that is said to have none is left alone.
// That takes a transaction of its own: Citus does not forget within one that a connection has failed.
func (s *session) removeUnreachable(ctx context.Context, step citus.Step) error {
	err := s.lasting(ctx, func() error {
		return s.exec(ctx, `select stop_metadata_sync_to_node($1, $2, false)`, step.Address.Host, step.Address.Port)
	})
	if err != nil {
		return fmt.Errorf("say that a node which cannot be reached has no metadata: %w", err)
	}
	return s.lasting(ctx, func() error { return s.step(ctx, step) })
}

// unreachable reports whether a server failed to do something because it could not connect to another (class 08 of PostgreSQL's error codes), or waited for it too long.
func unreachable(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && (strings.HasPrefix(refused.Code, "08") || refused.Code == "57014")
}

// newcomer looks whether a server may be told the metadata of the formation: it belongs to the group already, or to nothing.
func (c *Client) newcomer(ctx context.Context, t citus.Topology, g citus.Group) error {
	s, a, err := c.open(ctx, t, g, sessionName)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if a.Group == g.Number {
		return nil
	}
	rows, err := s.rows(ctx)
	if err != nil {
		return fmt.Errorf("read pg_dist_node: %w", err)
	}
	if len(rows) > 0 {
		return &WrongServerError{Group: g.Number, At: g.Primary, What: "it is the coordinator of a formation"}
	}
	return nil
}

// confirm reads back what was added: Citus answers with the present node when the address is registered already, even in another group or role.
func (s *session) confirm(ctx context.Context, step citus.Step) error {
	if step.Kind == citus.StepRemove {
		return nil
	}
	var group int
	var role string
	err := s.conn.QueryRow(ctx, `select groupid, noderole::text from pg_dist_node where nodename = $1 and nodeport = $2`, pgx.QueryExecModeExec,
		step.Address.Host, step.Address.Port).Scan(&group, &role)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if group != step.Group || (role == citus.RoleSecondary) != (step.Kind == citus.StepAddSecondary) {
		return fmt.Errorf("the address is registered already, as %s of group %d", role, group)
	}
	return nil
}

const recoverPrepared = `select recover_prepared_transactions()`

// resolve does so on one server whose session is open; -1 when it could not be done now. Citus does it again by itself.
func (c *Client) resolve(ctx context.Context, s *session) int {
	ctx, cancel := context.WithTimeout(ctx, c.Timings.complete().Change+time.Second)
	defer cancel()
	n := -1
	err := s.limit(ctx, c.Timings.complete().Lock, c.Timings.complete().Change)
	if err == nil {
		err = s.conn.QueryRow(ctx, recoverPrepared, pgx.QueryExecModeExec).Scan(&n)
	}
	if err != nil {
		c.Log.Warn().Err(err).Int("group", s.group.Number).Msg("prepared transactions could not be resolved now")
		return -1
	}
	return n
}

// Recover resolves the prepared transactions of every metadata primary: each knows only those that it began itself.
func (c *Client) Recover(ctx context.Context, t citus.Topology) Report {
	return reportOf(each(ctx, t, func(ctx context.Context, g citus.Group) (Node, error) { return c.recover(ctx, t, g), nil }))
}

func (c *Client) recover(ctx context.Context, t citus.Topology, g citus.Group) Node {
	n := Node{Group: g.Number, At: g.Primary, Recovered: -1}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timings.complete().Change+time.Second, errors.New("the server does not answer"))
	defer cancel()
	s, _, err := c.open(ctx, t, g, sessionName)
	if err == nil {
		defer s.close(ctx)
		if err = s.limit(ctx, c.Timings.complete().Lock, c.Timings.complete().Change); err == nil {
			err = s.conn.QueryRow(ctx, recoverPrepared, pgx.QueryExecModeExec).Scan(&n.Recovered)
		}
	}
	if err != nil {
		n.Problem = fmt.Errorf("resolve prepared transactions of group %d at %s: %w", g.Number, g.Primary, explain(ctx, err)).Error()
	}
	return n
}
