package fsm

import (
	"fmt"
	"slices"
)

// commands decides the operators' requests, in order. Each gets an answer, now or (a node that asks to be relieved) when it is fulfilled.
func (d *decider) commands() {
	for _, c := range d.g.Commands {
		d.rule = "command_" + string(c.Kind)
		a, later := d.command(c)
		if later {
			continue
		}
		a.Command = c.ID
		d.answers = append(d.answers, a)
		d.event("command", c.Node, "%s: %s", a.Outcome, a.Text)
	}
	d.g.Commands = nil
}

func (d *decider) command(c Command) (answer Answer, later bool) {
	n := d.node(c.Node)
	if n == nil && c.Kind != CommandFailover && c.Kind != CommandNumberSync {
		return refused("", "there is no node %d in this group", c.Node), false
	}
	if a, ok := d.hindered(c); ok {
		return a, false
	}
	switch c.Kind {
	case CommandFailover:
		return d.failover(Election{Reason: "switchover", AllowDataLoss: c.AllowDataLoss, Command: c.ID}, 0), false
	case CommandPromotion:
		if n.Cluster != "" {
			return replicaOnly(n), false
		}
		return d.failover(Election{Reason: "switchover", Preferred: n.ID, AllowDataLoss: c.AllowDataLoss, Command: c.ID}, n.ID), false
	case CommandMaintenance:
		return d.startMaintenance(n, c), false
	case CommandReturn:
		return d.endMaintenance(n), false
	case CommandPriority:
		return d.setPriority(n, c.Number), false
	case CommandQuorum:
		return d.setQuorum(n, c.Flag), false
	case CommandNumberSync:
		return d.setNumberSync(c.Number), false
	case CommandDrop:
		return d.drop(n, c), false
	case CommandRebuild:
		return d.rebuild(n), false
	case CommandHandOver:
		return d.handOver(n, c)
	}
	return refused("", "unknown command %q", c.Kind), false
}

// hindered refuses what cannot be done while automation is paused or the record is not proved.
func (d *decider) hindered(c Command) (Answer, bool) {
	switch c.Kind {
	case CommandPriority, CommandQuorum, CommandNumberSync:
		return Answer{}, false
	default:
	}
	if d.g.Paused {
		if c.Kind == CommandHandOver {
			return Answer{Outcome: OutcomeNothing, Text: "automation is paused"}, true
		}
		return refused("autoctl resume", "automation of the formation is paused"), true
	}
	// With consent, a failover is the decision that only a human may take: somebody not heard may have served since, and loses what it has.
	overrules := c.AllowDataLoss && (c.Kind == CommandFailover || c.Kind == CommandPromotion)
	if d.g.Unproven && !overrules {
		return refused("autoctl explain", "the monitor has not heard enough nodes yet to know that its memory is current"), true
	}
	return Answer{}, false
}

