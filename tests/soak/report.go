package soak

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Report is what a run found. Times are seconds since its beginning.
type Report struct {
	Began         time.Time `json:"began"`
	Version       string    `json:"version"`
	Seconds       float64   `json:"seconds"`
	Seed          uint64    `json:"seed"`
	Configuration string    `json:"configuration"`
	// Bound is how long a group may take to become whole after everything was healed.
	Bound     float64    `json:"convergence_bound"`
	Nodes     []string   `json:"nodes"`
	Control   Control    `json:"control"`
	Bursts    []Burst    `json:"bursts"`
	Faults    []*Fault   `json:"faults"`
	Workloads []Workload `json:"workloads"`
	// Serving says whose acknowledgements came when, from the clients' own records.
	Serving   []Span     `json:"serving"`
	States    []Span     `json:"states"`
	Gaps      []Gap      `json:"gaps"`
	Failovers []Failover `json:"failovers"`
	PerFault  []PerFault `json:"per_fault"`
	Anomalies []Anomaly  `json:"anomalies"`
	Finished  bool       `json:"finished"`
}

// Control is the negative control: a group that was made to lose commits.
type Control struct {
	Acknowledged int    `json:"acknowledged"`
	Lost         int    `json:"lost"`
	Said         bool   `json:"said"` // an event of the system names the loss
	Problem      string `json:"problem,omitempty"`
}

// Burst is a handful of faults, the repair of everything, and what came of it.
type Burst struct {
	Number int     `json:"number"`
	Begin  float64 `json:"begin"`
	Healed float64 `json:"healed"`
	// Whole is when the group was whole again, 0 if that took longer than allowed.
	Whole float64 `json:"whole"`
}

// Fault is one thing that was done to the group.
type Fault struct {
	Burst  int     `json:"burst"`
	Kind   string  `json:"kind"`
	Host   string  `json:"host"`           // the lane of the picture that it belongs to
	Role   string  `json:"role,omitempty"` // of the host, when it began
	Detail string  `json:"detail,omitempty"`
	Begin  float64 `json:"begin"`
	End    float64 `json:"end"`
	Alone  bool    `json:"alone"` // no other fault of its burst took effect
	// Skipped says why nothing was done.
	Skipped string `json:"skipped,omitempty"`
	// Result is what a command answered, or what went wrong with the fault itself.
	Result string `json:"result,omitempty"`
	// Unavailable is the longest time without an acknowledged write that this fault
	// may have caused.
	Unavailable float64 `json:"unavailable"`
}

// Span is a time during which a host was something.
type Span struct {
	Host  string  `json:"host"`
	What  string  `json:"what"`
	Begin float64 `json:"begin"`
	End   float64 `json:"end"`
}

// Gap is a time without an acknowledged write of any client.
type Gap struct {
	Begin  float64 `json:"begin"`
	Length float64 `json:"length"`
}

// Failover is an election that ended with a primary.
type Failover struct {
	At     float64 `json:"at"`
	Host   string  `json:"host"`
	Reason string  `json:"reason"`
}

// Workload sums up what a workload did.
type Workload struct {
	Name     string `json:"name"`
	Asserted bool   `json:"asserted"`
	// Acknowledged counts what was confirmed, Unknown what may or may not have
	// happened; Wrong is what must not be.
	Acknowledged int    `json:"acknowledged"`
	Unknown      int    `json:"unknown"`
	Wrong        int    `json:"wrong"`
	Note         string `json:"note,omitempty"`
	// Evidence is what those need who look into what is wrong.
	Evidence string `json:"evidence,omitempty"`
}

// PerFault sums up what faults of a kind did to those who write.
type PerFault struct {
	Kind   string  `json:"kind"`
	Role   string  `json:"role,omitempty"`
	Count  int     `json:"count"`
	Alone  int     `json:"alone"`
	Median float64 `json:"median"` // seconds without an acknowledgement, alone
	P99    float64 `json:"p99"`
	Worst  float64 `json:"worst"` // also together with others
}

// Anomaly is what a promise forbids.
type Anomaly struct {
	At      float64 `json:"at"`
	Promise string  `json:"promise"`
	What    string  `json:"what"`
	// Picture is what "explain" and others said at that time.
	Picture string `json:"picture,omitempty"`
}

// recorder collects the report; it is safe for concurrent use.
type recorder struct {
	began time.Time

	mu     sync.Mutex
	report Report
}

func newRecorder(o options) *recorder {
	began := time.Now()
	return &recorder{began: began, report: Report{
		Began: began.UTC().Truncate(time.Second), Seed: o.seed, Configuration: o.configuration(), Bound: convergeWithin.Seconds(),
	}}
}

// now is the clock of the report.
func (r *recorder) now() float64 { return r.at(time.Now()) }

// at puts a time on the clock of the report, to the millisecond.
func (r *recorder) at(t time.Time) float64 {
	return float64(t.Sub(r.began).Milliseconds()) / 1000
}

// edit changes the report.
func (r *recorder) edit(f func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.report)
}

// anomaly notes what must not be.
func (r *recorder) anomaly(promise, what, picture string) {
	at := r.now()
	r.edit(func(rep *Report) { rep.Anomalies = append(rep.Anomalies, Anomaly{at, promise, what, picture}) })
}

// perFault sums faults up by kind and by the role of their host.
func perFault(faults []*Fault) []PerFault {
	type key struct{ kind, role string }
	sums, alone := map[key]*PerFault{}, map[key][]float64{}
	for _, f := range faults {
		if f.Skipped != "" {
			continue
		}
		k := key{f.Kind, f.Role}
		if sums[k] == nil {
			sums[k] = &PerFault{Kind: f.Kind, Role: f.Role}
		}
		sums[k].Count++
		sums[k].Worst = max(sums[k].Worst, f.Unavailable)
		if f.Alone {
			alone[k] = append(alone[k], f.Unavailable)
		}
	}
	var all []PerFault
	for k, p := range sums {
		p.Alone, p.Median, p.P99 = len(alone[k]), quantile(alone[k], 0.5), quantile(alone[k], 0.99)
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b PerFault) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Role, b.Role))
	})
	return all
}

// quantile is the smallest value that at least the share q of all do not exceed;
// 0 without values.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// restart sets the clock to zero: what is measured begins now.
func (r *recorder) restart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.began = time.Now()
	r.report.Began = r.began.UTC().Truncate(time.Second)
}
