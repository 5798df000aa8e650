package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) performCommand() *cobra.Command {
	return parent("perform", "Move the primary, or copy a standby anew",
		a.performFailover("failover", "Let another node become the primary: the present one hands over in order"),
		a.performFailover("switchover", "The same as failover"),
		a.performPromotion(), a.performRebuild())
}

func (a *app) performFailover(name, short string) *cobra.Command {
	var t *target
	var w *waitOptions
	var lose, yes bool
	cmd := &cobra.Command{
		Use: name, Short: short,
		Long: short + `.

The best standby is chosen: the most advanced one, among equals the one with the higher
candidate priority. While the primary is healthy nothing is lost and clients see a short
pause. When nobody can take over, it is refused, with the reason for each node.

--allow-data-loss is for a group that cannot elect anybody by itself: it elects from the
nodes that can be reached, and gives up what only the others hold.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				g, err := s.oneGroup(cmd.Context())
				if err != nil {
					return err
				}
				if lose && !yes {
					if err := a.confirmLoss(g); err != nil {
						return err
					}
				}
				wait, err := w.limit(cmd.Context(), s)
				if err != nil {
					return err
				}
				o := operation{a: a, s: s, group: g.Group, wait: wait, command: fsm.Command{Kind: fsm.CommandFailover, AllowDataLoss: lose}}
				o.watch = o.untilMoved(g, 0)
				return o.carryOut(cmd.Context())
			}), "perform %s", name)
		},
	}
	t = bindTarget(cmd, true)
	w = bindWait(cmd)
	cmd.Flags().BoolVar(&lose, "allow-data-loss", false, "elect from the nodes that can be reached, whatever the others hold")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask before --allow-data-loss")
	return leaf(cmd, cobra.NoArgs)
}

// confirmLoss asks on a terminal; a script has said what it wants by the option.
func (a *app) confirmLoss(g monitorapi.GroupState) error {
	if !isInteractive(a.in) {
		return nil
	}
	fmt.Fprintf(a.err, "Commits that only unreachable nodes of group %d hold will be lost. Type yes to go on: ", g.Group)
	var word string
	if _, err := fmt.Fscanln(a.in, &word); err != nil || word != "yes" {
		return fail(classRefused, "nothing was changed", "not confirmed")
	}
	return nil
}

// untilMoved is content when another node than before serves the group, protected as far as the nodes at hand allow.
func (o *operation) untilMoved(before monitorapi.GroupState, wanted fsm.NodeID) watcher {
	var old fsm.NodeID
	if p := serving(before); p != nil {
		old = p.NodeID
	}
	return func(g monitorapi.GroupState) verdict {
		p := serving(g)
		switch {
		case g.Election != nil || p == nil:
			return verdict{}
		case p.NodeID == old && wanted == 0, wanted != 0 && p.NodeID != wanted:
			return verdict{err: o.abandoned(g, p)}
		case !protected(g, p):
			return verdict{}
		}
		return verdict{done: true, text: fmt.Sprintf("%s is now the primary, in state %s.", printable(p.Name), p.Reported)}
	}
}

// protected reports whether a primary has reached the best state that the nodes which can be reached allow.
func protected(g monitorapi.GroupState, p *monitorapi.NodeState) bool {
	if p.Reported != p.Assigned || !p.Open {
		return false
	}
	if p.Reported != fsm.StateWaitPrimary {
		return true
	}
	for _, n := range g.Nodes {
		present := n.ReportAgeMS >= 0 && n.ReportAgeMS < 5000
		if n.NodeID != p.NodeID && n.Quorum && !n.Maintenance && !n.Dropping && present && n.Problem == nil {
			return false
		}
	}
	return true
}

// abandoned explains an election that ended without a move, from the event log.
func (o *operation) abandoned(g monitorapi.GroupState, p *monitorapi.NodeState) error {
	reason := "the hand-over was given up"
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	events, err := o.s.Events(ctx, monitorapi.EventFilter{Formation: o.s.formation, Group: &g.Group, Count: 20})
	if err == nil {
		for _, e := range events {
			if e.Rule == "drain_failed" || e.Rule == "resumed" {
				reason = e.Reason
			}
		}
	}
	return fail(classFailed, `"autoctl show events" tells what happened, "autoctl explain" what stands in the way`,
		"%s is still the primary: %s", printable(p.Name), reason)
}

func (a *app) performPromotion() *cobra.Command {
	cmd := &cobra.Command{Use: "promotion", Short: "Make one node the primary"}
	return a.onNode(cmd, "perform promotion", func(id fsm.NodeID) fsm.Command {
		return fsm.Command{Kind: fsm.CommandPromotion, Node: id}
	}, func(o *operation, n monitorapi.NodeState, g monitorapi.GroupState) watcher {
		return o.untilMoved(g, n.NodeID)
	})
}

func (a *app) performRebuild() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Copy a standby's data anew from the primary",
		Long: `Copy a standby's data anew from the primary. The present data stays until the copy is
complete (--wait 0 waits for that however long it takes).`,
	}
	return a.onNode(cmd, "perform rebuild", func(id fsm.NodeID) fsm.Command {
		return fsm.Command{Kind: fsm.CommandRebuild, Node: id}
	}, (*operation).untilRebuilt)
}

// onNode makes cmd one that gives the monitor a command about a node and waits until that is carried out.
func (a *app) onNode(cmd *cobra.Command, what string, command func(fsm.NodeID) fsm.Command,
	until func(*operation, monitorapi.NodeState, monitorapi.GroupState) watcher,
) *cobra.Command {
	var name string
	t, w := bindTarget(cmd, true), bindWait(cmd)
	bindName(cmd, &name)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return attempt(t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
			wait, err := w.limit(cmd.Context(), s)
			if err != nil {
				return err
			}
			o := operation{a: a, s: s, group: g.Group, wait: wait, command: command(n.NodeID)}
			o.watch = until(&o, n, g)
			return o.carryOut(cmd.Context())
		}), "%s", what)
	}
	return leaf(cmd, cobra.NoArgs)
}

// untilRebuilt is content when the node is in step again after it was seen to leave.
func (o *operation) untilRebuilt(before monitorapi.NodeState, _ monitorapi.GroupState) watcher {
	left := before.Reported != fsm.StateSecondary
	return func(g monitorapi.GroupState) verdict {
		for _, c := range o.seen {
			left = left || c.Node == before.NodeID && c.Assigned != fsm.StateSecondary
		}
		n := member(g, before.NodeID)
		if n == nil {
			return verdict{err: fail(classFailed, "", "the node has left the group")}
		}
		left = left || n.Assigned != fsm.StateSecondary || n.Reported != fsm.StateSecondary
		if left && n.Reported == fsm.StateSecondary && n.Assigned == fsm.StateSecondary {
			return verdict{done: true, text: fmt.Sprintf("%s was copied anew and follows the primary.", printable(n.Name))}
		}
		return verdict{}
	}
}

func member(g monitorapi.GroupState, id fsm.NodeID) *monitorapi.NodeState {
	for i := range g.Nodes {
		if g.Nodes[i].NodeID == id {
			return &g.Nodes[i]
		}
	}
	return nil
}