func refused(hint, format string, args ...any) Answer {
	return Answer{Outcome: OutcomeRefused, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func accepted(format string, args ...any) Answer {
	return Answer{Outcome: OutcomeAccepted, Text: fmt.Sprintf(format, args...)}
}

func done(format string, args ...any) Answer {
	return Answer{Outcome: OutcomeDone, Text: fmt.Sprintf(format, args...)}
}

func nothing(format string, args ...any) Answer {
	return Answer{Outcome: OutcomeNothing, Text: fmt.Sprintf(format, args...)}
}

// failover begins a planned election when the primary serves, an unplanned one when it does not. target is the node that an operator named; 0 for none.
func (d *decider) failover(e Election, target NodeID) Answer {
	p := d.primary()
	if d.g.Unproven {
		return d.overrule(e, target)
	}
	switch {
	case p == nil && d.g.Election == nil && e.AllowDataLoss && len(d.heard(nil)) > 0:
		e.Reason = "forced" // a replacement monitor was told by standbys only, who do not know the record, or the node that served was dropped
		d.elect(e, "asked by an operator, who accepts that commits may be lost")
		return accepted("election with the votes that there are: commits may be lost")
	case p == nil:
		return refused("", "the group has had no primary yet")
	case target == p.ID && d.g.Election == nil:
		return nothing("node %s is the primary", p.Name)
	case d.g.Election != nil:
		return d.amend(e)
	}
	if d.readWrite(p) {
		return d.planned(p, e)
	}
	if !e.AllowDataLoss && !d.live(p) && d.now.Sub(d.g.Since) <= ms(d.g.Settings.NodeLostAfterMS) {
		// Not heard yet is not lost: an election would only disturb a primary that serves.
		return refused("try again in a few seconds", "the monitor has just started and has not heard of the primary, %s, yet", p.Name)
	}
	if !e.AllowDataLoss && d.rising(p) {
		return refused("try again in a few seconds", "the primary, %s, is about to serve again: an election now would be abandoned", p.Name)
	}
	if why, ok := d.promotable(p, e.Preferred); !ok {
		return d.force(p, e, why)
	}
	e.AllowDataLoss = false // not needed
	d.elect(e, "asked by an operator; the primary does not serve")
	return accepted("election of a new primary")
}

// rising reports whether a primary that does not serve now is expected to at any moment: it is heard, nothing is wrong with it, and it has not obeyed its
// newest goal yet or is being restarted, which has not taken long.
func (d *decider) rising(p *Node) bool {
	if !d.live(p) || !p.Goal.State.Serves() || p.Stopped || p.Report.Problem != nil {
		return false
	}
	untold := p.Report.Obeyed != p.Goal.Stamp
	switch p.Report.Server.Status {
	case ServerRunning:
		return untold
	case ServerStopped, ServerStarting:
		return untold || d.age(p.Probed) <= ms(d.g.Settings.NodeLostAfterMS)
	default:
		return false
	}
}

// amend lets an operator consent to a loss, or name somebody, while an election is under way.
func (d *decider) amend(e Election) Answer {
	old := d.g.Election
	if !e.AllowDataLoss {
		return refused("autoctl show state; autoctl explain", "an election is under way")
	}
	if old.Phase == PhasePromoting && d.live(d.node(old.Candidate)) {
		return refused("autoctl show state", "node %s is being promoted", d.name(old.Candidate))
	}
	old.AllowDataLoss, old.Command = true, e.Command
	if e.Preferred != 0 {
		old.Preferred = e.Preferred
	}
	switch p := d.primary(); {
	case p != nil && p.Goal.State.Drains(): // it may serve again meanwhile, as in any election that nobody planned
		d.unplan(p, "an operator does not wait for it")
	case old.Phase != PhaseVoting:
		old.Planned = false
		d.askVotes()
	}
	d.phase(PhaseVoting)
	return accepted("the election goes on with the votes that there are: commits may be lost")
}

// force begins an election that need not cover the record, with an operator's consent only.
func (d *decider) force(p *Node, e Election, why map[string]string) Answer {
	if !e.AllowDataLoss {
		return Answer{
			Outcome: OutcomeRefused, Nodes: why,
			Text: "nobody can be promoted without risking acknowledged commits: " + join(why),
			Hint: d.lastResort(p, "bring a node back", "accept the loss"),
		}
	}
	if d.electable(p, e.Preferred) {
		e.Reason = "forced"
		d.elect(e, "asked by an operator, who accepts that commits may be lost")
		return accepted("election with the votes that there are: commits may be lost")
	}
	text := "no standby is there"
	if len(why) > 0 {
		text += ": " + join(why)
	}
	return Answer{Outcome: OutcomeRefused, Nodes: why, Text: text, Hint: d.lastResort(p, "bring a node back", "accept the loss")}
}

// planned begins a hand-over if somebody can take over: it runs, streams, is near and within reach, and its votes or the old primary's cover the record.
func (d *decider) planned(p *Node, e Election) Answer {
	e.AllowDataLoss = false // the old primary hands over: nothing is lost
	why := map[string]string{}
	ready := 0
	for i := range d.g.Nodes {
		n := &d.g.Nodes[i]
		if n.ID == p.ID {
			continue
		}
		reason := d.cannotVote(n)
		if reason == "" {
			reason = cannotLead(n, e.Preferred)
		}
		if reason == "" && !d.keepsUp(p, n) {
			reason = "does not stream from the primary, or is far behind"
		}
		if reason == "" && d.outOfReach(p, n) {
			reason = fmt.Sprintf("does not answer the monitor's probe at %s:%d", n.Host, n.Port)
		}
		if reason != "" {
			why[n.Name] = reason
			continue
		}
		if e.Preferred == 0 || e.Preferred == n.ID {
			ready++
		}
	}
	cur, _ := d.g.Record.Current()
	switch {
	case ready == 0:
		return Answer{Outcome: OutcomeRefused, Nodes: why, Text: "nobody can take over: " + join(why), Hint: "autoctl show state; autoctl explain"}
	case cur.K > 0 && !d.g.Record.CoveredBy(d.voices(p)):
		return Answer{Outcome: OutcomeRefused, Nodes: why, Text: "too few standbys are there to vote: " + d.missing(d.voices(p)), Hint: "autoctl explain"}
	}
	e.Planned = true
	d.elect(e, "%s asked by an operator", e.Reason)
	state := StateDraining
	if e.Reason == "maintenance" {
		state = StatePrepareMaintenance
	}
	d.assign(p, state, "%s asked by an operator", e.Reason)
	d.attend()
	return accepted("node %s hands over", p.Name)
}

func (d *decider) startMaintenance(n *Node, c Command) Answer {
	p := d.primary()
	switch {
	case n.Maintenance:
		return nothing("node %s is in maintenance, or on its way", n.Name)
	case n.Dropping:
		return refused("", "node %s is being dropped", n.Name)
	case d.g.Election != nil:
		return refused("autoctl show state", "an election is under way")
	case p == nil || n.Goal.State == StateWaitStandby || n.Goal.State == StateInit || n.Goal.State == "":
		return refused("autoctl show state", "node %s is not part of the group's service yet", n.Name)
	case p.ID == n.ID && !c.AllowFailover:
		return refused("--allow-failover", "node %s is the primary: somebody else must take over first", n.Name)
	case p.ID == n.ID:
		a := d.failover(Election{Reason: "maintenance", Excluded: n.ID, Command: c.ID}, 0)
		if n.Maintenance = a.Outcome == OutcomeAccepted; n.Maintenance {
			a.Text += d.blocks(n)
		}
		return a
	}
	n.Maintenance = true
	d.dirty = true
	return accepted("node %s leaves the synchronous set, then it is yours%s", n.Name, d.blocks(n))
}

// blocks warns when taking n out makes writes wait, or leaves commits unprotected.
func (d *decider) blocks(n *Node) string {
	cur, _ := d.g.Record.Current()
	if cur.K == 0 || !d.readWrite(d.primary()) {
		return ""
	}
	left := 0
	for _, m := range cur.Members {
		if m.Node != n.ID {
			left++
		}
	}
	if cur.Primary.Node == n.ID { // one of them takes over
		left = max(0, left-1)
	}
	switch {
	case left >= max(1, d.g.NumberSync):
		return ""
	case d.g.NumberSync == 0:
		return "; no other standby is in step: commits are not protected until one is"
	}
	return fmt.Sprintf("; writes will wait: number_sync_standbys is %d and only %d standbys remain", d.g.NumberSync, left)
}

func (d *decider) endMaintenance(n *Node) Answer {
	if !n.Maintenance {
		return nothing("node %s is not in maintenance", n.Name)
	}
	if e := d.g.Election; e != nil && e.Excluded == n.ID {
		return refused("autoctl show state", "an election is under way")
	}
	n.Maintenance = false
	d.dirty = true
	return accepted("node %s returns", n.Name)
}

func (d *decider) setPriority(n *Node, value int) Answer {
	switch {
	case value < 0 || value > 100:
		return refused("", "candidate priority %d is not between 0 and 100", value)
	case n.Cluster != "" && value > 0:
		return replicaOnly(n)
	case n.Priority == value:
		return nothing("candidate priority of node %s is %d", n.Name, value)
	}
	n.Priority = value
	d.dirty = true
	text := fmt.Sprintf("candidate priority of node %s is %d", n.Name, value)
	if !slices.ContainsFunc(d.g.Nodes, func(o Node) bool { return o.Priority > 0 }) {
		text += "; no node may be elected automatically any more"
	}
	return done("%s", text)
}

// replicaOnly refuses what would make a read replica more than that.
func replicaOnly(n *Node) Answer {
	return refused("drop it and create it anew without --citus-secondary", "node %s is a read replica of Citus cluster %s: it never serves, and no commit waits for it", n.Name, n.Cluster)
}

func (d *decider) setQuorum(n *Node, value bool) Answer {
	if n.Cluster != "" && value {
		return replicaOnly(n)
	}
	if n.Quorum == value {
		return nothing("replication quorum of node %s is %v", n.Name, value)
	}
	n.Quorum = value
	if left := d.quorumStandbys(); !value && d.g.NumberSync > left {
		n.Quorum = true
		return refused("autoctl set formation number-sync-standbys", "number_sync_standbys is %d and only %d quorum standbys would be left", d.g.NumberSync, left)
	}
	d.dirty = true
	return done("replication quorum of node %s is %v", n.Name, value)
}

// quorumStandbys counts the nodes that may be members beside a primary: the present one, or the successor of one that leaves.
func (d *decider) quorumStandbys() int {
	p := d.primary()
	count := 0
	for _, n := range d.g.Nodes {
		if n.Quorum && !n.Dropping && (p == nil || n.ID != p.ID) {
			count++
		}
	}
	if p != nil && p.Dropping {
		return max(0, count-1)
	}
	return count
}

func (d *decider) setNumberSync(value int) Answer {
	left := d.quorumStandbys()
	switch {
	case value < 0:
		return refused("", "number_sync_standbys %d is negative", value)
	case value == d.g.NumberSync:
		return nothing("number_sync_standbys is %d", value)
	case value > left:
		return refused("add a node, or set its replication-quorum", "number_sync_standbys %d needs as many quorum standbys, and there are %d", value, left)
	}
	d.g.NumberSync = value
	d.dirty = true
	text := fmt.Sprintf("number_sync_standbys is %d", value)
	if value > 0 && value == left {
		text += "; every standby is needed: losing one makes writes wait"
	}
	return done("%s", text)
}

// drop lets a node go: a standby out of the record first, a primary after a hand-over, the last node at once.
func (d *decider) drop(n *Node, c Command) Answer {
	p := d.primary()
	switch {
	case n.Dropping && (!c.Force || n.Forced): // who asks again wants to see the end of it
		return accepted("node %s is being dropped already", n.Name)
	case d.g.Election != nil && p != nil && n.ID == p.ID:
		return refused("autoctl show state", "an election is under way")
	case n.Cluster == "" && !d.alone(n) && d.onlyReplicas(n):
		return refused("drop those first: autoctl drop node", "node %s is the last of its group beside read replicas, which cannot serve", n.Name)
	case p != nil && n.ID == p.ID && !d.alone(n):
		a := d.failover(Election{Reason: "drop", Excluded: n.ID, Command: c.ID, AllowDataLoss: c.AllowDataLoss}, 0)
		if a.Outcome != OutcomeAccepted {
			return a
		}
	}
	n.Dropping, n.Forced = true, c.Force
	d.dirty = true
	lowered := ""
	if left := d.quorumStandbys(); d.g.NumberSync > left {
		d.g.NumberSync = left
		lowered = fmt.Sprintf("number_sync_standbys is lowered to %d: no more quorum standbys are left", left)
		d.event("command", 0, "%s", lowered)
		lowered = "; " + lowered
	}
	return accepted("node %s leaves the group%s%s", n.Name, lowered, d.blocks(n))
}

// onlyReplicas reports whether none but read replicas would be left without n.
func (d *decider) onlyReplicas(n *Node) bool {
	return !slices.ContainsFunc(d.g.Nodes, func(o Node) bool {
		return o.ID != n.ID && o.Cluster == "" && !o.Dropping && o.Goal.State != StateDropped
	})
}

func (d *decider) rebuild(n *Node) Answer {
	p := d.primary()
	switch {
	case p == nil || p.ID == n.ID:
		return refused("autoctl perform failover", "node %s is the primary: its data is the one that others copy", n.Name)
	case n.Maintenance || n.Dropping || n.Report == nil || !n.Goal.State.Follows():
		return refused("autoctl show state", "node %s is not a standby", n.Name)
	case d.g.Election != nil:
		return refused("autoctl show state", "an election is under way")
	}
	n.MinGeneration = n.Report.Generation + 1
	d.dirty = true
	return accepted("node %s leaves the synchronous set and is copied anew%s", n.Name, d.blocks(n))
}

// handOver relieves a node whose keeper is being stopped: a primary by a planned election, a member by its removal from the record.
func (d *decider) handOver(n *Node, c Command) (Answer, bool) {
	p := d.primary()
	cur, _ := d.g.Record.Current()
	switch {
	case p == nil || d.g.Election != nil || n.Maintenance || n.Dropping:
		return nothing("there is nothing to hand over"), false
	case p.ID == n.ID:
		a := d.failover(Election{Reason: "hand_over", Excluded: n.ID, Command: c.ID}, 0)
		if a.Outcome == OutcomeRefused {
			return nothing("%s", a.Text), false
		}
		return a, false
	case !d.inRecord(n.ID):
		return nothing("no commit waits for node %s", n.Name), false
	case !d.readWrite(p):
		return nothing("there is no primary to change the synchronous set with"), false
	case d.g.NumberSync > 0 && len(cur.Members) <= d.g.NumberSync:
		return nothing("number_sync_standbys is %d: writes will wait until node %s is back", d.g.NumberSync, n.Name), false
	}
	n.Leaving = c.ID
	d.dirty = true
	return Answer{}, true
}
