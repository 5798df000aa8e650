package fsm

import (
	"testing"
	"time"
)

// TestOutOfReach: a node is out of reach when the probe fails for node_lost_after while its server runs and the primary's answers; one that has only
// just started is not.
func TestOutOfReach(t *testing.T) {
	now := Instant(time.Minute)
	up := &Report{Server: Server{Status: ServerRunning}}
	for name, c := range map[string]struct {
		p, n Node
		want bool
	}{
		"probed":                {Node{Report: up, Probed: now}, Node{Report: up, Probed: now}, false},
		"not probed":            {Node{Report: up, Probed: now}, Node{Report: up, Probed: -1}, true},
		"not probed any more":   {Node{Report: up, Probed: now}, Node{Report: up, Probed: now.Add(-10 * time.Second), Up: 1}, true},
		"has just started":      {Node{Report: up, Probed: now}, Node{Report: up, Probed: -1, Up: now.Add(-time.Second)}, false},
		"is down":               {Node{Report: up, Probed: now}, Node{Report: &Report{}, Probed: -1}, false},
		"nor is the primary":    {Node{Report: up, Probed: -1}, Node{Report: up, Probed: -1}, false},
		"the primary is silent": {Node{Probed: -1}, Node{Report: up, Probed: -1}, true},
	} {
		d := newDecider(Group{Settings: DefaultSettings(), Since: 1}, now)
		if got := d.outOfReach(&c.p, &c.n); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
