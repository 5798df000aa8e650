package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// inWords says an election's reason for people.
func inWords(reason string) string {
	switch reason {
	case "primary_crashed":
		return "the primary's server crashed"
	case "primary_silent":
		return "the primary is silent"
	case "primary_hung":
		return "the primary's server does not answer new connections"
	case "primary_down":
		return "the primary's server does not come up"
	case "primary_damaged":
		return "the primary's data cannot serve"
	case "interrupted":
		return "an election was interrupted"
	case "storage_hung":
		return "the primary's storage hangs: no commit finishes"
	}
	return reason
}

// SizeText is a number of bytes for people.
func SizeText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), ""
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if value /= 1024; value < 1024 || u == "PB" {
			unit = u
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

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

// missing says in words which votes the record lacks.
func (d *decider) missing(voters []Member) string { return d.missingFrom(d.g.Record, voters) }

func (d *decider) missingFrom(r Record, voters []Member) string {
	if len(r) == 0 {
		return "the group has had no primary yet"
	}
	var parts []string
	for _, c := range r.Binding() {
		part := ""
		switch n := c.Missing(voters); {
		case n == -1:
			part = fmt.Sprintf("only node %s holds what it acknowledged alone", d.name(c.Primary.Node))
		case n > 0:
			part = fmt.Sprintf("%d more of %s, or %s alone", n, d.called(c.Members), d.name(c.Primary.Node))
		}
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; and ")
}

func (d *decider) name(id NodeID) string {
	if n := d.node(id); n != nil {
		return n.Name
	}
	return fmt.Sprintf("#%d", id)
}

// called lists members by name.
func (d *decider) called(members []Member) string {
	var out []string
	for _, m := range members {
		out = append(out, d.name(m.Node))
	}
	return strings.Join(out, ", ")
}
