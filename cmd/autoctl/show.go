package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) showCommand() *cobra.Command {
	return parent("show", "Print what the monitor knows",
		a.showState(), a.showNodes(), a.showURI(), a.showEvents(), a.showSettings(), a.showStandbyNames(), a.showTimeline(), a.showCitus())
}

// withMonitor connects to the target's monitor for the time of do.
func (t *target) withMonitor(ctx context.Context, do func(*session) error) error {
	s, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

func (a *app) showState() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "state", Short: "Print the nodes with their states",
		Example: "  autoctl show state --pgdata /var/lib/autoctl/node\n  autoctl show state --monitor postgres://autoctl_node@monitor/autoctl --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				st, err := a.chosenState(cmd.Context(), t, s)
				if err != nil {
					return err
				}
				return a.print(st, func(w io.Writer) { writeState(w, st) })
			}), "show state")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

// chosenState is the state of the formation that was named, or of all of them.
func (a *app) chosenState(ctx context.Context, t *target, s *session) (monitorapi.State, error) {
	if t.formation == "" {
		s.formation = ""
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st, err := s.State(ctx, s.formation, -1)
	if err != nil {
		return st, err
	}
	if s.formation != "" && len(st.Formations) == 0 {
		return st, fail(classRefused, "", "there is no formation %q", s.formation)
	}
	return onlyGroup(st, s.group)
}

// onlyGroup leaves the group that was named, in the formations that have it; -1 names all.
func onlyGroup(st monitorapi.State, group int) (monitorapi.State, error) {
	if group < 0 {
		return st, nil
	}
	var having []monitorapi.FormationState
	var there []string
	for _, f := range st.Formations {
		i := slices.IndexFunc(f.Groups, func(g monitorapi.GroupState) bool { return g.Group == group })
		for _, g := range f.Groups {
			there = append(there, fmt.Sprintf("%s/%d", printable(f.Name), g.Group))
		}
		if i >= 0 {
			f.Groups = f.Groups[i : i+1]
			having = append(having, f)
		}
	}
	if len(having) == 0 {
		return st, fail(classRefused, "groups: "+firstOf(strings.Join(there, ", "), "none"), "there is no group %d", group)
	}
	st.Formations = having
	return st, nil
}

func (a *app) showNodes() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "nodes", Short: "Print the nodes with their settings, ages and versions",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				st, err := a.chosenState(cmd.Context(), t, s)
				if err != nil {
					return err
				}
				nodes := []monitorapi.NodeState{}
				tab := newTable("Name", "Node", "Host:Port", "Priority", "Quorum", "Health", "Reported", "Lag", "PostgreSQL", "autoctl")
				for _, f := range st.Formations {
					for _, g := range f.Groups {
						for _, n := range sortedNodes(g) {
							nodes = append(nodes, n)
							tab.add(n.Name, nodeNumber(f.Kind, g.Group, n.NodeID), address(n.Host, n.Port), fmt.Sprint(n.Priority), yesNo(n.Quorum),
								n.Health, ageText(n.ReportAgeMS), lagText(n), serverVersion(n.Version), n.Software)
						}
					}
				}
				return a.print(map[string]any{"nodes": nodes}, tab.write)
			}), "show nodes")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

func lagText(n monitorapi.NodeState) string {
	if n.LagBytes < 0 {
		return "-"
	}
	return fsm.SizeText(n.LagBytes)
}

// serverVersion turns PostgreSQL's version number, such as 150018, into 15.18.
func serverVersion(number int) string {
	if number == 0 {
		return "-"
	}
	return fmt.Sprintf("%d.%d", number/10000, number%10000)
}

