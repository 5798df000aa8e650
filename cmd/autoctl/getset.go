package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func (a *app) getCommand() *cobra.Command {
	return parent("get", "Print one setting of a node or formation",
		parent("node", "Print one setting of a node",
			a.getNode("candidate-priority", "Print a node's candidate priority", func(n monitorapi.NodeState) any { return n.Priority }),
			a.getNode("replication-quorum", "Print whether a node counts for the replication quorum", func(n monitorapi.NodeState) any { return n.Quorum }),
			a.getMetadata()),
		parent("formation", "Print one setting of a formation", a.getNumberSync(), a.getTimings()))
}

func (a *app) setCommand() *cobra.Command {
	return parent("set", "Change one setting of a node or formation",
		parent("node", "Change one setting of a node", a.setPriority(), a.setQuorum(), a.setMetadata()),
		parent("formation", "Change one setting of a formation", a.setNumberSync(), a.setTimings()))
}

// value is the JSON document of get node and get formation.
type value struct {
	Formation string `json:"formation"`
	Name      string `json:"name,omitempty"`
	Setting   string `json:"setting"`
	Value     any    `json:"value"`
}

func (a *app) getNode(setting, short string, get func(monitorapi.NodeState) any) *cobra.Command {
	var t *target
	var name string
	cmd := &cobra.Command{
		Use: setting, Short: short,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, _ monitorapi.GroupState) error {
				v := value{s.formation, n.Name, strings.ReplaceAll(setting, "-", "_"), get(n)}
				return a.print(v, func(w io.Writer) { fmt.Fprintln(w, v.Value) })
			}), "get node %s", setting)
		},
	}
	t = bindTarget(cmd, true)
	bindName(cmd, &name)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) getMetadata() *cobra.Command {
	var t *target
	var name string
	cmd := &cobra.Command{
		Use: "metadata", Short: "Print a node's name and address",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
				doc := map[string]any{"formation": s.formation, "group": g.Group, "node_id": n.NodeID, "name": n.Name, "host": n.Host, "port": n.Port}
				return a.print(doc, func(w io.Writer) {
					pairs(w, [][2]string{{"name", n.Name}, {"hostname", n.Host}, {"pgport", fmt.Sprint(n.Port)},
						{"formation", s.formation}, {"group", fmt.Sprint(g.Group)}, {"node", fmt.Sprint(n.NodeID)}})
				})
			}), "get node metadata")
		},
	}
	t = bindTarget(cmd, true)
	bindName(cmd, &name)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) getNumberSync() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "number-sync-standbys", Short: "Print how many standbys must hold a commit at least",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				f, err := s.oneFormation(cmd.Context())
				if err != nil {
					return err
				}
				v := value{Formation: f.Name, Setting: "number_sync_standbys", Value: f.NumberSync}
				return a.print(v, func(w io.Writer) { fmt.Fprintln(w, v.Value) })
			}), "get formation number-sync-standbys")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) getTimings() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "settings [NAME]", Short: "Print the timings, or one of them",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return attempt(t.withMonitor(cmd.Context(), func(s *session) error { return a.printSettings(cmd, t, s) }), "get formation settings")
			}
			x, err := findSetting(args[0])
			if err != nil {
				return err
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				v, err := s.Settings(cmd.Context())
				if err != nil {
					return err
				}
				doc := value{Formation: s.formation, Setting: x.field, Value: x.get(v)}
				return a.print(doc, func(w io.Writer) { fmt.Fprintln(w, x.text(x.get(v))) })
			}), "get formation settings")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.MaximumNArgs(1))
}

func (a *app) setPriority() *cobra.Command {
	var t *target
	var name string
	cmd := &cobra.Command{
		Use: "candidate-priority NUMBER", Short: "Change a node's candidate priority: 0 to 100, 0 is never elected by itself",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := numberArgument(cmd, args[0], 100)
			if err != nil {
				return err
			}
			return attempt(a.changeNode(cmd.Context(), t, name, fsm.Command{Kind: fsm.CommandPriority, Number: n}), "set node candidate-priority")
		},
	}
	t = bindTarget(cmd, true)
	bindName(cmd, &name)
	takesNumber(cmd, 100)
	return leaf(cmd, cobra.ExactArgs(1))
}

// numberArgument reads the argument of a command that takes a number from 0 on.
func numberArgument(cmd *cobra.Command, arg string, most int) (int, error) {
	if err := intBetween(0, most)(arg); err != nil {
		return 0, fail(classUsage, "", "%s %w", cmd.Name(), err)
	}
	return strconv.Atoi(arg)
}

// takesNumber tells a negative number, which looks like an option, from an option that nobody knows.
func takesNumber(cmd *cobra.Command, most int) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if _, given, ok := strings.Cut(err.Error(), "unknown shorthand flag: "); ok {
			if _, arg, _ := strings.Cut(given, " in "); intBetween(math.MinInt, -1)(arg) == nil {
				_, err := numberArgument(cmd, arg, most)
				return err
			}
		}
		return flagError(cmd, err)
	})
}

func (a *app) setQuorum() *cobra.Command {
	var t *target
	var name string
	cmd := &cobra.Command{
		Use: "replication-quorum BOOLEAN", Short: "Change whether a node's copy counts for acknowledged commits",
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := parseBool(args[0])
			if err != nil {
				return fail(classUsage, "", "replication-quorum %w", err)
			}
			return attempt(a.changeNode(cmd.Context(), t, name, fsm.Command{Kind: fsm.CommandQuorum, Flag: v}), "set node replication-quorum")
		},
	}
	t = bindTarget(cmd, true)
	bindName(cmd, &name)
	return leaf(cmd, cobra.ExactArgs(1))
}

