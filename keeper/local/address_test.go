package local

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

func TestAddresses(t *testing.T) {
	forward := map[string][]string{"db1": {"192.0.2.1"}, "db2": {"192.0.2.2", "192.0.2.3"}, "web": {"fe80::1%eth0"}}
	back := map[string][]string{"192.0.2.1": {"DB1."}, "192.0.2.2": {"db2"}, "192.0.2.3": {"db2.net"}}
	asked := 0
	lookup := func(m map[string][]string) func(context.Context, string) ([]string, error) {
		return func(_ context.Context, key string) ([]string, error) {
			asked++
			if m[key] == nil {
				return nil, errors.New("no such host")
			}
			return slices.Clone(m[key]), nil
		}
	}
	a := addresses{lookupHost: lookup(forward), lookupAddr: lookup(back)}
	now := func(f func(context.Context)) { f(t.Context()) }
	for host, want := range map[string][]string{
		"192.0.2.9": {"192.0.2.9"},              // an address is one
		"db1":       {"db1"},                    // leads back
		"db2":       {"192.0.2.2", "192.0.2.3"}, // one of them does not
		"web":       {"fe80::1"},                // nobody knows its address
		"gone":      {"gone"},                   // the resolver does not know it
	} {
		if got := a.of(t.Context(), host, now); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", host, got, want)
		}
	}
	before := asked
	if a.of(t.Context(), "db1", now); asked != before {
		t.Error("asked again at once")
	}
	forward["db1"] = []string{"192.0.2.7"}
	a.known["db1"].at = time.Now().Add(-time.Hour)
	a.of(t.Context(), "db1", now)
	if got := a.of(t.Context(), "db1", now); !slices.Equal(got, []string{"192.0.2.7"}) {
		t.Errorf("after a move: got %v", got)
	}
	delete(forward, "db1")
	a.known["db1"].at = time.Now().Add(-time.Hour)
	a.of(t.Context(), "db1", now)
	if got := a.of(t.Context(), "db1", now); !slices.Equal(got, []string{"192.0.2.7"}) {
		t.Errorf("with the resolver away: got %v", got)
	}
}

// TestRules_OneHost: peers on one host are admitted by the same rules, written once.
func TestRules_OneHost(t *testing.T) {
	n := &Node{}
	n.current.Store(&Config{Auth: "trust"})
	peers := []fsm.Peer{{Node: 2, Host: "192.0.2.1", Port: 1}, {Node: 3, Host: "192.0.2.1", Port: 2}, {Node: 4, Host: "192.0.2.2", Port: 1}}
	var of []string
	for _, r := range n.rules(fsm.Files{Peers: peers}) {
		if slices.Contains(r.Users, Replicator) {
			of = append(of, r.Address)
		}
	}
	if want := []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"}; !slices.Equal(of, want) { // for replication, and for questions
		t.Errorf("rules for %v", of)
	}
}
