package explore

import (
	"fmt"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// tell replays the events and tells the story: each event in words, and what the nodes and the monitor are after it.
func tell(first World, path []event) string {
	var out strings.Builder
	out.WriteString("at first\n" + first.describe())
	w := first
	for i, e := range path {
		before := w.lines()
		w.broken = ""
		if !w.apply(e) {
			fmt.Fprintf(&out, "%3d. %v: not possible\n", i+1, e)
			continue
		}
		fmt.Fprintf(&out, "%3d. %v%s\n", i+1, e, w.why(e))
		for j, line := range w.lines() {
			if j >= len(before) || line != before[j] {
				out.WriteString(line)
			}
		}
	}
	if w.broken != "" {
		fmt.Fprintf(&out, "     %s\n", w.broken)
		return out.String()
	}
	var c canon
	out.WriteString("     all faults heal\n")
	why := newHealer().check(&w, &c, func(w *World, what string) {
		out.WriteString("     " + what + "\n" + w.describe())
	})
	fmt.Fprintf(&out, "     %s\n", why)
	return out.String()
}

// why adds what the keeper's plan says now to the event of a step.
func (w *World) why(e event) string {
	if e.kind != evStep && e.kind != evObey {
		return ""
	}
	plan := w.plan(int(e.a))
	if len(plan) == 0 {
		return " (its goal is reached)"
	}
	return fmt.Sprintf(" (next: %s, %s)", plan[0].Kind, plan[0].Reason)
}

func (w *World) describe() string { return strings.Join(w.lines(), "") }

// lines describes the world, a line for each node and one for the monitor.
func (w *World) lines() []string {
	var out []string
	for i := range w.n {
		out = append(out, w.nodeLine(i))
	}
	g := &w.group
	line := fmt.Sprintf("     monitor  epoch %d seq %d record %s", g.Epoch, g.Seq, recordText(g.Record))
	if e := g.Election; e != nil {
		line += fmt.Sprintf(" election %d: %s, %s", e.Seq, e.Reason, e.Phase)
		if e.Candidate != 0 {
			line += " of " + nameOf(e.Candidate)
		}
	}
	var rows []string
	for i := range g.Nodes {
		n := &g.Nodes[i]
		heard := "never heard"
		if n.Report != nil {
			heard = fmt.Sprintf("said %s/%s %v", n.Report.State, n.Report.Server.Status, n.Report.Position)
			if n.Report.Vote != nil {
				heard += " votes " + n.Report.Vote.Stamp.String()
			}
		}
		if n.Heard < now {
			heard += " long ago"
		}
		rows = append(rows, fmt.Sprintf("\n              %s: %s %v, %s", n.Name, n.Goal.State, n.Goal.Stamp, heard))
	}
	rows = append(rows, "\n")
	for _, r := range w.refused {
		rows = append(rows, fmt.Sprintf("              refused %s: %s\n", r.Rule, r.Waits))
	}
	return append(out, line+strings.Join(rows, ""))
}

func (w *World) nodeLine(i int) string {
	h := &w.hosts[i]
	role := string(h.status)
	if h.running() {
		role = "standby"
		if h.runs {
			role = "read-write"
		}
	}
	if h.down {
		role = "host off"
	}
	line := fmt.Sprintf("     node %s   %s, log %s, goal %s %v, reached %v", name(i), role, h.log.text(), h.mem.Goal.State, h.mem.Goal.Stamp, h.mem.Reached)
	if h.running() {
		if h.rcv >= 0 {
			line += ", receives from " + name(int(h.rcv))
		}
		if h.runs {
			line += fmt.Sprintf(", in force k=%d of %03b", h.force.k, h.force.members)
			if h.loaded.gate {
				line += ", gate closed"
			}
		}
	}
	if h.mem.Rung != "" || h.mem.Busy != "" {
		line += fmt.Sprintf(", %s %s", h.mem.Rung, h.mem.Busy)
	}
	if len(h.mem.Promotions) > 0 {
		line += fmt.Sprintf(", promotions %v", h.mem.Promotions)
	}
	if h.late != nil {
		line += ", a report is late"
	}
	return line + fmt.Sprintf(", generation %d\n", h.mem.Generation)
}

func (w wal) text() string {
	var out strings.Builder
	for i := range w.len() {
		if c := w.commit(i); c != 0 {
			fmt.Fprintf(&out, "%d:c%d ", w[2*i], c)
		} else {
			fmt.Fprintf(&out, "%d:- ", w[2*i])
		}
	}
	return "[" + strings.TrimSpace(out.String()) + "]"
}

func recordText(r fsm.Record) string {
	var parts []string
	for _, c := range r {
		var members []string
		for _, m := range c.Members {
			members = append(members, fmt.Sprintf("%s%d", nameOf(m.Node), m.Generation))
		}
		parts = append(parts, fmt.Sprintf("#%d e%d %s%d: %d of {%s}", c.Seq, c.Epoch, nameOf(c.Primary.Node), c.Primary.Generation, c.K, strings.Join(members, " ")))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
