package daemon_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/keeper/daemon"
)

// TestDaemon_S9_TakenBack: a monitor that was restored does not know that the node left. Its keeper stays, and obeys when it is wanted again.
func TestDaemon_S9_TakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, func(_ fsm.Goal, f fsm.Facts) []fsm.Step { return nil })
		w.monitor.answer(goal(1, fsm.StateSecondary))
		w.monitor.pushes <- goal(2, fsm.StateDropped)
		synctest.Wait()
		time.Sleep(3 * time.Second) // of fake time: some heartbeats
		if r := w.monitor.last(); r.State != fsm.StateDropped {
			t.Errorf("last report %+v", r)
		}
		w.push(goal(3, fsm.StateCatchingUp))
		if r := w.monitor.last(); r.State != fsm.StateCatchingUp {
			t.Errorf("last report %+v", r)
		}
		w.daemon.Stop(daemon.StopKeeper)
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		w.cancel()
	})
}
