package fsm

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation says, for people, why a group is as it is, what it waits for, and what losing each node now would do.
type Explanation struct {
	Formation string `json:"formation"`
	Group     int    `json:"group"`
	// Healthy says that a primary serves, every other node is in step or the operator's, and no rule waits for anything.
	Healthy bool `json:"healthy"`
	// Summary is one sentence; Why are the rules that would improve the group and what they wait for, and the nodes that operators keep for themselves.
	Summary string    `json:"summary"`
	Why     []Refusal `json:"why"`
	// WhatIf tells, for each node, what would happen if it were lost now.
	WhatIf []WhatIf `json:"what_if"`
	names  map[NodeID]string
}

// WhatIf is what would happen if one node were silent from now on.
type WhatIf struct {
	Node NodeID `json:"node"`
	Name string `json:"name"`
	// Text is one sentence for people.
	Text string `json:"lost_text"`
}

// Explain answers from [Decide] itself, on the snapshot and on changed copies of it, so that what it says is what would be done.
func Explain(g Group, now Instant) Explanation {
	g.Commands = nil
	d := Decide(g, now)
	e := Explanation{Formation: g.Formation, Group: g.Number, Why: d.Refused, WhatIf: []WhatIf{}, names: map[NodeID]string{}}
	if e.Why == nil {
		e.Why = []Refusal{}
	}
	look := newDecider(d.Group, now)
	for i := range look.g.Nodes {
		if r, ok := look.unready(&look.g.Nodes[i]); ok {
			e.Why = append(e.Why, r)
		}
	}
	if len(look.g.Nodes) == 0 {
		e.Why = append(e.Why, Refusal{Rule: "no_nodes", Waits: "the group has no nodes", Hint: "autoctl create postgres adds the first", Human: true})
	}
	e.Healthy = len(e.Why) == 0 && look.atBest()
	e.Why = append(append(e.Why, look.kept()...), look.weak()...)
	e.Summary = look.summary()
	for i := range g.Nodes {
		n := &g.Nodes[i]
		e.names[n.ID] = n.Name
		e.WhatIf = append(e.WhatIf, WhatIf{Node: n.ID, Name: n.Name, Text: ifLost(g, now, n.ID)})
	}
	return e
}

// kept names the nodes in maintenance: nobody but an operator ends that.
func (d *decider) kept() []Refusal {
	var out []Refusal
	for i := range d.g.Nodes {
		if n := &d.g.Nodes[i]; n.Goal.State == StateMaintenance && n.Maintenance {
			out = append(out, Refusal{
				Rule: "maintenance", Node: n.ID, Human: true, Hint: "autoctl disable maintenance --name " + n.Name,
				Waits: "it is in maintenance, as an operator asked, and not counted on",
			})
		}
	}
	return out
}

// weak names what acknowledges commits of the primary before a standby has them: outside of P1, whatever the group does (S15).
func (d *decider) weak() []Refusal {
	p := d.primary()
	if p == nil || p.Report == nil || !d.serves(p) {
		return nil
	}
	var out []Refusal
	for _, who := range p.Report.WeakCommits {
		out = append(out, Refusal{
			Rule: "weak_commits", Node: p.ID, Human: true, Hint: "ALTER ROLE or ALTER DATABASE ... RESET synchronous_commit, unless such a loss is acceptable",
			Waits: who + " acknowledges commits before a standby has them: a failover may lose them",
		})
	}
	return out
}

