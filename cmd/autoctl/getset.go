package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

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

// onNode completes a command about one node. prepare looks at the arguments, before anybody is asked, and returns what to do with the node.
func onNode(cmd *cobra.Command, args cobra.PositionalArgs, prepare func(args []string) (aboutNode, error)) *cobra.Command {
	t := bindTarget(cmd, true)
	var name string
	bindName(cmd, &name)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		do, err := prepare(args)
		if err != nil {
			return err
		}
		return attempt(t.withNode(cmd.Context(), name, func(s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
			return do(cmd.Context(), s, n, g)
		}), "%s", what(cmd))
	}
	return leaf(cmd, args)
}

type aboutNode func(context.Context, *session, monitorapi.NodeState, monitorapi.GroupState) error

// onMonitor is onNode for a command about a formation.
func onMonitor(cmd *cobra.Command, args cobra.PositionalArgs, prepare func(args []string) (aboutFormation, error)) *cobra.Command {
	t := bindTarget(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		do, err := prepare(args)
		if err != nil {
			return err
		}
		return attempt(t.withMonitor(cmd.Context(), func(s *session) error { return do(cmd.Context(), t, s) }), "%s", what(cmd))
	}
	return leaf(cmd, args)
}

type aboutFormation func(context.Context, *target, *session) error

// printValue prints one setting.
func (a *app) printValue(v value, text any) error {
	return a.print(v, func(w io.Writer) { fmt.Fprintln(w, text) })
}

func (a *app) getNode(setting, short string, get func(monitorapi.NodeState) any) *cobra.Command {
	return onNode(&cobra.Command{Use: setting, Short: short}, cobra.NoArgs, func([]string) (aboutNode, error) {
		return func(_ context.Context, s *session, n monitorapi.NodeState, _ monitorapi.GroupState) error {
			return a.printValue(value{s.formation, n.Name, strings.ReplaceAll(setting, "-", "_"), get(n)}, get(n))
		}, nil
	})
}

func (a *app) getMetadata() *cobra.Command {
	cmd := &cobra.Command{Use: "metadata", Short: "Print a node's name and address"}
	return onNode(cmd, cobra.NoArgs, func([]string) (aboutNode, error) {
		return func(_ context.Context, s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
			doc := map[string]any{"formation": s.formation, "group": g.Group, "node_id": n.NodeID, "name": n.Name, "host": n.Host, "port": n.Port}
			return a.print(doc, func(w io.Writer) {
				pairs(w, [][2]string{{"name", n.Name}, {"hostname", n.Host}, {"pgport", fmt.Sprint(n.Port)},
					{"formation", s.formation}, {"group", fmt.Sprint(g.Group)}, {"node", fmt.Sprint(n.NodeID)}})
			})
		}, nil
	})
}

func (a *app) getNumberSync() *cobra.Command {
	cmd := &cobra.Command{Use: "number-sync-standbys", Short: "Print how many standbys must hold a commit at least"}
	return onMonitor(cmd, cobra.NoArgs, func([]string) (aboutFormation, error) {
		return func(ctx context.Context, _ *target, s *session) error {
			f, err := s.oneFormation(ctx)
			if err != nil {
				return err
			}
			return a.printValue(value{Formation: f.Name, Setting: "number_sync_standbys", Value: f.NumberSync}, f.NumberSync)
		}, nil
	})
}

func (a *app) getTimings() *cobra.Command {
	cmd := &cobra.Command{Use: "settings [NAME]", Short: "Print the timings, or one of them"}
	return onMonitor(cmd, cobra.MaximumNArgs(1), func(args []string) (aboutFormation, error) {
		if len(args) == 0 {
			return a.printSettings, nil
		}
		x, err := findSetting(args[0])
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, _ *target, s *session) error {
			v, err := s.Settings(ctx)
			if err != nil {
				return err
			}
			return a.printValue(value{Formation: s.formation, Setting: x.field, Value: x.get(v)}, x.text(x.get(v)))
		}, nil
	})
}

func (a *app) setPriority() *cobra.Command {
	cmd := &cobra.Command{Use: "candidate-priority NUMBER", Short: "Change a node's candidate priority: 0 to 100, 0 is never elected by itself"}
	takesNumber(cmd, 100)
	return onNode(cmd, cobra.ExactArgs(1), func(args []string) (aboutNode, error) {
		n, err := numberArgument(cmd, args[0], 100)
		return a.changeNode(fsm.Command{Kind: fsm.CommandPriority, Number: n}), err
	})
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
	cmd := &cobra.Command{Use: "replication-quorum BOOLEAN", Short: "Change whether a node's copy counts for acknowledged commits"}
	return onNode(cmd, cobra.ExactArgs(1), func(args []string) (aboutNode, error) {
		v, err := parseBool(args[0])
		if err != nil {
			return nil, fail(classUsage, "", "replication-quorum %w", err)
		}
		return a.changeNode(fsm.Command{Kind: fsm.CommandQuorum, Flag: v}), nil
	})
}

