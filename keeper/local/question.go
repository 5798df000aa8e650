package local

import (
	"context"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// asked is what an upstream last said of itself, for a moment: the executor looks many times a second while it waits.
type asked struct {
	at       time.Time
	upstream fsm.Upstream
	facts    *fsm.UpstreamFacts
	why      string // there are no facts
	password bool   // it refused our password
}

// question is one that an upstream is being asked. It goes on while nobody waits for the answer, so that neither a newer goal waits for a slow upstream
// nor a slow upstream is asked from the beginning again and again.
type question struct {
	upstream fsm.Upstream
	cancel   context.CancelFunc
	done     chan struct{} // closed once answer is there
	answer   asked
}

// askedFor is how long an answer is good, askTimeout how long one look waits for it, and askLimit how long a question is kept up.
const (
	askedFor   = 50 * time.Millisecond
	askTimeout = 4 * time.Second
	askLimit   = time.Minute
)

// askUpstream fills in the upstream's own facts, or that it is silent.
func (n *Node) askUpstream(ctx context.Context, goal fsm.Goal, f *fsm.Facts) {
	if goal.Upstream == nil {
		return
	}
	n.mu.Lock()
	last := n.asked
	n.mu.Unlock()
	if last.facts == nil || last.upstream != *goal.Upstream || time.Since(last.at) > askedFor {
		last = n.answer(ctx, *goal.Upstream, max(f.Data.Checkpoint, f.Server.Position.LSN))
	}
	f.Upstream, f.Silent, f.SilentWhy, f.Password = last.facts, last.facts == nil, last.why, last.password
}

// answer waits for the answer to the question that is under way, or to a new one.
func (n *Node) answer(ctx context.Context, u fsm.Upstream, end fsm.LSN) asked {
	q := n.question(u, end)
	t := time.NewTimer(askTimeout)
	defer t.Stop()
	select {
	case <-q.done:
	case <-t.C:
		return asked{upstream: u, why: noAnswer}
	case <-ctx.Done():
		return asked{upstream: u, why: noAnswer}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asking == q {
		n.asking, n.asked = nil, q.answer
	}
	return q.answer
}

// question returns the one that u is being asked, and asks it if there is none.
func (n *Node) question(u fsm.Upstream, end fsm.LSN) *question {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asking != nil && n.asking.upstream == u {
		return n.asking
	}
	n.dropQuestion()
	ctx, cancel := context.WithTimeout(n.closing, askLimit)
	q := &question{upstream: u, cancel: cancel, done: make(chan struct{})}
	n.asking = q
	n.spawn(func(context.Context) {
		defer cancel()
		facts, err := n.ask(ctx, u, end)
		if err != nil {
			n.config().Log.Debug().Err(err).Msg("upstream does not answer")
		}
		q.answer = asked{at: time.Now(), upstream: u, facts: facts, why: reason(err), password: wrongPassword(err)}
		close(q.done)
	})
	return q
}

// dropQuestion gives up the question that is under way: what it was asked for is no more. The caller holds mu.
func (n *Node) dropQuestion() {
	if n.asking != nil {
		n.asking.cancel()
		n.asking = nil
	}
}
