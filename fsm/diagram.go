package fsm

import (
	"fmt"
	"slices"
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

// transition is a change of a node's goal and the rows, or operators, that make it. Serving and standby stand for the states in groups.
type transition struct {
	from, to string
	by       string
}

// stateGroups are states among which the record alone decides, with what moves a node between them.
var stateGroups = []struct {
	name    string
	states  []State
	changes []transition
}{
	{"serving", []State{StateSingle, StateWaitPrimary, StatePrimary}, []transition{
		{"single", "wait_primary", "roles: another node is there"}, {"wait_primary", "single", "roles: the others have left"},
		{"wait_primary", "primary", "roles: members are in step"}, {"primary", "wait_primary", "roles: no member is left, N = 0"},
	}},
	{"standby", []State{StateCatchingUp, StateSecondary}, []transition{
		{"catchingup", "secondary", "roles: a member"}, {"secondary", "catchingup", "roles: lost, or no member any more"},
	}},
	{"handing_over", []State{StateDraining, StatePrepareMaintenance}, nil},
}

// transitions are the changes of a goal's state that decisions make. A test checks that no decision makes another one; rows that only confirm what
// a node is after the monitor was restored are left out.
var transitions = []transition{
	{"init", "serving", "first_primary"},
	{"wait_standby", "serving", "first_primary: the last one has left"},
	{"init", "wait_standby", "new_node"},
	{"init", "dropped", "drop"},
	{"wait_standby", "standby", "create_standby"},
	{"wait_standby", "dropped", "drop"},
	{"serving", "handing_over", "operator"},
	{"serving", "demoted", "choose, fast_forwarded, follow"},
	{"serving", "report_lsn", "candidate_lost, join_vote"},
	{"serving", "standby", "follow"},
	{"serving", "dropped", "drop: the last node"},
	{"handing_over", "serving", "drain_failed, operator"},
	{"handing_over", "demoted", "drained, choose, fast_forwarded, follow"},
	{"handing_over", "standby", "follow"},
	{"handing_over", "dropped", "drop: the last node"},
	{"demoted", "report_lsn", "candidate_lost, join_vote, choose"},
	{"demoted", "serving", "drain_failed"},
	{"demoted", "standby", "follow"},
	{"demoted", "maintenance", "maintenance"},
	{"demoted", "dropped", "drop"},
	{"standby", "report_lsn", "primary_failed, drained, join_vote, candidate_lost, operator"},
	{"standby", "prepare_promotion", "operator: a Citus worker group hands over"},
	{"prepare_promotion", "serving", "choose"},
	{"prepare_promotion", "fast_forward", "choose"},
	{"prepare_promotion", "report_lsn", "drain_failed, operator"},
	{"prepare_promotion", "standby", "drain_failed, choose"},
	{"prepare_promotion", "dropped", "drop: the last node"},
	{"handing_over", "report_lsn", "candidate_lost, join_vote"},
	{"standby", "wait_maintenance", "maintenance"},
	{"standby", "maintenance", "maintenance"},
	{"standby", "dropped", "drop"},
	{"report_lsn", "serving", "choose"},
	{"report_lsn", "fast_forward", "choose"},
	{"report_lsn", "standby", "choose, fast_forwarded, resumed, drain_failed"},
	{"report_lsn", "dropped", "drop: the last node"},
	{"fast_forward", "serving", "fast_forwarded"},
	{"fast_forward", "report_lsn", "source_lost"},
	{"fast_forward", "standby", "resumed"},
	{"wait_maintenance", "report_lsn", "primary_failed, join_vote"},
	{"wait_maintenance", "maintenance", "maintenance"},
	{"wait_maintenance", "standby", "follow"},
	{"wait_maintenance", "dropped", "drop"},
	{"maintenance", "standby", "follow"},
	{"maintenance", "report_lsn", "join_vote"},
	{"maintenance", "dropped", "drop"},
}

// Mermaid renders the changes of goals as a state diagram in Mermaid's language.
func Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> init\n")
	for _, g := range stateGroups {
		fmt.Fprintf(&b, "    state %s {\n", g.name)
		for _, s := range g.states {
			fmt.Fprintf(&b, "        %s\n", s)
		}
		for _, t := range g.changes {
			fmt.Fprintf(&b, "        %s --> %s: %s\n", t.from, t.to, t.by)
		}
		b.WriteString("    }\n")
	}
	for _, t := range transitions {
		fmt.Fprintf(&b, "    %s --> %s: %s\n", t.from, t.to, t.by)
	}
	b.WriteString("    dropped --> [*]\n")
	return b.String()
}

// groupOf returns the name under which the diagram shows a state.
func groupOf(s State) string {
	for _, g := range stateGroups {
		if slices.Contains(g.states, s) {
			return g.name
		}
	}
	return string(s)
}