// changeNode gives a command whose answer is its end.
func (a *app) changeNode(ctx context.Context, t *target, name string, c fsm.Command) error {
	return t.withNode(ctx, name, func(s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
		c.Node = n.NodeID
		o := operation{a: a, s: s, group: g.Group, command: c}
		return o.carryOut(ctx)
	})
}

func (a *app) setNumberSync() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "number-sync-standbys NUMBER", Short: "Change how many standbys must hold a commit at least",
		Long: `Change how many standbys must hold a commit before it is acknowledged, at least.

0 (the default): one, as long as one is in step; without any, the primary serves unprotected.
1 or more: that many, always; with fewer in step, writes wait.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := numberArgument(cmd, args[0], 100)
			if err != nil {
				return err
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				f, err := s.oneFormation(cmd.Context())
				if err != nil {
					return err
				}
				for _, g := range f.Groups {
					if s.group >= 0 && g.Group != s.group {
						continue
					}
					o := operation{a: a, s: s, group: g.Group, command: fsm.Command{Kind: fsm.CommandNumberSync, Number: n}}
					if err := o.carryOut(cmd.Context()); err != nil {
						return err
					}
				}
				return nil
			}), "set formation number-sync-standbys")
		},
	}
	t = bindTarget(cmd, true)
	takesNumber(cmd, 100)
	return leaf(cmd, cobra.ExactArgs(1))
}

func (a *app) setMetadata() *cobra.Command {
	var t *target
	var name string
	var m monitorapi.Metadata
	cmd := &cobra.Command{
		Use: "metadata", Short: "Change a node's name or address",
		Long: `Change a node's name or address on the monitor, which tells its neighbours. The node's own
configuration stays as it is; what is changed there later counts again. Changing --pgport here
does not move the server: "autoctl config set postgresql.port" does.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if m == (monitorapi.Metadata{}) {
				return fail(classUsage, "give --new-name, --hostname or --pgport", "nothing to change")
			}
			if err := checkMetadata(m); err != nil {
				return err
			}
			return attempt(t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, _ monitorapi.GroupState) error {
				if m.Host != "" {
					if err := resolves(cmd.Context(), m.Host); err != nil {
						return err
					}
				}
				if err := s.SetNodeMetadata(cmd.Context(), n.NodeID, m); err != nil {
					return err
				}
				after := monitorapi.Metadata{Name: firstOf(m.Name, n.Name), Host: firstOf(m.Host, n.Host), Port: max(m.Port, 0)}
				if after.Port == 0 {
					after.Port = n.Port
				}
				text := fmt.Sprintf("Node %s is now %s at %s.", printable(n.Name), printable(after.Name), address(after.Host, after.Port))
				return a.print(outcome{Outcome: fsm.OutcomeDone, Text: text, Formation: s.formation}, func(w io.Writer) { fmt.Fprintln(w, text) })
			}), "set node metadata")
		},
	}
	t = bindTarget(cmd, true)
	bindName(cmd, &name)
	cmd.Flags().StringVar(&m.Name, "new-name", "", "new `name`")
	cmd.Flags().StringVar(&m.Host, "hostname", "", "new `host` name or address")
	cmd.Flags().IntVar(&m.Port, "pgport", 0, "new `port`")
	return leaf(cmd, cobra.NoArgs)
}

func checkMetadata(m monitorapi.Metadata) error {
	if err := optional(nodeName)(m.Name); err != nil {
		return fail(classUsage, "", "--new-name %w", err)
	}
	if err := optional(hostName)(m.Host); err != nil {
		return fail(classUsage, "", "--hostname %w", err)
	}
	if m.Port < 0 || m.Port > 65535 {
		return fail(classUsage, "", "--pgport is %d: must be between 1 and 65535", m.Port)
	}
	return nil
}

func (a *app) setTimings() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "settings NAME=VALUE...", Short: "Change timings; all are checked together, and take effect at once",
		Example: "  autoctl set formation settings node_lost_after=5s heartbeat=1s",
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := parseTimings(args)
			if err != nil {
				return err
			}
			return attempt(t.withMonitor(cmd.Context(), func(s *session) error {
				v, err := s.Settings(cmd.Context())
				if err != nil {
					return err
				}
				before := v
				changes(&v)
				if v == before {
					return fail(classNothing, "", "the settings are so already")
				}
				if err := v.Validate(); err != nil {
					return fail(classUsage, "nothing was changed; several settings can be changed in one command", "%w", err)
				}
				if err := s.SetSettings(cmd.Context(), v); err != nil {
					return err
				}
				m, err := settingsMap(v)
				if err != nil {
					return err
				}
				return a.print(map[string]any{"settings": m, "worst_case_failover": worst(v)}, func(w io.Writer) { fmt.Fprintln(w, "Changed. "+worstText(v)) })
			}), "set formation settings")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.MinimumNArgs(1))
}

// parseTimings reads NAME=VALUE arguments into a change of the settings.
func parseTimings(args []string) (func(*fsm.Settings), error) {
	values := map[setting]int64{}
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fail(classUsage, "write it like node_lost_after=5s", "%q is not NAME=VALUE", arg)
		}
		x, err := findSetting(strings.ReplaceAll(name, "-", "_"))
		if err != nil {
			return nil, err
		}
		if values[x], err = x.parse(text); err != nil {
			return nil, err
		}
	}
	return func(v *fsm.Settings) {
		for x, n := range values {
			x.set(v, n)
		}
	}, nil
}
