package monitor

import (
	"context"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// TestSlowProbes: a server whose every answer comes later than a probe may take is seen alive all the same: the next probe does not wait for it.
func TestSlowProbes(t *testing.T) {
	b := newBench(t)
	b.c.Probe = func(ctx context.Context, _ probe.Target) probe.Result {
		if sleep(ctx, 400*time.Millisecond); ctx.Err() != nil {
			return probe.Result{Status: probe.Timeout}
		}
		return probe.Result{Status: probe.Alive}
	}
	b.create()
	b.start()
	client := b.dial()
	settings := fsm.DefaultSettings()
	settings.ProbeTimeoutMS, settings.ProbeIntervalMS = 200, 100
	if err := client.SetSettings(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Register(t.Context(), registration(1)); err != nil {
		t.Fatal(err)
	}
	b.eventually("the server is seen alive less than three intervals ago", func() bool {
		s, err := client.ExplainInput(t.Context(), "default", 0)
		if err != nil || len(s.Group.Nodes) != 1 {
			return false
		}
		probed := s.Group.Nodes[0].Probed
		return probed > 0 && s.Now.Sub(probed) < 300*time.Millisecond
	})
}
