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
	end      fsm.LSN // of our log, when it was asked whether the upstream has what comes next
	facts    *fsm.UpstreamFacts
	why      string // there are no facts
	password bool   // it refused our password
}

// questions are those that one upstream is being asked. They go on while nobody waits for an answer, so that neither a newer goal waits for a slow upstream
// nor a slow upstream is asked from the beginning again and again; and another begins beside those that a look has waited for in vain, for a
// connection may be dead while its upstream is back.
type questions struct {
	upstream fsm.Upstream
	ask      func(end fsm.LSN) asked // until cancel
	cancel   context.CancelFunc
	began    time.Time  // the newest
	open     int        // those whose answer was not taken
	answers  chan asked // has room for all that are open
}

// askedFor is how long an answer is good, askTimeout how long one look waits for it, askLimit how long a question is kept up, askedAtMost how many there are
// at a time, and uncollected after how long an answer that nobody waited for is too old.
const (
	askedFor    = 50 * time.Millisecond
	askTimeout  = 4 * time.Second
	askLimit    = time.Minute
	askedAtMost = 3
	uncollected = 2 * time.Second
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
		end := max(f.Data.Checkpoint, f.Server.Position.LSN)
		if reading := n.newest().recovers.replay.Segment; f.Server.Status == fsm.ServerStarting && reading != "" {
			end = segmentStart(reading, n.segmentSize()) // what pg_control says is where it wants to get to
		}
		last = n.answer(ctx, *goal.Upstream, end)
	}
	f.Upstream, f.Silent, f.SilentWhy, f.Password = last.facts, last.facts == nil, last.why, last.password
}

// answer waits for the first answer to the questions that are under way, or to a new one.
func (n *Node) answer(ctx context.Context, u fsm.Upstream, end fsm.LSN) asked {
	t := time.NewTimer(askTimeout)
	defer t.Stop()
	for {
		q := n.question(u, end)
		select {
		case a := <-q.answers:
			n.mu.Lock()
			q.open--
			n.mu.Unlock()
			if time.Since(a.at) > uncollected {
				continue
			}
			return n.accept(q, a, end)
		case <-t.C:
			return asked{upstream: u, why: noAnswer}
		case <-ctx.Done():
			return asked{upstream: u, why: noAnswer}
		}
	}
}

// accept makes an answer the newest. That the upstream lacks what comes next is said of the end that it was asked about.
func (n *Node) accept(q *questions, a asked, end fsm.LSN) asked {
	if a.facts != nil && a.end != end {
		a.facts.LostSlot = false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asking == q {
		n.asked = a
	}
	return a
}

// question returns what u is being asked, and begins to ask where that is nothing, or has been waited for.
func (n *Node) question(u fsm.Upstream, end fsm.LSN) *questions {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asking == nil || n.asking.upstream != u {
		n.dropQuestions()
		ctx, cancel := context.WithCancel(n.closing)
		ask := func(end fsm.LSN) asked { return n.pose(ctx, u, end) }
		n.asking = &questions{upstream: u, ask: ask, cancel: cancel, answers: make(chan asked, askedAtMost)}
	}
	q := n.asking
	if q.open == 0 || q.open < askedAtMost && time.Since(q.began) >= askTimeout {
		q.began = time.Now()
		q.open++
		n.spawn(func(context.Context) { q.answers <- q.ask(end) })
	}
	return q
}

// pose asks u once.
func (n *Node) pose(ctx context.Context, u fsm.Upstream, end fsm.LSN) asked {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	facts, err := n.ask(ctx, u, end)
	if err != nil {
		n.config().Log.Debug().Err(err).Msg("upstream does not answer")
	}
	return asked{at: time.Now(), upstream: u, end: end, facts: facts, why: reason(err), password: wrongPassword(err)}
}

// dropQuestions gives up what is under way: what it was asked for is no more. The caller holds mu.
func (n *Node) dropQuestions() {
	if n.asking != nil {
		n.asking.cancel()
		n.asking = nil
	}
}
