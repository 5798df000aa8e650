package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// join renders reasons by node in a fixed order.
func join(why map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(why)) {
		parts = append(parts, name+" "+why[name])
	}
	if len(parts) == 0 {
		return "there is no other node"
	}
	return strings.Join(parts, "; ")
}

// missing says in words which votes a record lacks.
func (r Record) missing(voters []Member) string {
	if len(r) == 0 {
		return "the group has had no primary yet"
	}
	var parts []string
	for _, c := range r {
		switch n := c.Missing(voters); {
		case n == -1:
			parts = append(parts, fmt.Sprintf("only node %d holds what it acknowledged alone", c.Primary.Node))
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d more of nodes %s, or node %d", n, names(c.Members), c.Primary.Node))
		}
	}
	return strings.Join(parts, "; and ")
}

func names(members []Member) string {
	var parts []string
	for _, m := range members {
		parts = append(parts, fmt.Sprint(m.Node))
	}
	return strings.Join(parts, ", ")
}
