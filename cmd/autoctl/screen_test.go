package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// TestFit: what a terminal cannot hold is counted, not scrolled away; wrapped lines take more than one row.
func TestFit(t *testing.T) {
	lines := []string{"one", "two", "three is long", "", "five"}
	for _, tt := range []struct {
		width, height int
		want          []string
	}{
		{80, 5, lines},
		{80, 4, []string{"one", "two", "three is long", "... 2 more lines: make the window larger"}},
		{7, 6, lines},
		{7, 5, []string{"one", "two", "three is long", "... 2 m"}},
		{7, 4, []string{"one", "two", "... 3 m"}},
		{80, 1, []string{"... 5 more lines: make the window larger"}},
	} {
		if diff := cmp.Diff(tt.want, fit(lines, tt.width, tt.height)); diff != "" {
			t.Errorf("%d x %d: %s", tt.width, tt.height, diff)
		}
	}
}

// TestScreen: a terminal is drawn over, and wiped first after its size has changed; a file gets one text after the other.
func TestScreen(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b, clear: true, size: func() (int, int, error) { return 5, 3, nil }}
	for range 2 {
		if err := s.draw("12345\nab\n\n"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.String(), "\x1b[H\x1b[2J12345\r\nab\x1b[K\x1b[J"+"\x1b[H12345\r\nab\x1b[K\x1b[J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Reset()
	if err := newScreen(&b).draw("a\n"); err != nil || b.String() != "a\n\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestEventText: a line about a new goal says which.
func TestEventText(t *testing.T) {
	for want, e := range map[string]monitorapi.Event{
		"b becomes secondary: as the primary sees it": {Name: "b", Kind: "goal", Assigned: fsm.StateSecondary, Reason: "as the primary sees it"},
		"b its server is stopped":                     {Name: "b", Kind: "stopped", Assigned: fsm.StateSecondary, Reason: "its server is stopped"},
		"in step: b":                                  {Kind: "record", Reason: "in step: b"},
	} {
		if got := eventText(e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
