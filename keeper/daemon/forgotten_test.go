package daemon_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// TestDaemon_S9_Forgotten: a goal of a newer life whose record lacks the set in force is refused, and changes nothing, however often it comes; the monitor is told
// why, and the goal that it then gives is obeyed.
func TestDaemon_S9_Forgotten(t *testing.T) {
	serving := func(incarnation, seq uint64, sets ...uint64) fsm.Goal {
		g := goal(seq, fsm.StateSingle)
		g.Incarnation = incarnation
		for _, set := range sets {
			g.Record = append(g.Record, fsm.Configuration{Seq: set, Epoch: 1, K: int(set)})
		}
		g.Configuration = &g.Record[len(g.Record)-1]
		return g
	}
	synctest.Test(t, func(t *testing.T) {
		w := start(t, nothing)
		w.push(serving(1, 5, 5))
		said := w.monitor.last()
		for range 3 {
			w.push(serving(2, 8, 4))
		}
		<-time.After(time.Second)
		synctest.Wait()
		r := w.monitor.last()
		if r.Problem == nil || !r.Refuses || r.Obeyed != said.Obeyed || len(r.Record) != 1 || r.Record[0].Seq != 5 {
			t.Errorf("report %+v, problem %+v", r, r.Problem)
		}
		w.push(serving(2, 9, 4, 5))
		<-time.After(time.Second)
		synctest.Wait()
		if r := w.monitor.last(); r.Problem != nil || r.Refuses || r.Obeyed.Seq != 9 {
			t.Errorf("report %+v, problem %+v", r, r.Problem)
		}
		if err := w.finish(); err != nil {
			t.Error(err)
		}
	})
}