// changeNode gives a command whose answer is its end.
func (a *app) changeNode(c fsm.Command) aboutNode {
	return func(ctx context.Context, s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
		c.Node = n.NodeID
		o := operation{a: a, s: s, group: g.Group, command: c}
		return o.carryOut(ctx)
	}
}

func (a *app) setNumberSync() *cobra.Command {
	cmd := &cobra.Command{
		Use: "number-sync-standbys NUMBER", Short: "Change how many standbys must hold a commit at least",
		Long: `Change how many standbys must hold a commit before it is acknowledged, at least.

0 (the default): one, as long as one is in step; without any, the primary serves unprotected.
1 or more: that many, always; with fewer in step, writes wait.`,
	}
	takesNumber(cmd, 100)
	return onMonitor(cmd, cobra.ExactArgs(1), func(args []string) (aboutFormation, error) {
		n, err := numberArgument(cmd, args[0], 100)
		return func(ctx context.Context, _ *target, s *session) error { return a.changeNumberSync(ctx, s, n) }, err
	})
}

func (a *app) changeNumberSync(ctx context.Context, s *session, n int) error {
	f, err := s.oneFormation(ctx)
	if err != nil {
		return err
	}
	if s.group >= 0 {
		g, err := s.pick(f)
		if err != nil {
			return err
		}
		f.Groups = []monitorapi.GroupState{g}
	}
	for _, g := range f.Groups {
		o := operation{a: a, s: s, group: g.Group, command: fsm.Command{Kind: fsm.CommandNumberSync, Number: n}}
		if err := o.carryOut(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) setMetadata() *cobra.Command {
	var m monitorapi.Metadata
	cmd := &cobra.Command{
		Use: "metadata", Short: "Change a node's name or address",
		Long: `Change a node's name or address on the monitor, which tells its neighbours. The node's own
configuration stays as it is; what is changed there later counts again. Changing --pgport here
does not move the server: "autoctl config set postgresql.port" does.`,
	}
	cmd.Flags().StringVar(&m.Name, "new-name", "", "new `name`")
	cmd.Flags().StringVar(&m.Host, "hostname", "", "new `host` name or address")
	cmd.Flags().IntVar(&m.Port, "pgport", 0, "new `port`")
	return onNode(cmd, cobra.NoArgs, func([]string) (aboutNode, error) {
		if m == (monitorapi.Metadata{}) {
			return nil, fail(classUsage, "give --new-name, --hostname or --pgport", "nothing to change")
		}
		return func(ctx context.Context, s *session, n monitorapi.NodeState, g monitorapi.GroupState) error {
			return a.changeMetadata(ctx, s, g.Group, n, m)
		}, checkMetadata(m)
	})
}

func (a *app) changeMetadata(ctx context.Context, s *session, group int, n monitorapi.NodeState, m monitorapi.Metadata) error {
	began := time.Now()
	if m.Host != "" {
		if err := resolves(ctx, m.Host); err != nil {
			return err
		}
	}
	if err := s.SetNodeMetadata(ctx, n.NodeID, m); err != nil {
		return err
	}
	port := m.Port
	if port == 0 {
		port = n.Port
	}
	text := fmt.Sprintf("Node %s is now %s at %s.", printable(n.Name), printable(firstOf(m.Name, n.Name)), address(firstOf(m.Host, n.Host), port))
	return a.did(ctx, s, &group, began, text)
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
	cmd := &cobra.Command{
		Use: "settings NAME=VALUE...", Short: "Change timings; all are checked together, and take effect at once",
		Example: "  autoctl set formation settings node_lost_after=5s heartbeat=1s",
	}
	return onMonitor(cmd, cobra.MinimumNArgs(1), func(args []string) (aboutFormation, error) {
		changes, err := parseTimings(args)
		return func(ctx context.Context, _ *target, s *session) error { return a.changeTimings(ctx, s, changes) }, err
	})
}

func (a *app) changeTimings(ctx context.Context, s *session, changes func(*fsm.Settings)) error {
	v, err := s.Settings(ctx)
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
	if err := s.SetSettings(ctx, v); err != nil {
		return err
	}
	m, err := settingsMap(v)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"settings": m, "worst_case_failover": worst(v)}, func(w io.Writer) { fmt.Fprintln(w, "Changed. "+worstText(v)) })
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
