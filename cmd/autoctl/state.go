package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// address is host:port, with the brackets that an IPv6 address needs.
func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// nodeNumber is the Node column: the id, and before it the group where there may be several.
func nodeNumber(kind fsm.Kind, group int, id fsm.NodeID) string {
	if kind == fsm.KindCitus {
		return fmt.Sprintf("%d/%d", group, id)
	}
	return strconv.FormatInt(int64(id), 10)
}

// connectionText adds what the monitor's own probe found: "!" for a failed one, "?" for none yet.
func connectionText(n monitorapi.NodeState) string {
	switch n.Health {
	case "bad":
		return n.Connection + " !"
	case "unknown":
		return n.Connection + " ?"
	}
	return n.Connection
}

func positionText(tli fsm.Timeline, lsn fsm.LSN) string { return fmt.Sprintf("%3d: %s", tli, lsn) }

// writeState prints the table of show state, and below it what a reader should know beyond the columns.
func writeState(w io.Writer, s monitorapi.State) {
	if len(s.Formations) == 0 {
		fmt.Fprintln(w, "There is no formation.")
	}
	for i, f := range s.Formations {
		if len(s.Formations) > 1 {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "Formation %s:\n", printable(f.Name))
		}
		writeFormation(w, f)
	}
	if note := deciderNote(s.Monitor); note != "" {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}

// deciderSilent is the age of the decision loop's last sign of life, one a second, from which people should know of it.
const deciderSilent = 5 * time.Second

// deciderNote warns of a monitor whose PostgreSQL answers while nobody decides: what is shown is old, and nothing fails over.
func deciderNote(m monitorapi.MonitorState) string {
	const hint = "nothing is decided and nobody fails over until its \"autoctl run\" is back"
	switch age := time.Duration(m.DeciderAgeMS) * time.Millisecond; {
	case age < 0:
		return "The monitor's autoctl process has not been heard since its PostgreSQL started: " + hint + "."
	case age > deciderSilent:
		return fmt.Sprintf("The monitor's autoctl process was last heard %d s ago: %s.", int(age.Seconds()), hint)
	}
	return ""
}

func writeFormation(w io.Writer, f monitorapi.FormationState) {
	t := newTable("Name", "Node", "Host:Port", "TLI: LSN", "Connection", "Reported State", "Assigned State")
	var notes []string
	for _, g := range f.Groups {
		for _, n := range sortedNodes(g) {
			t.add(n.Name, nodeNumber(f.Kind, g.Group, n.NodeID), address(n.Host, n.Port), positionText(n.Timeline, n.LSN),
				connectionText(n), string(n.Reported), string(n.Assigned))
			notes = append(notes, nodeNotes(n)...)
		}
		notes = append(notes, groupNotes(f, g)...)
	}
	if len(f.Databases) > 0 {
		notes = append(notes, "Databases: "+quotedNames(append([]string{f.Database}, f.Databases...)))
	}
	if len(t.rows) == 0 {
		fmt.Fprintf(w, "Formation %s has no nodes yet: add one with \"autoctl create postgres\".\n", printable(f.Name))
		return
	}
	t.write(w)
	if f.Paused {
		notes = append(notes, "Paused: nothing fails over and nothing is repaired until \"autoctl resume\".")
	}
	if len(notes) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(notes, "\n"))
	}
}

// quotedNames writes names in a row: one that a reader might take for several is quoted.
func quotedNames(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		if out[i] = printable(n); strings.ContainsAny(n, ", ") {
			out[i] = strconv.Quote(n)
		}
	}
	return strings.Join(out, ", ")
}

