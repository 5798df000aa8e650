package local_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// inserts is a client that writes row after row to one server.
type inserts struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	acked []string
	news  chan struct{}
}

func (m *member) write(from int) *inserts {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	w := &inserts{cancel: cancel, done: make(chan struct{}), news: make(chan struct{}, 1)}
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=disable", m.cfg.Port, m.cfg.Superuser))
	if err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(w.done)
		defer conn.Close(context.WithoutCancel(ctx))
		for id := from; ; id++ {
			if _, err := conn.Exec(ctx, "insert into t values ($1)", id); err != nil {
				return
			}
			w.mu.Lock()
			w.acked = append(w.acked, strconv.Itoa(id))
			w.mu.Unlock()
			select {
			case w.news <- struct{}{}:
			default:
			}
		}
	}()
	return w
}

func (w *inserts) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// TestS7_S12_VoteUnderWrites defends P1 where a vote is taken from a standby that streams from a living primary: once it has voted it acknowledges nothing more,
// whatever the startup process was about to do when it was told to, and everything acknowledged before is in what it then serves (S7, S12).
func TestS7_S12_VoteUnderWrites(t *testing.T) {
	g, a, b := pair(t)
	for round := range 4 {
		w := a.write(1000 * (round + 1))
		for w.count() < 20 {
			select {
			case <-w.news:
			case <-w.done:
				t.Fatal("the primary refused a write")
			}
		}
		g.vote(b)
		before := w.count()
		// What must not happen sends no event: longer than a receiver needs to come back.
		late := time.NewTimer(500 * time.Millisecond)
		<-late.C
		if after := w.count(); after > before+1 { // one may have been on its way
			t.Errorf("round %d: %d rows were acknowledged after the vote", round, after-before)
		}
		w.cancel()
		<-w.done
		g.promote(b, 1, a)
		have := b.must("select count(*) from t where id in (" + strings.Join(w.acked, ",") + ")")
		if have != strconv.Itoa(len(w.acked)) {
			t.Errorf("round %d: of %d acknowledged rows %s are there", round, len(w.acked), have)
		}
		a, b = b, a
	}
}

// TestVoteWithTheEnd defends P1 and P5 in a planned hand-over: a standby that is to vote with the end of its upstream's log goes on receiving and
// acknowledging until that has shut down, votes then with all of it, and says so; one whose upstream crashes does not.
func TestVoteWithTheEnd(t *testing.T) {
	g, a, b := pair(t)
	for _, crash := range []bool{true, false} {
		w := a.write(100)
		b.obey(g.awaiting(b, a))
		if steps := b.once(g.ctx); len(steps) == 0 || steps[0].Kind != fsm.StepAwaitEnd {
			t.Fatalf("a voter that awaits the end plans %+v", steps)
		}
		for before := w.count(); w.count() < before+20; {
			select {
			case <-w.news:
			case <-w.done:
				t.Fatal("the primary refused a write")
			}
		}
		if crash {
			a.crash()
			<-w.done
			if steps := b.once(g.ctx); len(steps) == 0 || steps[0].Kind != fsm.StepAwaitEnd {
				t.Fatalf("after a crash of the upstream the voter plans %+v", steps)
			}
			g.reach(a, g.serve(a, 1, b))
			a.must("truncate t")
			continue
		}
		g.reach(a, g.goal(a, fsm.StateDraining))
		<-w.done
		g.finish(b)
		st := b.node.Status(g.ctx, b.mem.Get().Goal)
		if drained := a.mem.Get().Drained; st.Final == nil || !st.Ended || st.Final.LSN != drained || drained == 0 {
			t.Errorf("the old primary's log ends at %v; the vote is %v, the end: %v", drained, st.Final, st.Ended)
		}
		g.promote(b, 1, a)
		have := b.must("select count(*) from t where id in (" + strings.Join(w.acked, ",") + ")")
		if have != strconv.Itoa(len(w.acked)) {
			t.Errorf("of %d acknowledged rows %s are there", len(w.acked), have)
		}
	}
}

// awaiting is the goal to vote with the end of the log of a primary.
func (g *group) awaiting(m, upstream *member) fsm.Goal {
	goal := g.follow(m, upstream, fsm.StateReportLSN)
	goal.AwaitEnd = true
	return goal
}
