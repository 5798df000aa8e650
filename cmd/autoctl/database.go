package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
)

func (a *app) createDatabase() *cobra.Command {
	var t *target
	var w *waitOptions
	cmd := &cobra.Command{
		Use: "database NAME", Short: "Add a database to a Citus formation",
		Long: `Add a database to a Citus formation. The primary of each group makes it, with the extension, and
the coordinator registers the workers in it: it has node ids of its own, and moves with the others
when a group fails over. Nodes that come later have it, too. One that is there already is taken as
it is.

On a machine of the formation the command waits until every node knows the others in the database.
Elsewhere it returns at once; "autoctl show citus" on a node tells how far it is.`,
		Example: "  autoctl create database shop --pgdata /var/lib/autoctl/node",
		RunE: func(cmd *cobra.Command, args []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				began := time.Now()
				if err := s.CreateDatabase(cmd.Context(), s.formation, args[0]); err != nil {
					return err
				}
				wait, err := w.limit(cmd.Context(), s)
				if err != nil {
					return err
				}
				text := fmt.Sprintf("Database %s is in formation %s: every node has it, and knows the others in it.", printable(args[0]), s.formation)
				if there, err := t.awaitDatabase(cmd.Context(), s.formation, args[0], wait); err != nil {
					return err
				} else if !there {
					text = fmt.Sprintf("Database %s belongs to formation %s; its nodes are making it. \"autoctl show citus\" on one of them tells how far they are.", printable(args[0]), s.formation)
				}
				return a.did(cmd.Context(), s, nil, began, text)
			}), "create database %s", printable(args[0]))
		},
	}
	t = bindTarget(cmd, true)
	w = bindWait(cmd)
	return leaf(cmd, cobra.ExactArgs(1))
}

func (a *app) dropDatabase() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "database NAME", Short: "Take a database out of a Citus formation; it stays where it is",
		Long: `Take a database out of a Citus formation: autoctl does not look after it any more, and a failover
leaves its metadata as they are. The database itself stays on every node. DROP DATABASE, on the
primary of each group, deletes it.`,
		Example: "  autoctl drop database shop --pgdata /var/lib/autoctl/node",
		RunE: func(cmd *cobra.Command, args []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				began := time.Now()
				if err := s.DropDatabase(cmd.Context(), s.formation, args[0]); err != nil {
					return err
				}
				return a.did(cmd.Context(), s, nil, began, fmt.Sprintf("Database %s does not belong to formation %s any more. It is still there: DROP DATABASE on the primary of each group deletes it.",
					printable(args[0]), s.formation))
			}), "drop database %s", printable(args[0]))
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.ExactArgs(1))
}

// awaitDatabase waits until every node knows the others in a database; false where no daemon on this machine can tell.
func (t *target) awaitDatabase(ctx context.Context, formation, database string, limit time.Duration) (bool, error) {
	l, _, err := t.local()
	if err != nil || l.Node.Kind != string(fsm.KindCitus) || l.Node.Formation != formation {
		return false, nil // a command from elsewhere
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	missing := errors.New("the daemon of this node has not heard of it yet")
	for asked := false; ; asked = true {
		var st keeper.CitusStatus
		err := control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: "citus"}, &st, nil)
		if err != nil && !asked {
			return false, nil // no daemon runs here
		}
		if err == nil {
			if missing = lacks(st, database); missing == nil {
				return true, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, fail(classTimeout, "it goes on: autoctl show citus", "after %s the nodes are not ready yet: %w", limit, missing)
		case <-tick.C:
		}
	}
}

// lacks tells what is still missing in a database; nil for nothing.
func lacks(st keeper.CitusStatus, database string) error {
	for _, d := range st.Databases {
		if d.Database != database {
			continue
		}
		for _, n := range d.Nodes {
			if n.Problem != "" {
				return errors.New(n.Problem)
			}
			if len(n.Left) > 0 {
				return fmt.Errorf("group %d at %s: group %d: %s: %s", n.Group, n.At, n.Left[0].Group, n.Left[0].Kind, n.Left[0].Reason)
			}
		}
		return nil
	}
	return errors.New("the daemon of this node has not heard of it yet")
}
