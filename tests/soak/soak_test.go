package soak

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/tests/machine"
)

// TestSoak is the run that AUTOCTL_SOAK asks for; "make soak" sets it.
func TestSoak(t *testing.T) {
	o, asked, err := optionsFrom(os.Getenv)
	if !asked {
		t.Skip("takes long: AUTOCTL_SOAK=30m (make soak DURATION=30m) asks for it")
	}
	if err != nil {
		t.Fatal(err)
	}
	machine.NeedLinks(t)
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %s, %v; the report goes to %s", o.seed, o.configuration(), o.duration, o.dir)
	rec := newRecorder(o)
	rec.report.Version = version()
	t.Run("control", func(t *testing.T) { control(t, rec) })
	if t.Failed() {
		t.Fatal("the negative control could not be run")
	}
	t.Run("nemesis", func(t *testing.T) { torment(t, o, rec) })
	for _, a := range rec.report.Anomalies {
		t.Errorf("%.1f s: %s: %s\n%s", a.At, a.Promise, a.What, a.Picture)
	}
}

// torment is the run itself.
func torment(t *testing.T, o options, rec *recorder) {
	t.Helper()
	n := build(t, o, rec)
	rec.restart()
	r := start(t, n)
	t.Cleanup(r.stop) // a second time at most
	defer func() {
		if err := r.write(!t.Failed()); err != nil {
			t.Error(err)
		}
		if err := n.keepLogs(); err != nil {
			t.Error(err)
		}
	}()
	r.bursts(t.Context(), t)
	r.finish(t.Context())
}

// version describes what is tested, as far as that can be told.
func version() string {
	binary := os.Getenv("AUTOCTL_BINARY")
	if binary == "" {
		return "built with the race detector for this run"
	}
	out, err := exec.Command(binary, "version").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}
