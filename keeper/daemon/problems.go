package daemon

import (
	"sync"

	"github.com/autoctl/autoctl/fsm"
)

// source is where a problem comes from; lower ones are shown first.
type source int

const (
	problemState source = iota // the memory cannot be written
	problemStop                // the node is being stopped
	problemPlan                // the plan waits for a human, or cannot go on
	problemStep                // a step failed and will be tried again
	problemGoal                // the monitor told something that was refused
	sources
)

// problems holds what keeps the node from its goal, one at most from each
// source. The zero value is ready.
type problems struct {
	mu  sync.Mutex
	now [sources]*fsm.Problem
}

// set replaces the problem of one source, nil clears it, and says whether that
// changed what worst returns.
func (p *problems) set(s source, problem *fsm.Problem) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.worstLocked()
	p.now[s] = problem
	after := p.worstLocked()
	if before == nil || after == nil {
		return before != after
	}
	return *before != *after
}

// worst returns the problem to show, nil for none.
func (p *problems) worst() *fsm.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worstLocked()
}

func (p *problems) worstLocked() *fsm.Problem {
	for _, problem := range p.now {
		if problem != nil {
			return problem
		}
	}
	return nil
}
