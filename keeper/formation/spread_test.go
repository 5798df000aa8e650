package formation

import (
	"testing"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
)

// TestSpread: a server that was asked and could not be changed has not been told; one that did not answer is nobody to wait for.
func TestSpread(t *testing.T) {
	at := func(host string) citus.Address { return citus.Address{Host: host, Port: 1} }
	top := citus.Topology{Groups: []citus.Group{{Number: 1, Primary: at("new")}}}
	node := func(group int, host, problem string) metadata.Node {
		rows := []citus.Row{{ID: 2, Group: 1, Address: at(host), Role: citus.RolePrimary}}
		return metadata.Node{Group: group, Actual: &citus.Actual{Group: group, Rows: rows}, Problem: problem}
	}
	const locked = "canceling statement due to lock timeout"
	for what, c := range map[string]struct {
		node metadata.Node
		want bool
	}{
		"told":               {node(2, "new", ""), true},
		"not told":           {node(2, "old", ""), false},
		"told by another":    {node(2, "new", locked), true},
		"a lock in way":      {node(2, "old", locked), false},
		"it does not answer": {metadata.Node{Group: 2, Problem: "no answer"}, true},
	} {
		report := metadata.Report{Nodes: []metadata.Node{node(1, "new", ""), c.node}}
		found := []Database{{Topology: top, Report: report}, {Topology: top, Report: report}}
		if got := (&Keeper{}).spread(found, 1); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
