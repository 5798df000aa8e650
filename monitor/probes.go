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

// atMost is how many probes of one server may be under way.
const atMost = 8

// run begins a probe at every interval, whether or not the ones before have been answered: on a network as slow as the timeout each of them would fail
// otherwise, and a node that lives would have nothing but its reports to say so.
func (p *probes) run(ctx context.Context, n watched) {
	var flying sync.WaitGroup
	defer flying.Wait()
	free := make(chan struct{}, atMost)
	for ctx.Err() == nil {
		t := p.s.views.timings()
		select {
		case free <- struct{}{}:
			flying.Go(func() {
				p.once(ctx, n, t)
				<-free
			})
		default: // as many as there may be
		}
		sleep(ctx, time.Duration(t.ProbeIntervalMS)*time.Millisecond)
	}
}

// once tries until the node is lost anyway; a try that takes longer than probe_timeout counts as failed until it is answered after all.
func (p *probes) once(ctx context.Context, n watched, t fsm.Settings) {
	began := p.s.views.now()
	late := time.AfterFunc(time.Duration(t.ProbeTimeoutMS)*time.Millisecond, func() { p.note(ctx, n, began, false, false) })
	defer late.Stop()
	one, cancel := context.WithTimeout(ctx, time.Duration(max(t.ProbeTimeoutMS, t.NodeLostAfterMS))*time.Millisecond)
	defer cancel()
	r := p.s.c.Probe(one, probe.Target{Host: n.Host, Port: n.Port, User: "autoctl_probe", Database: "postgres"})
	p.note(ctx, n, began, r.Status.Serving(), r.Status != probe.Timeout)
}

func (p *probes) note(ctx context.Context, n watched, began fsm.Instant, good, sure bool) {
	if ctx.Err() == nil && p.s.views.probeResult(n.ID, began, good, sure) {
		p.s.queue.Wake(n.Key)
	}
}
