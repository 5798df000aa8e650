package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
)

func (a *app) dropCommand() *cobra.Command {
	return parent("drop", "Take a node, a formation or a monitor away", a.dropNode(), a.dropFormation(), a.dropDatabase(), a.dropMonitor())
}

func (a *app) dropNode() *cobra.Command {
	var t *target
	var w *waitOptions
	var name string
	var force, destroy bool
	cmd := &cobra.Command{
		Use: "node", Short: "Take a node out of its group; its data stays unless --destroy is given",
		Long: `Take a node out of its group. A primary hands over first. The node's keeper stops PostgreSQL
and ends; the data directory stays, unless --destroy is given (on the node's own machine).

The last node of a worker group of a Citus formation is not dropped while shards live there alone,
nor where that cannot be found out: they are listed, with the way to move them. --force does not ask.

--force forgets a node that will never come back, without waiting for it. With --destroy it
deletes a node on this machine although its monitor cannot be reached, or has forgotten it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if destroy && name != "" {
				return fail(classUsage, "run it on the node's machine with --pgdata", "--destroy works on this machine only, not with --name")
			}
			if destroy && t.alreadyDropped() {
				return attempt(a.destroy(cmd.Context(), t), "drop node")
			}
			err := t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
				wait, err := w.limit(cmd.Context(), s)
				if err != nil {
					return err
				}
				if err := t.keepsShards(cmd.Context(), s, n, g, force); err != nil {
					return err
				}
				o := operation{a: a, s: s, group: g.Group, wait: wait, command: fsm.Command{Kind: fsm.CommandDrop, Node: n.NodeID, Force: force}}
				o.watch = untilGone(n)
				if !force {
					o.late = "; --force does not wait for a node that will never come back"
				}
				return o.carryOut(cmd.Context())
			})
			if destroy && force {
				err = a.withoutMonitor(cmd.Context(), t, err)
			}
			if err != nil {
				return attempt(err, "drop node")
			}
			if destroy {
				return attempt(a.destroy(cmd.Context(), t), "drop node")
			}
			return nil
		},
	}
	t = bindTarget(cmd, true)
	w = bindWait(cmd)
	bindName(cmd, &name)
	cmd.Flags().BoolVar(&force, "force", false, "forget the node even if it cannot be heard")
	cmd.Flags().BoolVar(&destroy, "destroy", false, "delete the node's data directory, configuration and state from this machine")
	return leaf(cmd, cobra.NoArgs)
}

func untilGone(n monitorapi.NodeState) watcher {
	return func(g monitorapi.GroupState) verdict {
		m := member(g, n.NodeID)
		switch {
		case m == nil:
			return verdict{done: true, text: nodeTitle(n) + " has left the group."}
		case !m.Dropping && g.Election == nil:
			return verdict{err: fail(classFailed, `"autoctl show events" tells what happened`, "%s stays in the group", nodeTitle(n))}
		}
		return verdict{}
	}
}

// withoutMonitor goes on with a node that the monitor cannot be asked about, or has forgotten; any other error stays. Only the node's own monitor can say so
// of the node's own formation: a name mistyped must not cost a node that serves (P6).
func (a *app) withoutMonitor(ctx context.Context, t *target, err error) error {
	code := monitorapi.CodeOf(err)
	if code != monitorapi.CodeUnreachable && code != monitorapi.CodeUnknown {
		return err
	}
	if other := t.elsewhere(); other != nil {
		return fail(classRefused, "leave --monitor, --formation and --group out, and AUTOCTL_MONITOR and AUTOCTL_FORMATION unset", "%w: %w, and nothing is deleted", err, other)
	}
	if code == monitorapi.CodeUnreachable {
		a.say("%v: the node is deleted here only; drop it there with --name and --force.", err)
	} else {
		a.say("%v: it is deleted here.", err)
	}
	return a.endLocal(ctx, t)
}

// elsewhere tells how what was asked about differs from what the chosen data directory's own configuration says; nil when it does not.
func (t *target) elsewhere() error {
	dir, err := t.dataDirectory()
	if err != nil {
		return err
	}
	own, err := ownConfig(dir)
	if err != nil {
		return err
	}
	m, err := memory(dir)
	if err != nil {
		return err
	}
	formation, group := firstOf(own.Node.Formation, "default"), own.Node.Group
	if m.Goal.Formation != "" {
		formation, group = m.Goal.Formation, m.Goal.Group
	}
	asked, err := t.monitorURI()
	switch {
	case err != nil:
		return err
	case own.Monitor.URI != "" && asked != own.Monitor.URI:
		return errors.New("that is not the monitor of this node")
	case firstOf(t.formation, "default") != formation:
		return fmt.Errorf("this node is in formation %q", formation)
	case t.group >= 0 && t.group != group:
		return fmt.Errorf("this node is in group %d", group)
	}
	return nil
}

// endLocal stops the daemon of the chosen data directory, if one runs.
func (a *app) endLocal(ctx context.Context, t *target) error {
	l, _, err := t.local()
	if err != nil {
		return err
	}
	if err := a.endDaemon(ctx, l, stopFast); err != nil && !errors.Is(err, control.ErrNotRunning) {
		return err
	}
	return nil
}

// alreadyDropped reports whether the node of the chosen data directory has left its group: nothing is left to ask the monitor.
func (t *target) alreadyDropped() bool {
	dir, err := t.dataDirectory()
	if err != nil || dir == "" {
		return false
	}
	m, err := memory(dir)
	return err == nil && m.Released
}

// destroy deletes what autoctl keeps of a data directory on this machine, once nothing runs there. Only a directory that has a
// configuration of ours gets here: a wrong path must not cost anything.
func (a *app) destroy(ctx context.Context, t *target) error {
	l, path, err := t.local()
	if err != nil {
		return err
	}
	dir := l.PostgreSQL.PGData
	if err := waitStopped(ctx, dir); err != nil {
		return err
	}
	if l.Role == roleKeeper {
		err = keeper.Destroy(l.keeperConfig())
	} else {
		err = destroyMonitor(dir)
	}
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		return fail(classFailed, "delete it by hand", "delete configuration: %w", err)
	}
	a.say("Deleted %s with its configuration and state.", dir)
	return nil
}

func destroyMonitor(dir string) error {
	if p, err := pgserver.Adopt(dir); err == nil {
		_ = p.Close() // it was only looked at
		return fail(classPrecondition, "stop it first", "a server still runs on %s", dir)
	}
	if err := errors.Join(pgserver.RemoveDataDir(dir), disk.RemoveTree(statePath(dir))); err != nil {
		return fail(classFailed, "delete what is left by hand", "delete %s and %s: %w", dir, statePath(dir), err)
	}
	return nil
}

func (a *app) dropFormation() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "formation", Short: "Drop a formation that has no nodes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.formation == "" {
				return fail(classUsage, "", "--formation is missing")
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				began := time.Now()
				if err := s.DropFormation(cmd.Context(), s.formation); err != nil {
					return err
				}
				return a.did(cmd.Context(), s, nil, began, fmt.Sprintf("Formation %s is dropped.", s.formation))
			}), "drop formation")
		},
	}
	t = bindTarget(cmd, false)
	cmd.Flags().StringVar(&t.formation, "formation", "", "formation `name`")
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) dropMonitor() *cobra.Command {
	var t *target
	var destroy bool
	cmd := &cobra.Command{
		Use: "monitor", Short: "Stop the monitor on this machine and forget it; its data stays unless --destroy is given",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(func() error {
				if dir, err := t.forgottenMonitor(); destroy && err == nil {
					return a.destroyForgotten(dir)
				}
				l, _, err := t.local()
				if err != nil {
					return err
				}
				if l.Role != roleMonitor {
					return fail(classUsage, `use "autoctl drop node"`, "%s is a node's, not a monitor's", l.PostgreSQL.PGData)
				}
				dir := l.PostgreSQL.PGData
				if err := a.endLocal(cmd.Context(), t); err != nil {
					return err
				}
				if destroy {
					return a.destroy(cmd.Context(), t)
				}
				return a.forgetMonitor(dir)
			}(), "drop monitor")
		},
	}
	t = bindLocal(cmd)
	cmd.Flags().BoolVar(&destroy, "destroy", false, "delete its data directory, configuration and state")
	return leaf(cmd, cobra.NoArgs)
}

// forgotten is the file in the state directory of a monitor that was dropped while its data stayed: what --destroy may delete later.
const forgotten = "forgotten"

func (a *app) forgetMonitor(dir string) error {
	if err := os.MkdirAll(statePath(dir), 0o700); err != nil {
		return fail(classFailed, "", "remember what is left: %w", err)
	}
	if err := replaceFile(filepath.Join(statePath(dir), forgotten), nil); err != nil {
		return fail(classFailed, "", "remember what is left: %w", err)
	}
	if err := os.RemoveAll(configDir(dir)); err != nil {
		return fail(classFailed, "", "delete configuration: %w", err)
	}
	a.say("The monitor is stopped and forgotten; its data is still in %s: \"autoctl create monitor\" uses it again, \"autoctl drop monitor --destroy\" deletes it.", dir)
	return nil
}

// forgottenMonitor is the data directory that was chosen, if its monitor was dropped and nobody has created anything there since.
func (t *target) forgottenMonitor() (string, error) {
	dir, err := t.dataDirectory()
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(configPath(dir)); !errors.Is(err, fs.ErrNotExist) {
		return "", errors.Join(err, errors.New("it has a configuration"))
	}
	_, err = os.Lstat(filepath.Join(statePath(dir), forgotten))
	return dir, err
}

func (a *app) destroyForgotten(dir string) error {
	if err := destroyMonitor(dir); err != nil {
		return err
	}
	a.say("Deleted %s with its state.", dir)
	return nil
}
