package soak

import (
	"net"
	"slices"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/ledger"
)

// Times without an acknowledged write shorter than this are usual: clients pause
// between their writes.
const (
	usualGap  = 0.1 // seconds
	listedGap = 0.5
)

// derive works out what follows from the records: who served, gaps, failovers.
func (r *run) derive(acks []ledger.Ack, now float64) {
	slices.SortFunc(acks, func(a, b ledger.Ack) int { return int(a.At - b.At) })
	gaps := gapsOf(acks, now)
	serving := r.servingOf(acks)
	states, failovers := r.statesOf(now)
	r.n.rec.edit(func(rep *Report) {
		rep.Seconds = now
		rep.Serving, rep.States, rep.Failovers = serving, states, failovers
		rep.Gaps = nil
		for _, g := range gaps {
			if g.Length >= listedGap {
				rep.Gaps = append(rep.Gaps, g)
			}
		}
		for _, f := range rep.Faults {
			f.Unavailable = blame(f, rep.Bursts, gaps)
		}
		rep.PerFault = perFault(rep.Faults)
	})
}

// gapsOf lists the times without an acknowledgement.
func gapsOf(acks []ledger.Ack, now float64) []Gap {
	var gaps []Gap
	for i := range acks {
		begin, end := acks[i].At.Seconds(), now
		if i+1 < len(acks) {
			end = acks[i+1].At.Seconds()
		}
		if end-begin >= usualGap {
			gaps = append(gaps, Gap{begin, round(end - begin)})
		}
	}
	return gaps
}

func round(seconds float64) float64 {
	return (time.Duration(seconds*1000) * time.Millisecond).Seconds()
}

// blame is the longest gap that began while a fault lasted, or before the group
// had recovered from its burst.
func blame(f *Fault, bursts []Burst, gaps []Gap) float64 {
	if f.Skipped != "" {
		return 0
	}
	until := f.End + convergeWithin.Seconds()
	for _, b := range bursts {
		if b.Number == f.Burst && b.Whole > 0 {
			until = b.Whole
		}
	}
	const before = 0.15 // a client's pause: the last write may have come just before
	longest := 0.0
	for _, g := range gaps {
		if g.Begin >= f.Begin-before && g.Begin <= until {
			longest = max(longest, g.Length)
		}
	}
	return longest
}

// servingOf says who acknowledged when.
func (r *run) servingOf(acks []ledger.Ack) []Span {
	names := map[string]string{}
	for _, node := range r.n.nodes {
		names[node.Addr] = node.Name
	}
	var spans []Span
	for _, a := range acks {
		host, _, _ := net.SplitHostPort(a.Server)
		at := round(a.At.Seconds())
		if last := len(spans) - 1; last >= 0 && spans[last].Host == names[host] && at-spans[last].End < listedGap {
			spans[last].End = at
			continue
		}
		spans = append(spans, Span{Host: names[host], What: "acknowledges", Begin: at, End: at})
	}
	return spans
}

// statesOf reads from the events what nodes were asked to be, and who was elected.
func (r *run) statesOf(now float64) (states []Span, failovers []Failover) {
	open := map[string]int{}
	for _, e := range r.events {
		at := r.n.rec.at(e.Time)
		if e.Kind == "elected" {
			failovers = append(failovers, Failover{At: at, Host: e.Name, Reason: e.Reason})
		}
		if e.Assigned == "" || e.Name == "" {
			continue
		}
		if i, ok := open[e.Name]; ok {
			if states[i].What == string(e.Assigned) {
				continue
			}
			states[i].End = at
		}
		open[e.Name] = len(states)
		states = append(states, Span{Host: e.Name, What: string(e.Assigned), Begin: max(at, 0), End: now})
	}
	return states, slices.DeleteFunc(failovers, func(f Failover) bool { return f.At < 0 })
}

// eventsText prints the events for those who look into an anomaly.
func eventsText(rec *recorder, events []monitorapi.Event) []byte {
	var b []byte
	for _, e := range events {
		b = appendEvent(b, rec.at(e.Time), e)
	}
	return b
}
