package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) enableCommand() *cobra.Command {
	return parent("enable", "Turn something on: maintenance, ssl, monitor", a.enableMaintenance(), a.enableSSL(), a.enableMonitor())
}

func (a *app) disableCommand() *cobra.Command {
	return parent("disable", "Turn something off: maintenance, ssl, monitor", a.disableMaintenance(), a.disableSSL(), a.disableMonitor())
}

func (a *app) enableMaintenance() *cobra.Command {
	var allow bool
	cmd := &cobra.Command{
		Use: "maintenance", Short: "Hand a node to its operator: autoctl neither starts nor stops its PostgreSQL",
		Long: `Hand a node to its operator: autoctl neither starts nor stops its PostgreSQL until
"autoctl disable maintenance". A primary needs --allow-failover: it hands over first.`,
	}
	cmd.Flags().BoolVar(&allow, "allow-failover", false, "let a primary hand over first")
	return a.onNode(cmd, "enable maintenance", func(id fsm.NodeID) fsm.Command {
		return fsm.Command{Kind: fsm.CommandMaintenance, Node: id, AllowFailover: allow}
	}, (*operation).untilInMaintenance)
}

// untilInMaintenance is content when the node is its operator's.
func (o *operation) untilInMaintenance(n monitorapi.NodeState, _ monitorapi.GroupState) watcher {
	return func(g monitorapi.GroupState) verdict {
		m := member(g, n.NodeID)
		switch {
		case m == nil:
			return verdict{err: fail(classFailed, "", "the node has left the group")}
		case !m.Maintenance && g.Election == nil && m.Assigned.Serves():
			return verdict{err: o.abandoned(g, m)}
		case m.Reported == fsm.StateMaintenance && m.Assigned == fsm.StateMaintenance:
			return verdict{done: true, text: printable(m.Name) + " is in maintenance: its PostgreSQL is yours."}
		}
		return verdict{}
	}
}

func (a *app) disableMaintenance() *cobra.Command {
	cmd := &cobra.Command{Use: "maintenance", Short: "Take a node back from its operator"}
	return a.onNode(cmd, "disable maintenance", func(id fsm.NodeID) fsm.Command {
		return fsm.Command{Kind: fsm.CommandReturn, Node: id}
	}, (*operation).untilBack)
}

// untilBack is content when the node serves or follows again.
func (o *operation) untilBack(n monitorapi.NodeState, _ monitorapi.GroupState) watcher {
	return func(g monitorapi.GroupState) verdict {
		m := member(g, n.NodeID)
		if m == nil {
			return verdict{err: fail(classFailed, "", "the node has left the group")}
		}
		back := m.Reported == fsm.StateSecondary || m.Reported.Serves() || m.Reported == fsm.StateCatchingUp && !m.Quorum
		if p := serving(g); back && m.Reported == m.Assigned && p != nil && p.Reported == p.Assigned {
			return verdict{done: true, text: fmt.Sprintf("%s is back, in state %s.", printable(m.Name), m.Reported)}
		}
		return verdict{}
	}
}

func (a *app) pauseCommand() *cobra.Command {
	return a.pausing("pause", "Stop all automation of a formation: nothing fails over, nothing is repaired",
		(*monitorapi.Client).Pause, "Formation %s is paused: nothing fails over and nothing is repaired until \"autoctl resume\".", "formation %q is paused already")
}

func (a *app) resumeCommand() *cobra.Command {
	return a.pausing("resume", "Start the automation of a formation again",
		(*monitorapi.Client).Resume, "Formation %s is looked after again.", "formation %q is not paused")
}

func (a *app) pausing(name, short string, do func(*monitorapi.Client, context.Context, string) (bool, error), did, already string) *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: name, Short: short,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				began := time.Now()
				changed, err := do(s.Client, cmd.Context(), s.formation)
				if err != nil {
					return err
				}
				if !changed {
					return fail(classNothing, "", already, s.formation)
				}
				return a.did(cmd.Context(), s, nil, began, fmt.Sprintf(did, s.formation))
			}), "%s", name)
		},
	}
	t = bindTarget(cmd, false)
	cmd.Flags().StringVar(&t.formation, "formation", "", "formation `name`")
	return leaf(cmd, cobra.NoArgs)
}
