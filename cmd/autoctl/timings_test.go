package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// story makes events of group 0 out of one a line: milliseconds, kind, rule, node, and the state that was reported or assigned.
func story(lines ...string) []monitorapi.Event {
	nodes := map[string]fsm.NodeID{"a": 1, "b": 2, "c": 3}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var all []monitorapi.Event
	for i, l := range lines {
		f := append(strings.Fields(l), "", "")
		d, err := time.ParseDuration(f[0] + "ms")
		if err != nil {
			panic(err)
		}
		e := monitorapi.Event{ID: int64(i + 1), Time: began.Add(d), Formation: "default", Kind: f[1], Rule: f[2], Reason: f[1]}
		if f[3] != "-" {
			e.Name, e.Node = f[3], nodes[f[3]]
		}
		if e.Kind == "goal" {
			e.Assigned = fsm.State(f[4])
		} else {
			e.Reported = fsm.State(f[4])
		}
		all = append(all, e)
	}
	return all
}

// told is what the failovers of a story come to: a word for each step.
func told(events []monitorapi.Event) []string {
	var out []string
	for _, f := range failovers(events) {
		var b strings.Builder
		b.WriteString(f.From + ">" + f.To + " " + f.Outcome + ":")
		for _, m := range f.Steps {
			b.WriteString(" " + m.Step + "+" + time.Duration(m.DeltaMS*int64(time.Millisecond)).String())
		}
		b.WriteString(" writable " + time.Duration(f.WritableMS*int64(time.Millisecond)).String())
		out = append(out, b.String())
	}
	return out
}

// TestFailovers reads the steps of failovers of every kind out of events.
func TestFailovers(t *testing.T) {
	for name, c := range map[string]struct {
		events []monitorapi.Event
		want   []string
	}{
		"crash, two nodes": {
			story("0 server report a primary", "9 election primary_failed -", "9 goal primary_failed b report_lsn", "40 state report b report_lsn",
				"52 goal choose b wait_primary", "52 goal choose a demoted", "58 told publish b", "180 open report b wait_primary",
				"190 elected elected b", "230 settled settled b", "900 settled settled b"),
			[]string{"a>b elected: noticed+0s decided+9ms voted+31ms chosen+12ms told+6ms open+122ms promoted+10ms settled+40ms writable 180ms"},
		},
		"switchover, three nodes": {
			story("0 election command_failover -", "70 state report b report_lsn", "75 state report c report_lsn", "80 drained log_ended a",
				"81 goal choose b primary", "81 goal choose a demoted", "85 told publish b", "210 open report b", "220 elected elected b", "300 settled settled b"),
			[]string{"a>b elected: noticed+0s decided+0s voted+75ms drained+5ms chosen+1ms told+4ms open+125ms promoted+10ms settled+80ms writable 300ms"},
		},
		"abandoned, then another": {
			story("0 election command_failover -", "5000 drained drained a", "9000 abandoned drain_failed a", "20000 election primary_failed -", "20050 state report b report_lsn"),
			[]string{
				"a> abandoned: noticed+0s decided+0s drained+5s writable -1ms",
				"> under way: noticed+0s decided+0s voted+50ms writable -1ms",
			},
		},
		"the candidate fails": {
			story("0 election primary_failed -", "10 state report b report_lsn", "20 goal choose b primary", "25 told publish b",
				"400 candidate_lost candidate_lost b", "420 goal choose c wait_primary", "430 told publish c", "600 open report c", "605 elected elected c"),
			[]string{">c elected: noticed+0s decided+0s voted+10ms chosen+410ms told+10ms open+170ms promoted+5ms writable 600ms"},
		},
		"nothing but a restart": {story("0 server report a primary", "100 open report a primary"), nil},
	} {
		if diff := cmp.Diff(c.want, told(c.events)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestWriteTimings: a line for each failover, with what is not known left out.
func TestWriteTimings(t *testing.T) {
	var b strings.Builder
	writeTimings(&b, failovers(story("0 election command_failover -", "70 state report b report_lsn")))
	for _, want := range []string{"Voted", "70 (+70)", "under way", "default/0", "the monitor's clock"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	b.Reset()
	writeTimings(&b, nil)
	if b.String() != "There were no failovers.\n" {
		t.Errorf("of none it says %q", b.String())
	}
}
