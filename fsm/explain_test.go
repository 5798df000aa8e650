package fsm

import (
	"encoding/json"
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

// TestExplain_JSON holds the names that docs/json.md documents, and that empty lists are lists.
func TestExplain_JSON(t *testing.T) {
	w := newWorld(0)
	w.add("a", 50, true, false)
	w.hear()
	data, err := json.Marshal(Explain(w.g, w.now))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"formation", "group", "healthy", "summary", "why", "what_if"} {
		if v, ok := doc[key]; !ok || v == nil {
			t.Errorf("%s is missing or null in %s", key, data)
		}
	}
}
