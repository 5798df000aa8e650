package monitor

import (
	"context"
	"sync"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// probes asks every node's server on a schedule of its own: no node waits for another that does not answer.
type probes struct {
	s       *Server
	wg      sync.WaitGroup
	running map[fsm.NodeID]*prober
}

type prober struct {
	host   string
	port   int
	cancel context.CancelFunc
}

func newProbes(s *Server) *probes {
	return &probes{s: s, running: map[fsm.NodeID]*prober{}}
}

// keep starts probes of nodes that are new or have moved, and stops those of nodes that are gone.
func (p *probes) keep(ctx context.Context, nodes []watched) {
	present := make(map[fsm.NodeID]bool, len(nodes))
	for _, n := range nodes {
		present[n.ID] = true
		if r := p.running[n.ID]; r != nil {
			if r.host == n.Host && r.port == n.Port {
				continue
			}
			r.cancel()
		}
		own, cancel := context.WithCancel(ctx)
		p.running[n.ID] = &prober{host: n.Host, port: n.Port, cancel: cancel}
		p.wg.Go(func() { p.run(own, n) })
	}
	for id, r := range p.running {
		if !present[id] {
			r.cancel()
			delete(p.running, id)
		}
	}
}

// stop ends all probes and waits for them.
func (p *probes) stop() {
	for _, r := range p.running {
		r.cancel()
	}
	p.wg.Wait()
}

func (p *probes) run(ctx context.Context, n watched) {
	for ctx.Err() == nil {
		t := p.s.views.timings()
		began := time.Now()
		one, cancel := context.WithTimeout(ctx, time.Duration(t.ProbeTimeoutMS)*time.Millisecond)
		r := p.s.c.Probe(one, probe.Target{Host: n.Host, Port: n.Port, User: "autoctl_probe", Database: "postgres"})
		cancel()
		if ctx.Err() != nil {
			return
		}
		if p.s.views.probeResult(n.ID, r.Status.Serving()) {
			p.s.queue.Wake(n.Key)
		}
		sleep(ctx, time.Duration(t.ProbeIntervalMS)*time.Millisecond-time.Since(began))
	}
}
