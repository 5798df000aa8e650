package local_test

import (
	"fmt"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestSwitchedSegment: the log is switched to another segment, as a backup's end and archive_timeout do, before a standby has flushed anything of the new
// timeline to its data. What is behind the switch is empty, and the standby's log is still that of the timeline it follows (S6): it is left alone.
func TestSwitchedSegment(t *testing.T) {
	g, a, b := pair(t)
	drain := g.goal(a, fsm.StateDraining)
	drain.DeadlineMS = 60000
	g.reach(a, drain)
	g.vote(b)
	g.promote(b, 1, a)
	for _, size := range []int{1, 60, 3000, 8000, 8104, 8128, 20000} {
		b.must(fmt.Sprintf("select pg_logical_emit_message(true, '', repeat('x', %d))", size))
		b.must("select pg_switch_wal()")
		end, err := b.sql("select pg_current_wal_lsn()")
		if err != nil {
			t.Fatal(err)
		}
		a.eventually(fmt.Sprintf("select least(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn()) >= '%s'", end), "t")
		f, err := a.node.Observe(g.ctx, a.mem.Get().Goal)
		if err != nil {
			t.Fatal(err)
		}
		if steps := fsm.Plan(a.mem.Get().Goal, f); f.Server.Timeline != g.orders[len(g.orders)-1].Timeline || len(steps) > 0 {
			t.Errorf("after a message of %d bytes and a switch, at %v on timeline %d: %v", size, f.Server.Position.LSN, f.Server.Timeline, steps)
		}
	}
}
