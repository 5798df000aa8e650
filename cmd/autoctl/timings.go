package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// milestone is one step of a failover, with when the monitor heard of it.
type milestone struct {
	Step string    `json:"step"`
	Time time.Time `json:"time"`
	// MS counts from the first, DeltaMS from the one before.
	MS      int64  `json:"ms"`
	DeltaMS int64  `json:"delta_ms"`
	Name    string `json:"name,omitempty"`
}

// failover is one election as the monitor's events tell it. All times are by one clock, that of the monitor's PostgreSQL.
type failover struct {
	Formation string    `json:"formation"`
	Group     int       `json:"group"`
	Time      time.Time `json:"time"`
	Reason    string    `json:"reason"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	// Outcome is "elected", "abandoned" or "under way".
	Outcome string      `json:"outcome"`
	Steps   []milestone `json:"steps"`
	// WritableMS is by when a write could be acknowledged, counted as the steps; -1 while that is not known.
	WritableMS int64 `json:"writable_ms"`

	candidate fsm.NodeID
	unguarded bool // it may acknowledge alone
}

// The steps, in the usual order.
const (
	stepNoticed  = "noticed"
	stepDecided  = "decided"
	stepDrained  = "drained"
	stepVoted    = "voted"
	stepChosen   = "chosen"
	stepTold     = "told"
	stepPromoted = "promoted"
	stepOpen     = "open"
	stepSettled  = "settled"
)

var failoverSteps = []string{stepNoticed, stepDecided, stepDrained, stepVoted, stepChosen, stepTold, stepPromoted, stepOpen, stepSettled}

// noticeSpan is how long before an election the word of a failed server may have come that led to it.
const noticeSpan = 10 * time.Second

// failovers reads the elections out of events, which are in order.
func failovers(events []monitorapi.Event) []failover {
	type place struct {
		formation string
		group     int
	}
	var all []*failover
	present := map[place]*failover{}
	failed := map[place]monitorapi.Event{}
	for _, e := range events {
		at := place{e.Formation, e.Group}
		switch f := present[at]; {
		case e.Kind == "election":
			f = &failover{Formation: e.Formation, Group: e.Group, Time: e.Time, Reason: e.Reason, Outcome: "under way"}
			first := e
			if s, ok := failed[at]; ok && e.Time.Sub(s.Time) < noticeSpan && !strings.HasPrefix(e.Rule, "command_") {
				first, f.From = s, s.Name
			}
			f.reach(stepNoticed, first)
			f.reach(stepDecided, e)
			present[at], all = f, append(all, f)
			delete(failed, at)
		case e.Kind == "server":
			failed[at] = e
		case f != nil:
			f.follow(e)
		}
	}
	out := []failover{}
	for _, f := range all {
		f.finish()
		out = append(out, *f)
	}
	return out
}

// follow takes the next event of a failover's group.
func (f *failover) follow(e monitorapi.Event) {
	if f.Outcome != "under way" && f.has(stepSettled) {
		return
	}
	chosen := e.Kind == "goal" && (e.Rule == "choose" || e.Rule == "fast_forwarded")
	switch {
	case e.Kind == "drained":
		f.From = e.Name
		f.reach(stepDrained, e)
	case e.Kind == "abandoned":
		f.Outcome = "abandoned"
	case e.Kind == "state" && e.Reported == fsm.StateReportLSN && f.candidate == 0:
		f.reach(stepVoted, e)
	case chosen && e.Assigned.Serves():
		f.To, f.candidate, f.unguarded = e.Name, e.Node, e.Assigned != fsm.StatePrimary
		f.drop(stepTold, stepPromoted, stepOpen, stepSettled)
		f.reach(stepChosen, e)
	case chosen && e.Assigned == fsm.StateDemoted:
		f.From = e.Name
	case f.candidate == 0 || e.Node != f.candidate:
	case e.Kind == "elected":
		f.Outcome = "elected"
		f.reach(stepPromoted, e)
	case e.Kind == stepTold, e.Kind == stepOpen, e.Kind == stepSettled:
		f.reach(e.Kind, e)
	}
}

// reach notes a step: votes and choices by the last of them, which is the one that counted, the others by the first.
func (f *failover) reach(step string, e monitorapi.Event) {
	if step == stepVoted || step == stepChosen {
		f.drop(step)
	} else if f.has(step) {
		return
	}
	f.Steps = append(f.Steps, milestone{Step: step, Time: e.Time, Name: e.Name})
}

func (f *failover) has(step string) bool {
	return slices.ContainsFunc(f.Steps, func(m milestone) bool { return m.Step == step })
}

func (f *failover) drop(steps ...string) {
	f.Steps = slices.DeleteFunc(f.Steps, func(m milestone) bool { return slices.Contains(steps, m.Step) })
}

// finish orders the steps and counts.
func (f *failover) finish() {
	slices.SortStableFunc(f.Steps, func(a, b milestone) int { return a.Time.Compare(b.Time) })
	f.WritableMS = -1
	open, settled := int64(-1), int64(-1)
	for i := range f.Steps {
		m := &f.Steps[i]
		m.MS = m.Time.Sub(f.Steps[0].Time).Milliseconds()
		if i > 0 {
			m.DeltaMS = m.MS - f.Steps[i-1].MS
		}
		switch m.Step {
		case stepOpen:
			open = m.MS
		case stepSettled:
			settled = m.MS
		}
	}
	switch {
	case f.unguarded:
		f.WritableMS = open
	case open >= 0 && settled >= 0: // by then k members had all that was written: the first commit came in between
		f.WritableMS = max(open, settled)
	}
}

// writeTimings prints a line for each failover and one for how long each step took.
func writeTimings(w io.Writer, all []failover) {
	if len(all) == 0 {
		fmt.Fprintln(w, "There were no failovers.")
		return
	}
	heads := []string{"Time", "Group", "From", "To", "Reason"}
	for _, s := range failoverSteps[1:] {
		heads = append(heads, strings.ToUpper(s[:1])+s[1:])
	}
	t := newTable(append(heads, "Writable")...)
	for _, f := range all {
		row := []string{
			f.Steps[0].Time.Local().Format("2006-01-02 15:04:05.000"), fmt.Sprintf("%s/%d", f.Formation, f.Group),
			cmp.Or(f.From, "-"), cmp.Or(f.To, "-"), f.Reason,
		}
		for _, s := range failoverSteps[1:] {
			row = append(row, f.cell(s))
		}
		writable := "-"
		switch {
		case f.WritableMS >= 0:
			writable = fmt.Sprint(f.WritableMS)
		case f.Outcome != "elected":
			writable = f.Outcome
		}
		t.add(append(row, writable)...)
	}
	t.write(w)
	fmt.Fprintln(w, "\nMilliseconds after the monitor noticed, and in parentheses after the step before, by the monitor's clock.")
}

func (f *failover) cell(step string) string {
	for _, m := range f.Steps {
		if m.Step == step {
			return fmt.Sprintf("%d (+%d)", m.MS, m.DeltaMS)
		}
	}
	return "-"
}
