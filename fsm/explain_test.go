package fsm

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
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

// TestExplain_Undecided tells that nobody decides, and claims nothing that only a decision could bring.
func TestExplain_Undecided(t *testing.T) {
	w := newWorld(0)
	for _, name := range []string{"a", "b"} {
		w.add(name, 50, true, false)
		for range 6 {
			w.hear()
			w.g = Decide(w.g, w.now).Group
			for _, b := range w.sorted() {
				w.obey(b)
			}
		}
	}
	w.hear()
	whole := Explain(w.g, w.now)
	if !whole.Healthy {
		t.Fatalf("not healthy before: %s", whole)
	}
	e := whole.Undecided(12000)
	want := "nobody is there to decide: the monitor's decision loop has given no sign of life for 12s"
	if e.Healthy || len(e.Why) != 1 || e.Why[0].Waits != want || !e.Why[0].Human {
		t.Errorf("got %s", e)
	}
	for i, lost := range e.WhatIf {
		if lost.Text == whole.WhatIf[i].Text || !strings.Contains(lost.Text, "nothing would be done") {
			t.Errorf("node %s lost: %s", lost.Name, lost.Text)
		}
	}
}
