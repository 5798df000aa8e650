package fsm

import (
	"fmt"
	"slices"
	"time"
)

// maxRounds bounds how many rows may fire in one decision. A healthy reaction takes fewer than ten; a test proves that none oscillates.
const maxRounds = 100

// Decide looks at one group and says what must change now, and why. It consumes the group's commands first, then applies the
// rows of the rule table in order, from the top again after each that fires, until none does: one decision carries the whole
// reaction, so that the caller stores it in one transaction. It never changes g, reads no clock and gives the same answer
// to the same question.
func Decide(g Group, now Instant) Decision {
	d := newDecider(g, now)
	d.commands()
	d.apply()
	return d.finish()
}

// decider is one decision in the making: a private copy of the group and what was concluded so far.
type decider struct {
	was Group
	g   Group
	now Instant
	// seq is the sequence number that this decision gets if it changes anything.
	seq     uint64
	restamp map[NodeID]bool
	// dirty says that something was changed that comparing goals does not show.
	dirty    bool
	rule     string
	events   []Event
	answers  []Answer
	forget   []NodeID
	refusals []Refusal
	wake     Instant
}

func newDecider(g Group, now Instant) *decider {
	d := &decider{was: g, g: g.Clone(), now: now, seq: g.Seq + 1, restamp: map[NodeID]bool{}}
	for _, n := range g.Nodes {
		// A restored monitor never gives a number again, in no incarnation: what a node has settled is told by it (S9).
		if n.Report != nil && n.Report.Obeyed.Seq >= d.seq {
			d.seq = n.Report.Obeyed.Seq + 1
		}
	}
	return d
}

// Clone returns a copy that shares nothing that a decision changes.
func (g Group) Clone() Group {
	c := g
	c.Record = slices.Clone(g.Record)
	c.Orders = slices.Clone(g.Orders)
	c.Unplanned = slices.Clone(g.Unplanned)
	c.Nodes = slices.Clone(g.Nodes)
	c.Commands = slices.Clone(g.Commands)
	if g.Election != nil {
		e := *g.Election
		c.Election = &e
	}
	return c
}

func (d *decider) apply() {
	for range maxRounds {
		if !d.round() {
			return
		}
	}
	d.event("oscillation", 0, "more than %d rules fired in one decision", maxRounds)
}

// round fires the first row that applies. Refusals and deadlines are collected anew each time: those of the last round, in
// which nothing fires any more, are the ones that stand.
func (d *decider) round() bool {
	d.refusals, d.wake = nil, 0
	for _, r := range rules {
		if (d.g.Paused && !r.paused) || (d.g.Unproven && !r.unproven) {
			continue
		}
		d.rule = r.Name
		if r.fire(d) {
			d.dirty = true
			return true
		}
	}
	if d.g.Paused {
		d.rule = "paused"
		d.refuse(0, true, "autoctl resume", "automation of the formation is paused")
	}
	return false
}

func (d *decider) finish() Decision {
	push := d.compose()
	dec := Decision{
		Events: d.events, Answers: d.answers, Forget: d.forget, Wake: d.wake, Refused: d.refusals,
		Changed: d.dirty || len(push) > 0 || len(d.answers) > 0, Push: push,
	}
	if d.dirty || len(push) > 0 {
		d.g.Seq = d.seq
	}
	d.g.Commands = nil
	dec.Group = d.g
	return dec
}

func (d *decider) stamp() Stamp {
	return Stamp{Incarnation: d.g.Incarnation, Epoch: d.g.Epoch, Seq: d.seq}
}

func (d *decider) event(kind string, node NodeID, format string, args ...any) {
	d.events = append(d.events, Event{Kind: kind, Node: node, Rule: d.rule, Reason: fmt.Sprintf(format, args...), Stamp: d.stamp()})
}

// refuse notes that a rule would have improved the group and what it waits for.
func (d *decider) refuse(node NodeID, human bool, hint, format string, args ...any) {
	d.refusals = append(d.refusals, Refusal{Rule: d.rule, Node: node, Human: human, Hint: hint, Waits: fmt.Sprintf(format, args...)})
}

// wakeAt asks to be called again at that instant, if nothing happens before.
func (d *decider) wakeAt(at Instant) {
	if at <= d.now {
		at = d.now.Add(time.Millisecond)
	}
	if d.wake == 0 || at < d.wake {
		d.wake = at
	}
}

// renew has a node told its goal anew: nothing that it has said so far answers it (S5).
func (d *decider) renew(n *Node) {
	n.Goal.Stamp, n.Goal.AwaitEnd, n.Goal.Confirmed = Stamp{}, false, false
	d.restamp[n.ID] = true
}

// assign gives a node another goal state, which nothing that it has said so far answers; false when it has it already.
func (d *decider) assign(n *Node, s State, format string, args ...any) bool {
	if n.Goal.State == s {
		return false
	}
	n.Goal.State, n.Goal.Stamp, n.Goal.AwaitEnd, n.Goal.Confirmed = s, Stamp{}, false, false
	d.event("goal", n.ID, format, args...)
	d.events[len(d.events)-1].Assigned = s
	return true
}