// unready says what keeps one node from its goal, as far as it is known.
func (d *decider) unready(n *Node) (Refusal, bool) {
	r := Refusal{Rule: "node", Node: n.ID}
	switch {
	case n.Report == nil || n.Heard < 0:
		r.Waits, r.Hint, r.Human = "it has not been heard since the monitor started", "is its keeper running? autoctl run", true
	case n.Dropping && !d.live(n):
		r.Waits = fmt.Sprintf("it is being dropped, which its keeper has to hear; it has not been heard for %v", d.now.Sub(n.Heard).Round(time.Second))
		r.Hint, r.Human = "autoctl run on "+n.Host+", or, if it never comes back: autoctl drop node --force --name "+n.Name, true
	case !d.live(n) && (n.Stopped || stoppedOnPurpose(n.Report)):
		r.Waits = fmt.Sprintf("it was stopped, as an operator asked, and has not been heard for %v", d.now.Sub(n.Heard).Round(time.Second))
		r.Hint, r.Human = "start it again on "+n.Host+": autoctl run", true
	case !d.live(n):
		r.Waits = fmt.Sprintf("it has not been heard for %v", d.now.Sub(n.Heard).Round(time.Second))
		r.Hint, r.Human = "is its host up, its keeper running and the network whole?", true
	case n.Report.Problem != nil:
		r.Waits, r.Hint = n.Report.Problem.Text, n.Report.Problem.Hint
	case n.Goal.State.Follows() && !running(n), n.Goal.State.Serves() && !running(n):
		r.Waits = "its server is " + string(n.Report.Server.Status)
	case n.Report.Reached != n.Goal.Stamp && n.Report.State != n.Goal.State:
		r.Waits = fmt.Sprintf("it is %s and becomes %s", n.Report.State, n.Goal.State)
		if a := n.Report.Activity; a != nil {
			r.Waits += ": " + a.Text
		}
	case d.unprobed(n):
		r.Waits = fmt.Sprintf("its server runs, and does not answer the monitor's probe at %s:%d", n.Host, n.Port)
		r.Rule, r.Hint = "probe", "does the monitor reach that address? routes, firewalls, listen_addresses; the node's pg_hba.conf has no part in it"
	default:
		return r, false
	}
	return r, true
}

// unprobed reports whether the monitor's own probe has not reached a server for node_lost_after in which it ran.
func (d *decider) unprobed(n *Node) bool {
	return running(n) && d.age(max(n.Probed, n.Up)) > ms(d.g.Settings.NodeLostAfterMS)
}

// Undecided is the explanation for a monitor whose decision loop gave its last sign of life so many milliseconds ago, negative for never: whatever the
// rules would do, nobody applies them.
func (e Explanation) Undecided(ageMS int64) Explanation {
	r := Refusal{
		Rule: "decision_loop", Human: true, Hint: "on the monitor's machine: autoctl status; autoctl run",
		Waits: "nobody is there to decide: the monitor's decision loop has given no sign of life",
	}
	if ageMS >= 0 {
		r.Waits += fmt.Sprintf(" for %v", ms(ageMS).Round(time.Second))
	}
	// What the loop itself sees is as old as it is.
	why := slices.DeleteFunc(slices.Clone(e.Why), func(r Refusal) bool { return r.Rule == "probe" })
	e.Why, e.Healthy = append([]Refusal{r}, why...), false
	e.WhatIf = slices.Clone(e.WhatIf)
	for i := range e.WhatIf {
		e.WhatIf[i].Text = "nothing would be done about it before the monitor's decision loop runs again"
	}
	return e
}

// atBest reports whether the group is in its best state: everything serves, follows or is the operator's.
func (d *decider) atBest() bool {
	p := d.primary()
	if p == nil || d.g.Election != nil || d.g.Paused || d.g.Unproven || !d.serves(p) {
		return false
	}
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID || n.Goal.State == StateMaintenance {
			continue
		}
		if !d.live(n) || n.Goal.State != StateSecondary || n.Report.State != StateSecondary {
			return false
		}
	}
	return true
}

// serves reports whether the node, if the monitor knows it, was heard to admit clients for writes.
func (d *decider) serves(p *Node) bool {
	return p != nil && p.Goal.State.Serves() && d.readWrite(p) && p.Report.Open
}

// summary says in one sentence who serves and how its commits are protected.
func (d *decider) summary() string {
	p := d.primary()
	cur, _ := d.g.Record.Current()
	switch e := d.g.Election; {
	case p == nil:
		return "the group has no primary yet"
	case d.g.Unproven:
		return "the monitor's memory is not proved to be current: nothing is promoted or weakened before"
	case e != nil && e.Phase == PhasePromoting:
		return fmt.Sprintf("node %s is being promoted (%s)", p.Name, e.Reason)
	case e != nil:
		return fmt.Sprintf("an election is under way (%s, %s)", e.Reason, e.Phase)
	case d.unattended(p):
		return fmt.Sprintf("node %s is primary and answers, but its keeper does not: the node is unattended", p.Name)
	case !d.live(p):
		return fmt.Sprintf("node %s is primary and is not heard", p.Name)
	case !d.serves(p):
		return fmt.Sprintf("node %s is primary and does not serve: its server is %s", p.Name, p.Report.Server.Status)
	case cur.K > len(cur.Members):
		return fmt.Sprintf("node %s is primary; writes wait for standbys: number_sync_standbys is %d", p.Name, d.g.NumberSync)
	case cur.K == 0:
		return fmt.Sprintf("node %s is primary; its commits are not protected by a standby", p.Name)
	case d.streaming(p, cur) < cur.K:
		return fmt.Sprintf("node %s is primary; writes wait: each commit must be on %d of its standbys %s, and %d of them stream",
			p.Name, cur.K, d.called(cur.Members), d.streaming(p, cur))
	}
	return fmt.Sprintf("node %s is primary; each commit is on %d of its standbys %s before it is acknowledged", p.Name, cur.K, d.called(cur.Members))
}

