package cluster

import (
	"slices"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

func TestParseSync(t *testing.T) {
	tests := []struct {
		value string
		k     int
		names []string
		bad   bool
	}{
		{value: ""},
		{value: `ANY 1 (b, "a")`, k: 1, names: []string{"a", "b"}},
		{value: "ANY 2 (autoctl_standby_2_0000000a,autoctl_standby_12_0000000b)", k: 2, names: []string{"autoctl_standby_12_0000000b", "autoctl_standby_2_0000000a"}},
		{value: "*", bad: true},
		{value: "FIRST 1 (a)", bad: true},
	}
	for _, test := range tests {
		k, names, err := ParseSync(test.value)
		if (err != nil) != test.bad || k != test.k || !slices.Equal(names, test.names) {
			t.Errorf("ParseSync(%q) = %d, %v, %v", test.value, k, names, err)
		}
	}
}

// TestSynchronous: the assertion itself notices every kind of mistake; a
// substring would accept standby_12 for standby_2.
func TestSynchronous(t *testing.T) {
	group := func(k int, members ...fsm.NodeID) monitorapi.GroupState {
		cfg := fsm.Configuration{Primary: fsm.Member{Node: 1}, K: k}
		for _, m := range members {
			cfg.Members = append(cfg.Members, fsm.Member{Node: m})
		}
		return monitorapi.GroupState{
			Record: fsm.Record{cfg},
			Nodes: []monitorapi.NodeState{
				{NodeID: 1, Slot: "standby_1"}, {NodeID: 2, Slot: "standby_2"}, {NodeID: 12, Slot: "standby_12"},
			},
		}
	}
	tests := []struct {
		name  string
		node  fsm.NodeID
		value string
		group monitorapi.GroupState
		ok    bool
	}{
		{"exact", 1, "ANY 1 (standby_12,standby_2)", group(1, 2, 12), true},
		{"one name short", 1, "ANY 1 (standby_12)", group(1, 2, 12), false},
		{"a longer name", 1, "ANY 1 (standby_12)", group(1, 2), false},
		{"another k", 1, "ANY 2 (standby_12,standby_2)", group(1, 2, 12), false},
		{"unprotected", 1, "", group(0), true},
		{"protected without a record", 1, "ANY 1 (standby_2)", group(0), false},
		{"empty with a record", 1, "", group(1, 2), false},
		{"closed standby", 2, "ANY 1 (nobody)", group(1, 2), true},
		{"open standby", 2, "", group(1, 2), false},
		{"a standby that a standby satisfies", 2, "ANY 1 (standby_12)", group(1, 2), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := synchronous(test.value, monitorapi.NodeState{NodeID: test.node}, test.group); (err == nil) != test.ok {
				t.Errorf("%q: %v", test.value, err)
			}
		})
	}
}
