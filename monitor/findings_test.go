package monitor

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// TestH13_SlowNode: a node that does not answer holds up the probe of no other, and its own ends by the timeout in milliseconds, not seconds.
func TestH13_SlowNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]int{}
		s, err := New(Config{DataDir: "/d", StateDir: "/s", Port: 1, Auth: AuthTrust, Probe: func(ctx context.Context, target probe.Target) probe.Result {
			mu.Lock()
			asked[target.Host]++
			mu.Unlock()
			if target.Host == "silent" {
				<-ctx.Done()
			}
			return probe.Result{}
		}})
		if err != nil {
			t.Fatal(err)
		}
		settings := fsm.DefaultSettings()
		settings.ProbeIntervalMS, settings.ProbeTimeoutMS = 500, 1000
		s.views.setTimings(settings)
		ctx, cancel := context.WithCancel(t.Context())
		p := newProbes(s)
		p.keep(ctx, []watched{{ID: 1, Host: "silent", Port: 1}, {ID: 2, Host: "well", Port: 1}, {ID: 3, Host: "silent", Port: 2}})
		<-time.After(30 * time.Second)
		cancel()
		p.stop()
		if n := asked["well"]; n < 59 {
			t.Errorf("a node that answers at once was asked %d times in 30 s beside two that do not", n)
		}
		if n := asked["silent"]; n < 2*29 {
			t.Errorf("two nodes that do not answer were asked %d times in 30 s with a timeout of 1 s", n)
		}
	})
}
