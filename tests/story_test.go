package tests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/tests/cluster"
)

// long marks a scenario that takes more than 20 seconds: "make scenarios" runs it,
// "make test" does not.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes more than 20 s: make scenarios runs it")
	}
}

// serves is nil when the node reports a serving state and is assigned the same.
func serves(c *cluster.Cluster, name string) error {
	info, err := c.TryInfo(name)
	if err != nil {
		return err
	}
	if !info.Reported.Serves() || info.Reported != info.Assigned {
		return fmt.Errorf("%s reports %s and is assigned %s", name, info.Reported, info.Assigned)
	}
	return nil
}

// mentions asserts that a text names each of the words.
func mentions(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("nothing says %q in:\n%s", word, text)
		}
	}
}
