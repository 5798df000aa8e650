package metadata

import (
	"slices"

	"github.com/autoctl/autoctl/citus"
)

// Node returns what the report says of a group's primary; nil if it says nothing.
func (r Report) Node(group int) *Node {
	i := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Group == group })
	if i < 0 {
		return nil
	}
	return &r.Nodes[i]
}

// right reports whether the server was read and sends the group's statements to the right place.
func (n Node) right(group int) bool {
	return n.Actual != nil && n.Problem == "" && citus.Right(n.Left, group)
}

// Routed reports whether the coordinator sends the group's statements to where the topology says.
func (r Report) Routed(group int) bool {
	n := r.Node(citus.Coordinator)
	return n != nil && n.right(group)
}

// Propagated reports whether every metadata primary sends the group's statements to where the topology says.
func (r Report) Propagated(group int) bool {
	return len(r.Nodes) > 0 && !slices.ContainsFunc(r.Nodes, func(n Node) bool { return !n.right(group) })
}

// Changed reports whether anything was changed anywhere.
func (r Report) Changed() bool {
	return slices.ContainsFunc(r.Nodes, func(n Node) bool { return len(n.Done) > 0 })
}
