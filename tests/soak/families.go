package soak

import (
	"cmp"
	"slices"
	"strings"
)

// family is the group of faults that one colour stands for.
func family(kind string) string {
	for _, f := range []struct{ name, words string }{
		{"frozen", "frozen"},
		{"killed", "killed stopped outlives"},
		{"network", "cut one-way lost slow"},
		{"disk", "full"},
	} {
		for word := range strings.FieldsSeq(f.words) {
			if strings.HasSuffix(kind, word) {
				return f.name
			}
		}
	}
	return "operator"
}

func sortedFaults(faults []*Fault) []*Fault {
	return slices.SortedFunc(slices.Values(faults), func(a, b *Fault) int { return cmp.Compare(a.Begin, b.Begin) })
}
