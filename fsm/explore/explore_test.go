package explore

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// floor is what the named search must reach at least: how many states, and whether the last new one. testdata/floor.txt is
// committed, so that a search that shrinks unnoticed fails.
func floor(t *testing.T, name string) (states int, exhausted bool) {
	t.Helper()
	text, err := os.ReadFile("testdata/floor.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			states, err = strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return states, len(f) > 2 && f[2] == "exhausted"
		}
	}
	t.Fatalf("no floor for %s", name)
	return 0, false
}

// judge prints what was searched, and fails when a promise is broken.
func judge(t *testing.T, search string, o Options, began time.Time, r Result) {
	t.Helper()
	t.Logf("%s: %v: %v, in %v", search, o, r, time.Since(began).Round(time.Millisecond))
	if r.Violation != "" {
		t.Fatalf("%s\n%s", r.Violation, r.Story)
	}
}

// reached fails when fewer states were reached than committed.
func reached(t *testing.T, search string, r Result) {
	t.Helper()
	if raceEnabled {
		return // the searches are smaller then
	}
	least, exhausted := floor(t, search)
	if r.States < least {
		t.Errorf("%s: %d states, fewer than the %d committed in testdata/floor.txt", search, r.States, least)
	}
	if exhausted && !r.Exhausted {
		t.Errorf("%s: new states were left", search)
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
			r := s.run(s.options)
			judge(t, s.name, s.options, began, r)
			reached(t, s.name, r)
		})
	}
}

// search is one search with its bounds.
type search struct {
	name    string
	options Options
	run     func(Options) Result
}

// bounds is a search of a group of so many nodes whose messages arrive at once unless a fault delays them.
func bounds(nodes, faults, commits, promotions, commands, overlap int) Options {
	return Options{
		Nodes: nodes, Faults: faults, Commits: commits, Promotions: promotions, Commands: commands, Overlap: overlap,
		Prompt: true, Merge: true, Heal: true,
	}
}

// ordered has nodes take their steps in a fixed order.
func ordered(o Options) Options {
	o.Ordered = true
	return o
}

// restoredOnce has a monitor saved at any moment, and restored at any later one, while nodes fail and are cut off from it.
func restoredOnce(nodes, faults int) Options {
	o := ordered(bounds(nodes, faults, 1, 2, 0, 0))
	o.Every = true
	o.only = []event{{evBackup, 0, 0}, {evRestore, 0, 0}, {evRestore, 0, withoutFile}}
	for n := range int8(nodes) {
		o.only = append(o.only, event{evOff, n, 0}, event{evReturn, n, 0}, event{evCut, n, monitor}, event{evHeal, n, monitor})
	}
	return o
}

// ofCitus has the group be one of a Citus formation.
func ofCitus(o Options) Options {
	o.Citus = true
	return o
}

// everything has the rarer faults and every command happen as well, in a group with number_sync_standbys k.
func everything(o Options, k int) Options {
	o = ordered(o)
	o.Every, o.AllCommands, o.NumberSync = true, true, k
	return o
}

func upTo(limit int) func(Options) Result {
	return func(o Options) Result { return Breadth(o, scale(limit)) }
}

// all searches until no new state is left.
var all = upTo(1 << 30)

// walks are so many random walks of groups of so many nodes.
func walks(count int) func(Options) Result {
	return func(o Options) Result { return Walks(firstSeed, scale(count), o) }
}

// firstSeed is that of the first walk of the minute's version.
const firstSeed = 1

// searches are the minute's version, chosen by what they reach and not by time. Those that run all end when no new state is left.
func searches() []search {
	late := bounds(2, 2, 2, 2, 1, 0)
	late.Prompt = false
	return []search{
		{"two", bounds(2, 3, 3, 2, 2, 1), all},
		{"two-faults-at-once", ordered(bounds(2, 2, 1, 2, 0, 0)), all},
		{"two-fault-and-command", bounds(2, 1, 1, 2, 1, 0), all},
		{"two-late", late, upTo(5000)},
		{"three", ordered(bounds(3, 2, 2, 2, 0, 1)), all},
		{"three-at-once", bounds(3, 2, 2, 2, 1, 0), upTo(5000)},
		{"two-restored", restoredOnce(2, 2), upTo(30000)},
		{"two-everything", everything(bounds(2, 1, 1, 2, 1, 0), 0), upTo(5000)},
		{"citus-two", ofCitus(ordered(bounds(2, 1, 2, 2, 1, 0))), all},
		{"citus-three", ofCitus(ordered(bounds(3, 1, 1, 2, 1, 0))), upTo(5000)},
		{"citus-walks", Options{Nodes: 3, Citus: true}, walks(150)},
		{"walks-two", Options{Nodes: 2}, walks(300)},
		{"walks-three", Options{Nodes: 3}, walks(250)},
		{"walks-four", Options{Nodes: 4}, walks(150)},
		{"walks-five", Options{Nodes: 5}, walks(100)},
	}
}

