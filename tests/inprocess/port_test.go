package inprocess

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

// TestPair_PortInUse: a standby whose port was taken while it was stopped says so, cannot be promoted, and comes back by itself once the port is free.
func TestPair_PortInUse(t *testing.T) {
	s, a, b := pair(t)
	b.stop(keeper.StopFast)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.cfg.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	b.cfg.Listen = "127.0.0.1, ::1" // PostgreSQL would run on the other address
	b.start()
	s.await("it says that the port is in use", 20*time.Second, func(st monitorapi.State) bool {
		for _, n := range st.Formations[0].Groups[0].Nodes {
			if n.Name == "b" {
				return n.Problem != nil && n.Problem.Code == "port_in_use" && n.Server != fsm.ServerRunning
			}
		}
		return false
	})
	s.command(fsm.Command{Kind: fsm.CommandFailover}, fsm.OutcomeRefused)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.states(30*time.Second, map[string]fsm.State{"a": fsm.StatePrimary, "b": fsm.StateSecondary})
	s.mustWrite("create table t (n int)", a, b)
}
