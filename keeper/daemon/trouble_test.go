package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper/daemon"
)

// TestDaemon_StopInMaintenance: in maintenance PostgreSQL is the operator's, and goes on when the keeper is stopped, unless that is asked for in so many words.
func TestDaemon_StopInMaintenance(t *testing.T) {
	for mode, want := range map[daemon.StopMode][]fsm.StepKind{daemon.StopGraceful: nil, daemon.StopFast: {fsm.StepStopFast}} {
		synctest.Test(t, func(t *testing.T) {
			w := start(t, nothing)
			w.push(goal(1, fsm.StateMaintenance))
			w.daemon.Stop(mode)
			if err := <-w.ended; err != nil {
				t.Fatal(err)
			}
			if got := w.node.done(); !slices.Equal(got, want) {
				t.Errorf("%s: steps %v, want %v", mode, got, want)
			}
			w.cancel()
		})
	}
}

// TestDaemon_Complains: a step that fails for an hour is not logged as often as it is tried.
func TestDaemon_Complains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, func(fsm.Goal, fsm.Facts) []fsm.Step { return []fsm.Step{{Kind: fsm.StepStart}} }, func(w *world) {
			w.log = zerolog.New(&log).Level(zerolog.WarnLevel)
			w.node.do = func(context.Context, fsm.Goal, fsm.Step) error { return errors.New("no such file") }
		})
		w.push(goal(1, fsm.StatePrimary))
		<-time.After(time.Hour) // of synctest, which takes no time
		w.cancel()
		<-w.ended
		if tried, told := len(w.node.done()), strings.Count(log.String(), "step failed"); tried < 1000 || told < 30 || told > 70 {
			t.Errorf("tried %d times, logged %d times", tried, told)
		}
	})
}

// TestDaemon_Departed: a node that learns that it was dropped says so, and not that an operator stopped it; what the former monitor said of it is forgotten with that.
func TestDaemon_Departed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := start(t, nothing, func(w *world) {
			w.log = zerolog.New(&log)
			w.monitor.err = &monitorapi.Error{Code: monitorapi.CodeUnknown}
		})
		synctest.Wait()
		if p := w.problem(); p == nil || p.Code != "unknown_node" {
			t.Errorf("unknown there: %+v", p)
		}
		w.daemon.UseMonitor(nil)
		if p := w.problem(); p != nil {
			t.Errorf("without a monitor: %+v", p)
		}
		w.monitor.fail(&monitorapi.Error{Code: monitorapi.CodeGone})
		w.daemon.UseMonitor(w.monitor)
		<-w.ended
		if p := w.problem(); p == nil || !strings.Contains(p.Text, "dropped") || strings.Contains(p.Text, "operator") {
			t.Errorf("dropped: %+v", p)
		}
		if strings.Contains(log.String(), "does not answer") {
			t.Errorf("it did answer: %s", log.String())
		}
		w.cancel()
	})
}
