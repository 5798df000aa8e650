package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/keeper"
	"github.com/autoctl/autoctl/keeper/control"
)

func (a *app) showCitus() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "citus", Short: "Print where the groups of a Citus formation are served, and what each node's metadata say",
		Long: `Print where the groups of a Citus formation are served, as the monitor decided it, beside what
pg_dist_node says on every node that plans queries, with the reason for each difference. It asks
the daemon of a node of the formation, which asks the others, and changes nothing.`,
		Example: "  autoctl show citus --pgdata /var/lib/autoctl/node\n  autoctl show citus --pgdata /var/lib/autoctl/node --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(a.askMetadata(cmd.Context(), t, "citus"), "show citus")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) activateCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "activate", Short: "Register the nodes of a Citus formation now, and activate them",
		Long: `Register the primaries of a Citus formation in each other's metadata now, and activate them.
The coordinator's daemon does that by itself, again and again; this command is for nodes whose
pg_hba.conf is managed by hand (--skip-pg-hba): it says at once whether what was written there
lets the nodes in.`,
		Example: "  autoctl activate --pgdata /var/lib/autoctl/node",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return attempt(a.askMetadata(cmd.Context(), t, "activate"), "activate")
		},
	}
	t = bindLocal(cmd)
	return leaf(cmd, cobra.NoArgs)
}

// metadataTimeout bounds a look at the metadata of a whole formation; an activation copies the metadata and may take longer.
const (
	metadataTimeout = 30 * time.Second
	activateTimeout = 10 * time.Minute
)

// askMetadata asks the daemon of a node for the metadata of its formation and prints them.
func (a *app) askMetadata(ctx context.Context, t *target, command string) error {
	l, _, err := t.local()
	if err != nil {
		return err
	}
	limit := metadataTimeout
	if command == "activate" {
		limit = activateTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var st keeper.CitusStatus
	if err := control.Call(ctx, statePath(l.PostgreSQL.PGData), control.Request{Command: command}, &st, nil); err != nil {
		return err
	}
	if err := a.print(st, func(w io.Writer) { writeCitus(w, st) }); err != nil {
		return err
	}
	if command == "activate" {
		return activated(st)
	}
	return nil
}

// activated is an error where the metadata are not yet what they should be everywhere.
func activated(st keeper.CitusStatus) error {
	nodes := slices.Clone(st.Nodes)
	for _, d := range st.Databases {
		nodes = append(nodes, d.Nodes...)
	}
	for _, n := range nodes {
		if n.Problem != "" {
			hint := "autoctl show state tells which nodes serve"
			if strings.Contains(n.Problem, "pg_hba.conf") {
				hint = "every node must admit all nodes of the formation to its databases, in any role: lines such as \"hostssl " + st.Database +
					" all ADDRESS/32 METHOD\" in pg_hba.conf, for the address of each"
			}
			return fail(classFailed, hint, "%s", n.Problem)
		}
		if len(n.Left) > 0 {
			return fail(classFailed, "", "group %d at %s: %s", n.Group, n.At, n.Left[0].Reason)
		}
	}
	return nil
}

// writeCitus prints a line for each group and each thing that nodes say of it: mostly they all say the same.
func writeCitus(w io.Writer, st keeper.CitusStatus) {
	if len(st.Databases) > 0 {
		fmt.Fprintf(w, "Database %s:\n", printable(st.Database))
	}
	writeCitusDatabase(w, st)
	for _, d := range st.Databases {
		fmt.Fprintf(w, "\nDatabase %s:\n", printable(d.Database))
		other := st
		other.Database, other.Nodes = d.Database, d.Nodes
		writeCitusDatabase(w, other)
	}
}

func writeCitusDatabase(w io.Writer, st keeper.CitusStatus) {
	t := newTable("Group", "Epoch", "Wanted", "Registered", "Says", "Difference")
	for _, g := range st.Groups {
		wanted := g.Primary.String()
		switch {
		case g.Dropped:
			wanted = "none"
		case !g.Serving:
			wanted += " (not serving)"
		}
		for i, v := range viewsOf(g, st.Nodes) {
			if i > 0 {
				wanted = ""
			}
			t.add(fmt.Sprint(g.Number), g.Epoch.String(), wanted, v.registered, v.by(len(st.Nodes)), v.difference)
		}
	}
	for _, n := range st.Nodes {
		for _, d := range n.Left {
			if d.Kind == citus.DifferForeign {
				t.add(fmt.Sprint(d.Group), "", "", d.Have, fmt.Sprintf("group %d", n.Group), d.Reason)
			}
		}
	}
	t.write(w)
	for _, n := range st.Nodes {
		if n.Problem != "" {
			fmt.Fprintf(w, "group %d at %s: %s\n", n.Group, n.At, printable(n.Problem))
		}
	}
}

// view is what some of the nodes say of one group.
type view struct {
	registered, difference string
	on                     []int
}

func (v view) by(all int) string {
	switch len(v.on) {
	case 0:
		return "nobody"
	case all:
		return "all"
	}
	var names []string
	for _, n := range v.on {
		names = append(names, fmt.Sprint(n))
	}
	return "group " + strings.Join(names, ", ")
}

// viewsOf gathers what the nodes that could be read say of a group.
func viewsOf(g citus.Group, nodes []metadata.Node) []view {
	var views []view
	for _, n := range nodes {
		if n.Actual == nil {
			continue
		}
		v := view{registered: "none", on: []int{n.Group}}
		if row := n.Actual.Primary(g.Number); row != nil {
			v.registered = row.Address.String()
			if !row.Active {
				v.registered += " (inactive)"
			}
		}
		for _, d := range n.Left {
			if d.Group == g.Number && v.difference == "" {
				v.difference = fmt.Sprintf("%s: %s", d.Kind, d.Reason)
			}
		}
		i := slices.IndexFunc(views, func(o view) bool { return o.registered == v.registered && o.difference == v.difference })
		if i < 0 {
			views = append(views, v)
			continue
		}
		views[i].on = append(views[i].on, n.Group)
	}
	if len(views) == 0 {
		return []view{{registered: "unknown", difference: "no node of the formation could be asked"}}
	}
	return views
}