func sortedNodes(g monitorapi.GroupState) []monitorapi.NodeState {
	nodes := slices.Clone(g.Nodes)
	slices.SortFunc(nodes, func(a, b monitorapi.NodeState) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return nodes
}

// nodeNotes tells of long work, of what keeps a node from its goal, and of silence.
func nodeNotes(n monitorapi.NodeState) []string {
	var notes []string
	name := printable(n.Name)
	if n.Cluster != "" {
		notes = append(notes, fmt.Sprintf("%s: read replica, Citus cluster %s", name, printable(n.Cluster)))
	}
	if n.Activity != nil {
		notes = append(notes, fmt.Sprintf("%s: %s", name, activityText(*n.Activity)))
	}
	if n.Problem != nil {
		text := fmt.Sprintf("%s: %s", name, n.Problem.Text)
		if n.Problem.Hint != "" {
			text += " (" + n.Problem.Hint + ")"
		}
		notes = append(notes, text)
	}
	if n.ReportAgeMS > 10_000 {
		notes = append(notes, fmt.Sprintf("%s: its keeper was last heard %s ago", name, ageText(n.ReportAgeMS)))
	}
	return notes
}

func groupNotes(f monitorapi.FormationState, g monitorapi.GroupState) []string {
	var notes []string
	prefix := ""
	if f.Kind == fsm.KindCitus {
		prefix = fmt.Sprintf("Group %d: ", g.Group)
	}
	if g.Election != nil {
		notes = append(notes, fmt.Sprintf("%selection: %s, %s", prefix, strings.ReplaceAll(g.Election.Reason, "_", " "), strings.ReplaceAll(string(g.Election.Phase), "_", " ")))
	}
	if g.Unproven {
		notes = append(notes, prefix+"the monitor has an old memory and learns from the nodes; no promotion until it has (autoctl explain)")
	}
	return notes
}

func activityText(a fsm.Activity) string {
	text := a.Kind
	if a.Text != "" {
		text = a.Text
	}
	if a.Total > 0 {
		done := min(a.Done, a.Total)
		return fmt.Sprintf("%s, %d %% (%s of %s)", text, done*100/a.Total, fsm.SizeText(done), fsm.SizeText(a.Total))
	}
	if a.Done > 0 {
		return fmt.Sprintf("%s, %s", text, fsm.SizeText(a.Done))
	}
	return text
}

// ageText is an age in words that fit a line.
func ageText(ms int64) string {
	switch {
	case ms < 0:
		return "never"
	case ms < 10_000:
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	case ms < 120_000:
		return fmt.Sprintf("%d s", ms/1000)
	case ms < 7_200_000:
		return fmt.Sprintf("%d min", ms/60_000)
	}
	return fmt.Sprintf("%d h", ms/3_600_000)
}

// changeTable prints changes as they happen, in the columns of the model. Its widths are fixed: rows come one at a time.
type changeTable struct {
	w      io.Writer
	json   bool
	widths []int
	last   map[fsm.NodeID]string
}

// newChangeTable sizes the columns by the nodes that are there.
func newChangeTable(a *app, s monitorapi.State) *changeTable {
	t := &changeTable{w: a.out, json: a.json(), widths: []int{8, 4, 4, 9, 19, 19}, last: map[fsm.NodeID]string{}}
	for _, f := range s.Formations {
		for _, g := range f.Groups {
			for _, n := range g.Nodes {
				t.widths[1] = max(t.widths[1], len([]rune(printable(n.Name))))
				t.widths[3] = max(t.widths[3], len(address(n.Host, n.Port)))
				t.last[n.NodeID] = string(n.Reported) + ">" + string(n.Assigned)
			}
		}
	}
	if a.json() {
		t.w = a.err
		return t
	}
	writeRow(t.w, []string{"Time", "Name", "Node", "Host:Port", "Current State", "Assigned State"}, t.widths)
	rules := make([]string, len(t.widths))
	for i, n := range t.widths {
		rules[i] = strings.Repeat("-", n)
	}
	fmt.Fprintln(t.w, strings.Join(rules, "-+-"))
	return t
}

// show prints a change, unless it is none of a node's states.
func (t *changeTable) show(c monitorapi.Change) {
	state := string(c.Reported) + ">" + string(c.Assigned)
	if t.json || c.Node == 0 || c.Name == "" || t.last[c.Node] == state {
		return
	}
	t.last[c.Node] = state
	writeRow(t.w, []string{c.Time.Local().Format("15:04:05"), printable(c.Name), strconv.FormatInt(int64(c.Node), 10),
		address(c.Host, c.Port), string(c.Reported), string(c.Assigned)}, t.widths)
}

// serving returns the node that serves its group, as far as reports tell.
func serving(g monitorapi.GroupState) *monitorapi.NodeState {
	for i, n := range g.Nodes {
		if n.Reported.Serves() && n.Assigned.Serves() {
			return &g.Nodes[i]
		}
	}
	return nil
}

// positionTrimmed is a report's timeline and position without the table's padding.
func positionTrimmed(r fsm.Report) string {
	return fmt.Sprintf("%d: %s", r.Server.Timeline, r.Position.LSN)
}
