package inprocess

import (
	"encoding/json"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// trap reads a keeper's log and springs once in each kind of step for each goal,
// and once behind it.
type trap struct {
	mu     sync.Mutex
	seen   map[string]bool
	sprung chan string
}

// Write takes one line of the log.
func (r *trap) Write(line []byte) (int, error) {
	var l struct{ Step, State, Message string }
	if json.Unmarshal(line, &l) != nil {
		return len(line), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	what := l.Message + " " + l.Step + " for " + l.State
	if r.seen[what] || l.Message != "step done" && l.Message != "step begins" {
		return len(line), nil
	}
	r.seen[what] = true
	select {
	case r.sprung <- what:
	default:
	}
	return len(line), nil
}

// torment runs a node whose keeper ends whenever the trap springs, until the
// condition holds. PostgreSQL is left as it is each time.
func (n *node) torment(within time.Duration, ok func(monitorapi.State) bool) {
	n.s.t.Helper()
	r := &trap{seen: map[string]bool{}, sprung: make(chan string, 1)}
	plain := n.log
	n.log = zerolog.New(io.MultiWriter(n.s.out, r)).Level(zerolog.DebugLevel).With().Str("who", n.cfg.Name).Logger()
	defer func() { n.log = plain }()
	deadline, ends := time.Now().Add(within), 0
	for time.Now().Before(deadline) {
		n.start()
		for running := true; running; {
			select {
			case <-r.sprung:
				ends++
				n.cancel()
				n.awaitEnd()
				running = false
			case <-time.After(50 * time.Millisecond):
				if st, err := n.s.client.State(n.s.t.Context(), "", -1); err == nil && ok(st) {
					n.s.t.Logf("%s got there with %d keepers", n.cfg.Name, ends+1)
					return
				}
				running = time.Now().Before(deadline)
			}
		}
	}
	st, _ := n.s.client.State(n.s.t.Context(), "", -1)
	n.s.t.Fatalf("%s did not get there with %d keepers\n%s", n.cfg.Name, ends, picture(st))
}

func is(name string, want fsm.State) func(monitorapi.State) bool {
	return func(st monitorapi.State) bool {
		n, ok := find(st, name)
		return ok && n.Reported == want && n.Assigned == want
	}
}

// TestInterrupted: a keeper that ends between every two steps, and once within
// each, creates a primary, a standby, promotes, and rejoins all the same.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.node("a"), s.node("b")
	a.create()
	a.torment(60*time.Second, is("a", fsm.StateSingle))
	s.mustWrite("create table t as select 1 as n", a)
	b.create()
	b.torment(90*time.Second, is("b", fsm.StateSecondary))
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("insert into t values (2)", a)
	b.cancel()
	b.awaitEnd()
	a.silence()
	b.torment(90*time.Second, is("b", fsm.StateWaitPrimary))
	s.mustWrite("insert into t values (3)", b)
	a.torment(120*time.Second, is("a", fsm.StateSecondary))
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StateSecondary, "b": fsm.StatePrimary})
	s.mustWrite("do $$ begin if (select count(*) from t) <> 3 then raise 'rows are missing'; end if; end $$", b)
}
