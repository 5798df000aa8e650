package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// write writes the report as it is now; files of a run that is killed hold what
// was known.
func (r *run) write(finished bool) error {
	acks, err := r.acks()
	if err != nil {
		return err
	}
	now := r.ended
	if now == 0 {
		now = r.n.rec.now()
	}
	r.derive(acks, now)
	r.n.rec.mu.Lock()
	defer r.n.rec.mu.Unlock()
	rep := &r.n.rec.report
	rep.Finished = finished
	return errors.Join(
		writeReport(rep, r.n.opt.dir),
		os.WriteFile(filepath.Join(r.n.opt.dir, "events.txt"), eventsText(r.n.rec, r.events), 0o644),
		os.WriteFile(filepath.Join(r.n.opt.dir, "register.txt"), r.reg.records(), 0o644),
	)
}

// writeReport writes the three forms of a report into a directory.
func writeReport(rep *Report, dir string) error {
	doc, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	page, err := renderPage(rep)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "report.json"), append(doc, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "report.txt"), []byte(renderText(rep)), 0o644),
		os.WriteFile(filepath.Join(dir, "report.html"), page, 0o644),
	)
}

func appendEvent(b []byte, at float64, e monitorapi.Event) []byte {
	return fmt.Appendf(b, "%9.3f %6d %-14s %-10s %-18s %s %s\n", at, e.ID, e.Kind, e.Name, e.Assigned, e.Rule, e.Reason)
}

// renderText is the report for terminals.
func renderText(rep *Report) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	took := 0
	for _, f := range rep.Faults {
		took += count(f.Skipped == "")
	}
	line("soak of %s", rep.Configuration)
	line("%s, seed %d, %.0f s, begun %s%s", rep.Version, rep.Seed, rep.Seconds, rep.Began.Format("2006-01-02 15:04:05 MST"), map[bool]string{false: ", NOT FINISHED"}[rep.Finished])
	line("%d bursts of %d faults, %d failovers, %d anomalies", len(rep.Bursts), took, len(rep.Failovers), len(rep.Anomalies))
	line("control: lost %d of %d acknowledged commits, as it must; named by an event: %v", rep.Control.Lost, rep.Control.Acknowledged, rep.Control.Said)
	median, worst := convergence(rep)
	line("whole again after everything was healed: median %.1f s, worst %.1f s (allowed: %.0f s)", median, worst, rep.Bound)
	line("\n%-42s %12s %9s %7s  %s", "workload", "acknowledged", "unknown", "wrong", "")
	for _, w := range rep.Workloads {
		note := w.Note
		if !w.Asserted {
			note = "weaker than is promised: counted, not asserted"
		}
		line("%-42s %12d %9d %7d  %s", w.Name, w.Acknowledged, w.Unknown, w.Wrong, note)
	}
	line("\nseconds without an acknowledged write, by fault (median and p99: the only fault of its burst; worst: also together with others)")
	line("%-28s %-8s %6s %6s %8s %8s %8s", "fault", "host", "times", "alone", "median", "p99", "worst")
	for _, p := range rep.PerFault {
		median, p99 := "-", "-"
		if p.Alone > 0 {
			median, p99 = fmt.Sprintf("%.2f", p.Median), fmt.Sprintf("%.2f", p.P99)
		}
		line("%-28s %-8s %6d %6d %8s %8s %8.2f", p.Kind, p.Role, p.Count, p.Alone, median, p99, p.Worst)
	}
	line("\nanomalies: %d", len(rep.Anomalies))
	for _, a := range rep.Anomalies {
		line("%9.1f s  %s: %s\n%s", a.At, a.Promise, a.What, a.Picture)
	}
	return b.String()
}

// convergence is how long recovery took, median and worst.
func convergence(rep *Report) (median, worst float64) {
	var all []float64
	for _, b := range rep.Bursts {
		if b.Whole > 0 {
			all = append(all, b.Whole-b.Healed)
		}
	}
	return quantile(all, 0.5), quantile(all, 1)
}