// streaming counts the members that the primary sees streaming.
func (d *decider) streaming(p *Node, cur Configuration) int {
	count := 0
	for _, m := range cur.Members {
		if n := d.node(m.Node); n != nil {
			if s, ok := seenBy(p, n); ok && s.Streaming {
				count++
			}
		}
	}
	return count
}

// Text renders the explanation for a terminal.
func (e Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n", e.Summary)
	if e.Healthy && len(e.Why) == 0 {
		b.WriteString("Nothing waits for anything.\n")
	}
	for _, r := range e.Why {
		subject := ""
		if name := e.names[r.Node]; name != "" {
			subject = "node " + name + ": "
		}
		fmt.Fprintf(&b, "- %s%s (%s)\n", subject, r.Waits, r.Rule)
		if r.Hint != "" {
			fmt.Fprintf(&b, "  %s%s\n", map[bool]string{true: "needs you: ", false: "hint: "}[r.Human], r.Hint)
		}
	}
	for _, w := range e.WhatIf {
		fmt.Fprintf(&b, "if node %s were lost now: %s\n", w.Name, w.Text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// String is Text.
func (e Explanation) String() string { return e.Text() }

// ifLost plays on from a copy of the group in which one node is silent for ever.
func ifLost(g Group, now Instant, lost NodeID) string {
	d := newDecider(g, now)
	cur, ok := g.Record.Current()
	switch {
	case !ok:
		return "nothing: the group has no primary yet"
	case cur.Primary.Node == lost:
		return withoutPrimary(g, now, lost)
	case !inConfiguration(cur, lost):
		return "nothing changes: no commit waits for it"
	case d.unattended(d.primary()):
		return d.oneFewerUnattended(lost)
	case !d.serves(d.node(cur.Primary.Node)):
		return d.oneFewer(lost)
	}
	return withoutStandby(g, now, lost)
}

// oneFewer is what the loss of a standby does to an election that is under way, or needed.
func (d *decider) oneFewer(lost NodeID) string {
	if left := d.heard(d.node(lost)); !d.g.Record.CoveredBy(left) {
		return "no new primary could be elected: needed is " + d.missing(left)
	}
	return "the others could still elect a primary"
}

// unattended reports whether a primary serves although its keeper is not heard: the monitor's probe reaches it.
func (d *decider) unattended(p *Node) bool {
	return p != nil && d.g.Election == nil && p.Goal.State.Serves() && !d.live(p) && p.Probed >= 0 && d.now.Sub(p.Probed) <= ms(d.g.Settings.NodeLostAfterMS)
}

// oneFewerUnattended is what the loss of a member does to a primary that serves with nobody there to change its synchronous set.
func (d *decider) oneFewerUnattended(lost NodeID) string {
	cur, _ := d.g.Record.Current()
	left := len(cur.Members) - 1
	if left < cur.K {
		return fmt.Sprintf("writes would wait until node %s is back, or the keeper of node %s runs again", d.name(lost), d.name(cur.Primary.Node))
	}
	return fmt.Sprintf("nothing stops: commits would be on %d of %d standbys", cur.K, left)
}

func inConfiguration(c Configuration, id NodeID) bool {
	return slices.ContainsFunc(c.Members, func(m Member) bool { return m.Node == id })
}

// later returns the group as it would be after node_unreachable_after, had nothing been heard of one node and everything else gone on as now.
func later(g Group, now Instant, lost NodeID) (Group, Instant) {
	past := 2 * ms(g.Settings.NodeUnreachableAfterMS+g.Settings.ReplicationStallMS+g.Settings.NodeLostAfterMS)
	c := g.Clone()
	primary, _ := g.Record.Current()
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if n.ID == lost {
			continue
		}
		if n.Heard >= 0 {
			n.Heard = n.Heard.Add(past)
		}
		if n.Probed >= 0 {
			n.Probed = n.Probed.Add(past)
		}
		n.HoldUntil = n.HoldUntil.Add(past)
		if n.Report == nil {
			continue
		}
		r := *n.Report
		if primary.Primary.Node == lost {
			r.PrimarySeenMS = past.Milliseconds()
		}
		r.Standbys = slices.Clone(r.Standbys)
		for j := range r.Standbys {
			if r.Standbys[j].Node == lost {
				r.Standbys[j].Streaming, r.Standbys[j].LostMS = false, past.Milliseconds()
			}
		}
		n.Report = &r
	}
	for i := range c.Unplanned {
		c.Unplanned[i] = c.Unplanned[i].Add(past)
	}
	return c, now.Add(past)
}

func withoutPrimary(g Group, now Instant, lost NodeID) string {
	c, then := later(g, now, lost)
	d := Decide(c, then)
	if e := d.Group.Election; e == nil || e.Phase == PhasePromoting {
		for _, r := range d.Refused {
			if r.Human || r.Rule == "primary_failed" {
				return "no failover possible: " + r.Waits
			}
		}
		return "no failover possible: " + reasons(d.Refused)
	}
	c = cast(d.Group)
	then = then.Add(ms(c.Settings.ElectionPatienceMS) + 1)
	d = Decide(c, then)
	e := d.Group.Election
	if e == nil || e.Candidate == 0 {
		return "the others would vote; " + reasons(d.Refused)
	}
	next, _ := d.Group.Record.Current()
	winner := newDecider(d.Group, then).node(e.Candidate)
	switch {
	case e.Phase == PhaseFastForward:
		return fmt.Sprintf("node %s would fetch what it lacks and be promoted", winner.Name)
	case next.K == 0:
		return fmt.Sprintf("node %s would be promoted; its commits would not be protected until a standby is back", winner.Name)
	case len(next.Members) < next.K:
		return fmt.Sprintf("node %s would be promoted; writes would wait: number_sync_standbys is %d", winner.Name, g.NumberSync)
	}
	return fmt.Sprintf("node %s would be promoted", winner.Name)
}

// cast lets every node that is asked for its vote give it, at the position that it reported last.
func cast(g Group) Group {
	c := g.Clone()
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if n.Report == nil || n.Goal.State != StateReportLSN {
			continue
		}
		r := *n.Report
		r.Obeyed, r.Reached, r.State = n.Goal.Stamp, n.Goal.Stamp, StateReportLSN
		r.Vote = &Vote{Stamp: n.Goal.Stamp, Position: r.Position}
		n.Report = &r
	}
	return c
}

func reasons(refused []Refusal) string {
	var out []string
	for _, r := range refused {
		out = append(out, r.Waits)
	}
	return strings.Join(out, "; ")
}

func withoutStandby(g Group, now Instant, lost NodeID) string {
	c, then := later(g, now, lost)
	// A change may take several settled steps; let the primary settle each.
	for range 4 {
		d := Decide(c, then)
		c = d.Group
		next, _ := c.Record.Current()
		if !d.Changed {
			break
		}
		for i := range c.Nodes {
			n := &c.Nodes[i]
			if n.ID != next.Primary.Node || n.Report == nil {
				continue
			}
			r := *n.Report
			r.Obeyed, r.Reached, r.Settled = n.Goal.Stamp, n.Goal.Stamp, next.Seq
			n.Report = &r
		}
	}
	next, _ := c.Record.Current()
	left := slices.DeleteFunc(slices.Clone(next.Members), func(m Member) bool { return m.Node == lost })
	switch {
	case next.K == 0:
		return "commits would no longer be protected"
	case len(left) < next.K && (g.Unproven || g.Paused):
		return "writes would wait until it is back, or automation goes on"
	case len(left) < next.K:
		return fmt.Sprintf("writes would wait: number_sync_standbys is %d and only %d standbys would be left", g.NumberSync, len(left))
	}
	return fmt.Sprintf("nothing stops: commits would be on %d of %d standbys", next.K, len(left))
}
