package fsm

import (
	"strings"
	"testing"
)

// TestProblemsNameTheCause: what the keeper knows of a cause is in the problem, with what to do about it.
func TestProblemsNameTheCause(t *testing.T) {
	p := start(Goal{}, Facts{Server: ServerFacts{Pause: true, Crashes: 9, Complaint: `FATAL:  could not load server certificate file "x"`}}, "")[0].Problem
	if p == nil || !strings.Contains(p.Text, "could not load server certificate") {
		t.Errorf("got %+v", p)
	}
	goal := Goal{Upstream: &Upstream{Node: 2, Host: "b", Port: 5432}}
	for refused, want := range map[bool]string{true: "auth.password_file", false: "when the upstream answers"} {
		p := ask(goal, Facts{Silent: true, SilentWhy: "password authentication failed", Password: refused}, "there is no data yet")[0].Problem
		if p == nil || !strings.Contains(p.Hint, want) {
			t.Errorf("refused %v: %+v", refused, p)
		}
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 kB", 1536 << 10: "1.5 MB", 3 << 40: "3.0 TB"} {
		if got := SizeText(n); got != want {
			t.Errorf("SizeText(%d) = %s, want %s", n, got, want)
		}
	}
}
