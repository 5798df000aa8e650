package fsm

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write generated documents anew")

// TestRulesDocument keeps docs/rules.md what the code says.
func TestRulesDocument(t *testing.T) {
	const path = "../docs/rules.md"
	if *update {
		if err := os.WriteFile(path, []byte(Text()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Text() {
		t.Errorf("%s is not current: run go test ./fsm -run TestRulesDocument -update", path)
	}
}
