package soak

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestOptions(t *testing.T) {
	if _, asked, err := optionsFrom(environment(nil)); asked || err != nil {
		t.Errorf("asked %v, %v without a duration", asked, err)
	}
	o, asked, err := optionsFrom(environment(map[string]string{
		"AUTOCTL_SOAK": "30m", "AUTOCTL_SOAK_SEED": "7", "AUTOCTL_SOAK_NODES": "4", "AUTOCTL_SOAK_SYNC": "1",
		"AUTOCTL_SOAK_ASYNC": "1", "AUTOCTL_SOAK_DIR": "d", "AUTOCTL_SOAK_FAULTS": "host-cut failover",
	}))
	want := options{duration: 30 * time.Minute, seed: 7, nodes: 4, numberSync: 1, async: 1, dir: "d/seed7-4nodes-n1", only: []string{"host-cut", "failover"}}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{}), cmpopts.EquateEmpty()); !asked || err != nil || diff != "" {
		t.Errorf("asked %v, %v\n%s", asked, err, diff)
	}
	for name, values := range map[string]map[string]string{
		"duration": {"AUTOCTL_SOAK": "long"},
		"number":   {"AUTOCTL_SOAK": "1m", "AUTOCTL_SOAK_NODES": "many"},
		"nodes":    {"AUTOCTL_SOAK": "1m", "AUTOCTL_SOAK_NODES": "1"},
		"members":  {"AUTOCTL_SOAK": "1m", "AUTOCTL_SOAK_SYNC": "2", "AUTOCTL_SOAK_ASYNC": "1"},
		"fault":    {"AUTOCTL_SOAK": "1m", "AUTOCTL_SOAK_FAULTS": "earthquake"},
	} {
		if _, _, err := optionsFrom(environment(values)); err == nil {
			t.Errorf("a wrong %s is not refused", name)
		}
	}
}

// TestScheduleRepeats: a seed stands for one sequence of faults.
func TestScheduleRepeats(t *testing.T) {
	a, b, other := newSchedule(3, nil), newSchedule(3, nil), newSchedule(4, nil)
	same := true
	seen := map[string]bool{}
	for range 200 {
		x, y, z := a.burst(), b.burst(), other.burst()
		if diff := cmp.Diff(plan(x), plan(y)); diff != "" {
			t.Fatal(diff)
		}
		same = same && cmp.Equal(plan(x), plan(z))
		for _, p := range x {
			seen[p.kind.name] = true
		}
	}
	if same {
		t.Error("two seeds mean the same")
	}
	for _, k := range kinds {
		if !seen[k.name] {
			t.Errorf("%s never comes", k.name)
		}
	}
}

// plan writes planned faults down.
func plan(all []planned) []string {
	var lines []string
	for _, p := range all {
		lines = append(lines, strings.Join([]string{p.kind.name, p.after.String(), p.hold.String()}, " "))
	}
	return lines
}

func TestClaims(t *testing.T) {
	n := &nemesis{claims: map[string]bool{"process n1": true, "network n2 n3": true}}
	for claim, want := range map[string]bool{
		"process n1": true, "process n2": false, "network": true, "network n1": false, "network n2 n3": true, "disk n1": false,
	} {
		if got := n.taken(claim); got != want {
			t.Errorf("%q taken: %v, want %v", claim, got, want)
		}
	}
	n.claims = map[string]bool{"network": true}
	if !n.taken("network n1 n2") {
		t.Error("a slow network leaves room for a cut")
	}
}

// TestReport: every form of a report says what is in it, and is safe to open.
func TestReport(t *testing.T) {
	rep := &Report{
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 400, Seed: 7, Nodes: []string{"n1", "n2"}, Configuration: "2 nodes",
		Control: Control{Acknowledged: 10, Lost: 3, Said: true},
		Bursts:  []Burst{{Number: 1, Begin: 10, Healed: 20, Whole: 25}},
		Faults: []*Fault{
			{Burst: 1, Kind: "host-frozen", Host: "n1", Role: "primary", Begin: 10, End: 20, Alone: true, Unavailable: 3.25, Detail: "<script>"},
			{Burst: 1, Kind: "failover", Host: "group", Begin: 12, End: 13, Result: "perform failover: exit code 4"},
		},
		Serving:   []Span{{"n1", "acknowledges", 0, 10}, {"n2", "acknowledges", 13.25, 400}},
		States:    []Span{{"n1", "primary", 0, 14}, {"n1", "catchingup", 14, 400}},
		Gaps:      []Gap{{10, 3.25}},
		Failovers: []Failover{{13, "n2", "was <best>"}},
		Anomalies: []Anomaly{{21, "P1", "rows are gone", "explain & more"}},
		Workloads: []Workload{{Name: "inserts", Asserted: true, Acknowledged: 5, Wrong: 1, Note: "1 lost"}},
	}
	rep.PerFault = perFault(rep.Faults)
	if diff := cmp.Diff([]PerFault{
		{Kind: "failover", Count: 1},
		{Kind: "host-frozen", Role: "primary", Count: 1, Alone: 1, Median: 3.25, P99: 3.25, Worst: 3.25},
	}, rep.PerFault); diff != "" {
		t.Error(diff)
	}
	dir := t.TempDir()
	if err := writeReport(rep, dir); err != nil {
		t.Fatal(err)
	}
	html, err := renderPage(rep)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(html), renderText(rep)} {
		for _, want := range []string{"host-frozen", "3.25", "rows are gone", "2 nodes"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in the report:\n%s", want, text)
			}
		}
	}
	if strings.Contains(string(html), "<script") || strings.Count(string(html), "<svg") != 2 {
		t.Errorf("%d strips, want 2; or a script", strings.Count(string(html), "<svg"))
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0.5: 3, 0.99: 5, 1: 5, 0: 1, 0.2: 1} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
