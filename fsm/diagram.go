package fsm

import (
	"fmt"
	"strings"
)

// Text renders the rule table as a Markdown document: what `autoctl inspect rules` prints and docs/rules.md holds.
func Text() string {
	var b strings.Builder
	b.WriteString("# The rules\n\nGenerated from `fsm/rules.go`; `go test ./fsm -run TestRulesDocument -update` writes it anew.\n\n" +
		"`Decide` looks at one group, handles the operators' commands, and then goes through this table from the top: the first row\n" +
		"that applies fires, and the table is looked at again, until no row does. All that fired is one decision, stored in one\n" +
		"transaction before anybody is told. S*n* are the findings in [safety.md](safety.md).\n\n" +
		"*paused* and *unproven* mark the rows that apply although automation is paused, or the monitor's memory is not proved yet.\n")
	section := ""
	for _, r := range rules {
		if r.Section != section {
			section = r.Section
			fmt.Fprintf(&b, "\n## %s\n\n| rule | when | then | also while |\n|---|---|---|---|\n", strings.ToUpper(section[:1])+section[1:])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Name, r.When, r.Then, r.also())
	}
	b.WriteString("\n## States\n\nGoals that rules give, and what each row makes of a node.\n\n```mermaid\n")
	b.WriteString(Mermaid())
	b.WriteString("```\n")
	return b.String()
}

func (r Rule) also() string {
	var out []string
	if r.paused {
		out = append(out, "paused")
	}
	if r.unproven {
		out = append(out, "unproven")
	}
	return strings.Join(out, ", ")
}

// transition is one way in which a row changes a node's goal.
type transition struct {
	from, to State
	rule     string
}

// transitions are the changes of a goal's state that rows make in service. The scripts' test checks that no decision makes one that is not here.
var transitions = []transition{
	{StateInit, StateSingle, "first_primary"},
	{StateInit, StateWaitPrimary, "first_primary"},
	{StateInit, StateWaitStandby, "new_node"},
	{StateWaitStandby, StateCatchingUp, "create_standby"},
	{StateSingle, StateWaitPrimary, "roles"},
	{StateWaitPrimary, StateSingle, "roles"},
	{StateWaitPrimary, StatePrimary, "roles"},
	{StatePrimary, StateWaitPrimary, "roles"},
	{StatePrimary, StateSingle, "roles"},
	{StateCatchingUp, StateSecondary, "roles"},
	{StateSecondary, StateCatchingUp, "roles"},
}

// Mermaid renders the goal transitions as a state diagram.
func Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> init\n")
	for _, t := range transitions {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", t.from, t.to, t.rule)
	}
	b.WriteString("    dropped --> [*]\n")
	return b.String()
}
