package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
)

func (a *app) inspectCommand() *cobra.Command {
	return parent("inspect", "Look into autoctl itself", a.inspectFSM())
}

// ruleJSON is one row of inspect fsm.
type ruleJSON struct {
	Position int    `json:"position"`
	Section  string `json:"section"`
	Name     string `json:"name"`
	When     string `json:"when"`
	Then     string `json:"then"`
}

func (a *app) inspectFSM() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "fsm", Short: "Print the rule table by which the monitor decides, in the order in which it is tried",
		Long: `Print the rule table by which the monitor decides. At each decision the rows are tried in
this order; the first that applies fires, and then from the top again until none does. Events
and "autoctl explain" quote the names. --format mermaid draws how they change a node's goal.`,
		RunE: func(*cobra.Command, []string) error {
			rows := []ruleJSON{}
			for i, r := range fsm.Rules() {
				rows = append(rows, ruleJSON{i + 1, r.Section, r.Name, r.When, r.Then})
			}
			switch format {
			case "text":
				return a.print(map[string]any{"rules": rows}, func(w io.Writer) { writeRules(w, rows) })
			case "mermaid":
				return a.print(map[string]any{"mermaid": fsm.Mermaid()}, func(w io.Writer) { fmt.Fprint(w, fsm.Mermaid()) })
			}
			return fail(classUsage, "use --format text or --format mermaid", "inspect fsm: unknown format %q", format)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "print as `text` or mermaid")
	return leaf(cmd, cobra.NoArgs)
}

func writeRules(w io.Writer, rows []ruleJSON) {
	section := ""
	for _, r := range rows {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(w, "\n%s\n", strings.ToUpper(section))
		}
		fmt.Fprintf(w, "%3d  %s\n     when  %s\n     then  %s\n", r.Position, r.Name, r.When, r.Then)
	}
}
