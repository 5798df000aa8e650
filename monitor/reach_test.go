package monitor

import (
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestViews_Up: a server that has only just started cannot have been probed yet, so that it is known since when it runs.
func TestViews_Up(t *testing.T) {
	now := fsm.Instant(5)
	v := newViews(func() fsm.Instant { return now })
	g := fsm.Group{Nodes: []fsm.Node{{ID: 1}}}
	for i, step := range []struct {
		status fsm.ServerStatus
		want   fsm.Instant
	}{{fsm.ServerRunning, 5}, {fsm.ServerRunning, 5}, {fsm.ServerStopped, 0}, {fsm.ServerRunning, 8}} {
		g.Nodes[0].Report = &fsm.Report{Server: fsm.Server{Status: step.status}}
		v.fill(&g)
		if got := g.Nodes[0].Up; got != step.want {
			t.Errorf("look %d: %v, wanted %v", i, got, step.want)
		}
		now++
	}
}