// deep are the searches that take from minutes to an hour each, in the order of what they take.
func deep() []search {
	return []search{
		{"three-commands", ordered(bounds(3, 2, 2, 2, 1, 1)), all},
		{"two-restored", restoredOnce(2, 2), all},
		{"two-everything", everything(bounds(2, 1, 1, 2, 1, 0), 0), all},
		{"two-everything-waiting", everything(bounds(2, 1, 1, 2, 1, 0), 1), all},
		{"citus-two", ofCitus(ordered(bounds(2, 2, 2, 2, 1, 0))), all},
		{"citus-two-everything", everything(ofCitus(bounds(2, 1, 1, 2, 1, 0)), 0), all},
		{"citus-three", ofCitus(ordered(bounds(3, 1, 1, 2, 1, 0))), all},
		{"two-three-at-once", ordered(bounds(2, 3, 1, 2, 0, 0)), all},
		{"three-pairs", ordered(bounds(3, 2, 1, 2, 1, 2)), upTo(4 << 20)},
		{"two-pairs", bounds(2, 3, 3, 2, 2, 2), all},
	}
}

// scale makes a search smaller under the race detector, which is an order slower.
func scale(n int) int {
	if raceEnabled {
		return min(n/10, 2000)
	}
	return n
}

// TestExploreLong searches for AUTOCTL_EXPLORE: for two thirds of it what is deep, until no new state is left, then in walks from ever new seeds; what they
// find names its seed.
func TestExploreLong(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("AUTOCTL_EXPLORE"))
	if err != nil {
		t.Skip("AUTOCTL_EXPLORE says for how long to search, such as 30m")
	}
	end := time.Now().Add(limit)
	t.Run("deep", func(t *testing.T) { searchDeep(t, time.Now().Add(limit*2/3)) })
	t.Run("walks", func(t *testing.T) { walkUntil(t, end) })
}

// searchDeep gives each search an equal share of what those before it have left, so that none is left out.
func searchDeep(t *testing.T, end time.Time) {
	t.Helper()
	all := deep()
	for i, s := range all {
		began := time.Now()
		s.options.Until = began.Add(end.Sub(began) / time.Duration(len(all)-i))
		judge(t, s.name, s.options, began, s.run(s.options))
	}
}

func walkUntil(t *testing.T, end time.Time) {
	t.Helper()
	const batch = 500
	steps, walked, first, began := 0, uint64(0), uint64(time.Now().Unix())<<20, time.Now()
	for ; time.Now().Before(end); walked += batch {
		r := Walks(first+walked, batch, Options{})
		steps += r.States
		if r.Violation != "" {
			t.Fatalf("%s\n%s\nAUTOCTL_SEED=SEED go test -v -run ExploreSeed ./fsm/explore walks it again", r.Violation, r.Story)
		}
	}
	t.Logf("walks: %d random walks from seed %d on, %d steps, in %v", walked, first, steps, time.Since(began).Round(time.Second))
}

// TestExploreSeed walks the random walk of AUTOCTL_SEED once more; AUTOCTL_NODES is the size of the group where it was not drawn.
func TestExploreSeed(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("AUTOCTL_SEED"), 10, 64)
	if err != nil {
		t.Skip("AUTOCTL_SEED says which walk")
	}
	nodes, _ := strconv.Atoi(os.Getenv("AUTOCTL_NODES"))
	o := Options{Nodes: nodes}
	judge(t, "seed", o, time.Now(), Walk(seed, o))
}

// TestHandOver: a planned hand-over in a Citus formation passes, when nothing is in its way, through a moment at which the old primary goes on answering beside the new one, and
// acknowledges nothing that the new one lacks.
func TestHandOver(t *testing.T) {
	for nodes := 2; nodes <= 3; nodes++ {
		o := Options{Nodes: nodes, Citus: true, Commits: 9, Commands: 1, Prompt: true}
		w, story := serving(&o, newHealer())
		if story != "" {
			t.Fatal(story)
		}
		if !w.apply(event{evFailover, 0, 0}) {
			t.Fatal("refused")
		}
		both := false
		for again := true; again; {
			again = false
			for n := range int8(nodes) {
				for _, k := range []kind{evStep, evReceive, evReply} {
					again = w.apply(event{k, n, 0}) || again
				}
			}
			if w.hosts[0].serves() && w.hosts[1].serves() {
				both = true
				w.apply(event{evCommit, 0, 0})
			}
		}
		if w.broken != "" || !both || !w.hosts[1].serves() || w.group.Election != nil {
			t.Errorf("%d nodes: %q, both: %v\n%s", nodes, w.broken, both, w.describe())
		}
	}
}