func (a *app) showEvents() *cobra.Command {
	var t *target
	var count int
	var timings bool
	cmd := &cobra.Command{
		Use: "events", Short: "Print the last events, with the rule and the reason of each",
		Long: `Print the last events, with the rule and the reason of each. With --timings print instead when
each step of the last failovers came: what the monitor noticed, decided, heard and told.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if count < 1 || count > 10000 {
				return fail(classUsage, "", "--count is %d: must be between 1 and 10000", count)
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				filter := monitorapi.EventFilter{Count: count}
				if t.formation != "" {
					filter.Formation = s.formation
				}
				if s.group >= 0 {
					filter.Formation, filter.Group = s.formation, &s.group
				}
				if timings {
					filter.Count = timedEvents
				}
				events, err := s.Events(cmd.Context(), filter)
				if err != nil {
					return err
				}
				if timings {
					all := failovers(events)
					all = all[max(0, len(all)-count):]
					return a.print(map[string]any{"failovers": all}, func(w io.Writer) { writeTimings(w, all) })
				}
				if events == nil {
					events = []monitorapi.Event{}
				}
				return a.print(map[string]any{"events": events}, func(w io.Writer) { writeEvents(w, events) })
			}), "show events")
		},
	}
	t = bindTarget(cmd, true)
	cmd.Flags().IntVarP(&count, "count", "n", 20, "how `many`")
	cmd.Flags().BoolVar(&timings, "timings", false, "print the steps of the last failovers, in milliseconds")
	return leaf(cmd, cobra.NoArgs)
}

// timedEvents is how many events are looked through for failovers.
const timedEvents = 10000

func writeEvents(w io.Writer, events []monitorapi.Event) {
	if len(events) == 0 {
		fmt.Fprintln(w, "There are no events.")
		return
	}
	t := newTable("Time", "Name", "Event", "Current State", "Assigned State", "Rule", "Reason")
	for _, e := range events {
		t.add(e.Time.Local().Format("2006-01-02 15:04:05"), e.Name, e.Kind, string(e.Reported), string(e.Assigned), e.Rule, e.Reason)
	}
	t.write(w)
}

// standbyNames is one row of show standby-names.
type standbyNames struct {
	Formation string `json:"formation"`
	Group     int    `json:"group"`
	Names     string `json:"synchronous_standby_names"`
	K         int    `json:"k"`
	Members   []int  `json:"members"`
	Primary   int    `json:"primary"`
}

func (a *app) showStandbyNames() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "standby-names", Short: "Print the synchronous_standby_names of each group",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				st, err := a.chosenState(cmd.Context(), t, s)
				if err != nil {
					return err
				}
				rows := []standbyNames{}
				for _, f := range st.Formations {
					for _, g := range f.Groups {
						rows = append(rows, groupStandbyNames(f.Name, g))
					}
				}
				return a.print(map[string]any{"groups": rows}, func(w io.Writer) {
					tab := newTable("Formation", "Group", "synchronous_standby_names")
					for _, r := range rows {
						tab.add(r.Formation, fmt.Sprint(r.Group), "'"+r.Names+"'")
					}
					tab.write(w)
				})
			}), "show standby-names")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

// groupStandbyNames derives the setting from the newest configuration of the record, as the primary's keeper does.
func groupStandbyNames(formation string, g monitorapi.GroupState) standbyNames {
	row := standbyNames{Formation: formation, Group: g.Group, Members: []int{}}
	c, ok := g.Record.Current()
	if !ok {
		return row
	}
	row.K, row.Primary = c.K, int(c.Primary.Node)
	var slots []string
	for _, m := range c.Members {
		row.Members = append(row.Members, int(m.Node))
		for _, n := range g.Nodes {
			if n.NodeID == m.Node {
				slots = append(slots, n.Slot)
			}
		}
	}
	if c.K > 0 && len(slots) > 0 {
		row.Names = fmt.Sprintf("ANY %d (%s)", c.K, strings.Join(slots, ", "))
	}
	return row
}

func (a *app) showTimeline() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "timeline", Short: "Print the timelines that were ordered, and where each node is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				g, err := s.oneGroup(cmd.Context())
				if err != nil {
					return err
				}
				tl, err := s.Timelines(cmd.Context(), s.formation, g.Group)
				if err != nil {
					return err
				}
				return a.print(tl, func(w io.Writer) { writeTimelines(w, tl) })
			}), "show timeline")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

func writeTimelines(w io.Writer, tl monitorapi.Timelines) {
	names := map[fsm.NodeID]string{}
	for _, n := range tl.Nodes {
		names[n.NodeID] = n.Name
	}
	orders := newTable("Timeline", "Epoch", "Ordered for")
	for _, o := range tl.Orders {
		orders.add(fmt.Sprint(o.Timeline), fmt.Sprint(o.Epoch), firstOf(names[o.Node], fmt.Sprintf("node %d", o.Node)))
	}
	orders.write(w)
	fmt.Fprintln(w)
	nodes := newTable("Name", "Node", "TLI: LSN", "Timeline known to the group")
	for _, n := range tl.Nodes {
		known := "yes"
		if tl.Orders.Epoch(n.Timeline) == 0 && n.Timeline != 0 {
			known = "no: it was never ordered; the node must be rewound or copied"
		}
		nodes.add(n.Name, fmt.Sprint(n.NodeID), positionText(n.Timeline, n.LSN), known)
	}
	nodes.write(w)
}
