package explore

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// floor is the least number of states that the named search must reach; testdata/floor.txt is committed, so that a search that
// shrinks unnoticed fails.
func floor(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile("testdata/floor.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int
		var found string
		if _, err := fmt.Sscanf(line, "%s %d", &found, &n); err == nil && found == name {
			return n
		}
	}
	t.Fatalf("no floor for %s", name)
	return 0
}

// judge prints what was searched, and fails when a promise is broken or fewer states were reached than committed.
func judge(t *testing.T, search string, o Options, began time.Time, r Result) {
	t.Helper()
	t.Logf("%s: %d nodes, up to %d faults, %d commits, %d promotions, %d commands: %v, in %v", search, o.Nodes, o.Faults, o.Commits,
		o.Promotions, o.Commands, r, time.Since(began).Round(time.Millisecond))
	if r.Violation != "" {
		t.Fatalf("%s\n%s", r.Violation, r.Story)
	}
	if raceEnabled {
		search += "-race"
	}
	if least := floor(t, search); r.States < least {
		t.Errorf("%s: %d states, fewer than the %d committed in testdata/floor.txt", search, r.States, least)
	}
}

// TestBirth: groups of every size come into service from nothing.
func TestBirth(t *testing.T) {
	for nodes := 1; nodes <= maxNodes; nodes++ {
		for sync := range nodes {
			o := Options{Nodes: nodes, NumberSync: sync}
			o.defaults()
			if _, story := serving(&o, newHealer()); story != "" {
				t.Errorf("%d nodes, number_sync_standbys %d: %s", nodes, sync, story)
			}
		}
	}
}

// TestExplore holds P1, P2 and P3 against everything that can happen to a group within the bounds. It is the minute's version:
// AUTOCTL_EXPLORE=30m go test -run Explore ./fsm/explore searches for as long as it is told.
func TestExplore(t *testing.T) {
	if os.Getenv("AUTOCTL_EXPLORE") != "" {
		t.Skip("TestExploreLong searches instead")
	}
	for _, s := range searches() {
		t.Run(s.name, func(t *testing.T) {
			began := time.Now()
			judge(t, s.name, s.options, began, s.run(s.options))
		})
	}
}

// search is one search with its bounds.
type search struct {
	name    string
	options Options
	run     func(Options) Result
}

// searches are the minute's version, chosen by what they reach and not by time. The first three end when no new state is left.
func searches() []search {
	prompt := Options{Nodes: 2, Promotions: 2, Prompt: true, Merge: true, Heal: true}
	with := func(faults, commits, commands int) Options {
		o := prompt
		o.Faults, o.Commits, o.Commands = faults, commits, commands
		return o
	}
	breadth := func(limit int) func(Options) Result {
		return func(o Options) Result { return Breadth(o, scale(limit)) }
	}
	walks := func(count, length int) func(Options) Result {
		return func(o Options) Result { return Walks(o, 1, scale(count), length) }
	}
	three := with(2, 2, 1)
	three.Nodes = 3
	late := with(2, 2, 1)
	late.Prompt = false
	walk := Options{Nodes: 2, Faults: 8, Commits: 4, Promotions: 8, Commands: 3, AllCommands: true, Heal: true}
	walk3 := walk
	walk3.Nodes = 3
	return []search{
		{"two-commits", with(1, 3, 0), breadth(1 << 20)},
		{"two-writes", with(0, 3, 1), breadth(1 << 20)},
		{"two-commands", with(0, 1, 2), breadth(1 << 20)},
		{"two", with(1, 1, 1), breadth(20000)},
		{"two-late", late, breadth(5000)},
		{"three", three, breadth(5000)},
		{"walks-two", walk, walks(800, 120)},
		{"walks-three", walk3, walks(800, 160)},
	}
}

// scale makes a search smaller under the race detector, which is an order slower.
func scale(n int) int {
	if raceEnabled {
		return min(n/10, 2000)
	}
	return n
}

// TestExploreLong searches for AUTOCTL_EXPLORE: in walks from ever new seeds; what it finds names its seed.
func TestExploreLong(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("AUTOCTL_EXPLORE"))
	if err != nil {
		t.Skip("AUTOCTL_EXPLORE says for how long to search, such as 30m")
	}
	end := time.Now().Add(limit)
	states := 0
	for seed := uint64(time.Now().Unix()); time.Now().Before(end); seed++ {
		for nodes := 2; nodes <= maxNodes; nodes++ {
			o := Options{Nodes: nodes, NumberSync: int(seed % 3 % uint64(nodes)), Faults: 3 + int(seed%8), Commits: 6, Promotions: 10, Commands: int(seed % 5), AllCommands: true, Heal: true}
			r := Walks(o, seed, 1000, 100+int(seed%200))
			states += r.States
			if r.Violation != "" {
				t.Fatalf("seed %d, %d nodes: %s\n%s", seed, nodes, r.Violation, r.Story)
			}
		}
	}
	t.Logf("%d steps of random walks", states)
}
