package explore

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"
)

// mutation is one rule broken on purpose, and the bounds within which the search finds out.
type mutation struct {
	name   string
	wrong  Options // what is broken
	within Options
}

// after is a search of a group of so many nodes for what a broken rule leads to after these faults and commands, in any order and at any time.
// Each takes from the budget, which is how many of them may happen; their ends do not.
func after(nodes, faults, commits, promotions int, only ...event) Options {
	o := Options{Nodes: nodes, Faults: faults, Commits: commits, Promotions: promotions, Prompt: true, Merge: true, AllCommands: true, only: only}
	for _, e := range only {
		if e.kind >= evFailover {
			o.Commands++
		}
	}
	return o
}

func synchronous(o Options, n int) Options {
	o.NumberSync = n
	return o
}

// abandoned begins with an election in which b has voted, and a is back before anybody was chosen; a report with that vote is on its way.
func abandoned(o Options) Options {
	s, up := event{evStep, b, 0}, event{evStep, a, 0}
	o.script = []event{crash(a), up, up, up, up, s, s, delay(b), {evPatience, 0, 0}}
	return o
}

// recopied begins with a standby that made a copy beside its data and did not swap it in, because it went into maintenance: it came back with its
// data, and the copy is still there. A timer that ends early brings it down to a copy.
func recopied(o Options) Options {
	s, up := event{evStep, b, 0}, event{evStep, a, 0}
	get := event{evReceive, b, 0}
	o.script = []event{crash(b), s, early(b), s, s, s, s, s, maintenance(b), up, up, up, returns(b), s, s, get, up, s, up, up}
	return o
}

// deposed begins when b has been promoted while a is off, a backup of the monitor does not know of it, and b is cut off.
func deposed(o Options) Options {
	s := event{evStep, b, 0}
	o.script = []event{{evBackup, 0, 0}, off(a), {evSilence, a, 0}, s, s, s, s, s, s, s, s, cut(b, monitor)}
	return o
}

// The nodes, for events.
const (
	a, b, c = 0, 1, 2
)

func off(n int8) event         { return event{evOff, n, 0} }
func back(n int8) event        { return event{evReturn, n, 0} }
func crash(n int8) event       { return event{evKill, n, 0} }
func cut(m, n int8) event      { return event{evCut, m, n} }
func heal(m, n int8) event     { return event{evHeal, m, n} }
func delay(n int8) event       { return event{evDelay, n, 0} }
func late(n int8) event        { return event{evLate, n, 0} }
func stale(n int8) event       { return event{evStale, n, 0} }
func quorum(n int8) event      { return event{evQuorum, n, 0} }
func maintenance(n int8) event { return event{evMaintain, n, 0} }
func restarts(n int8) event    { return event{evKeeper, n, 0} }
func fails(n int8) event       { return event{evDisk, n, 0} }
func early(n int8) event       { return event{evTimer, n, 0} }
func returns(n int8) event     { return event{evBack, n, 0} }

// restored has the monitor restored from what it once was.
func restored(o Options) Options {
	o.Every = true
	o.only = append(o.only, event{evBackup, 0, 0}, event{evRestore, 0, 0})
	return o
}

// starved has the old primary need log, once it is rewound, that nobody has any more, and heals what is found.
func starved(o Options) Options {
	o.Every, o.Heal = true, true
	o.only = append(o.only, event{evStarve, a, 0})
	return o
}

// mutations are all, by the rows of the design's table, and then the others.
func mutations() []mutation {
	return []mutation{
		{"onestep", Options{decide: manySteps}, synchronous(ordered(after(3, 2, 1, 1, off(a), off(b), maintenance(b))), 2)},
		{"nojoint", Options{decide: noJoint}, after(2, 2, 1, 1, off(a), off(b), back(b))},
		{"nows", Options{broken: noWalsenders}, ordered(after(3, 2, 1, 1, off(a), off(b), quorum(b)))},
		{"nockpt", Options{broken: noCheckpointer}, after(2, 2, 1, 1, off(a), off(b), back(b))},
		{"noflush", Options{broken: noFlush}, after(2, 2, 1, 1, off(a), off(b), back(b))},
		{"ignorek0", Options{decide: decideWith(ignoreK0)}, after(2, 2, 1, 1, off(a), off(b), back(b))},
		{"notstopped", Options{broken: notStopped}, after(3, 1, 1, 1, cut(a, monitor))},
		{"stalevote", Options{decide: decideOn(staleVote)}, abandoned(ordered(after(3, 5, 1, 1, crash(a), delay(b), event{evPatience, 0, 0}, event{evFreeze, b, 0}, late(b))))},
		{"staleconf", Options{broken: staleConf}, after(3, 2, 1, 1, cut(a, monitor), off(c), back(c))},
		{"lenonly", Options{decide: decideOn(lengthOnly)}, ordered(after(3, 2, 3, 2, off(a), back(a), crash(b)))},
		{"promolate", Options{decide: promoLate}, ordered(after(2, 2, 1, 2, off(a), back(a), cut(b, monitor)))},
		{"promodrop", Options{decide: decideOn(promoDrop)}, ordered(after(3, 2, 1, 2, off(a), off(b)))},
		{"promoreplace", Options{decide: promoReplace}, ordered(after(3, 2, 1, 2, off(a), off(b)))},
		{"abandonchosen", Options{decide: abandonChosen}, after(2, 2, 1, 1, cut(a, monitor), heal(a, monitor), cut(b, monitor))},
		{"minority", Options{decide: decideWith(minority)}, ordered(after(3, 2, 1, 1, off(a), off(b)))},
		{"catchingup", Options{decide: decideWith(fromCatchingUp)}, ordered(after(3, 3, 1, 1, off(a), off(b), fails(c)))},
		{"anyorder", Options{broken: anyOrder}, after(2, 3, 1, 1, off(a), off(b), back(b), stale(a))},
		{"forgetful", Options{broken: forgetful}, ordered(after(3, 3, 1, 1, cut(a, monitor), restarts(c), cut(c, monitor)))},
		{"sametimeline", Options{broken: sameTimeline}, after(2, 2, 1, 2, off(a), back(a), fails(b))},
		{"keepgeneration", Options{broken: keepGeneration}, recopied(ordered(after(2, 4, 1, 1, crash(b), early(b), maintenance(b), returns(b), fails(b), off(a))))},
		{"trusting", Options{broken: trusting}, restored(deposed(ordered(after(2, 3, 1, 1, off(a), back(a), cut(b, monitor)))))},
		{"primaryalone", Options{decide: primaryAlone}, restored(deposed(ordered(after(2, 3, 1, 1, off(a), back(a), cut(b, monitor)))))},
		{"nogate", Options{plan: planOn(noGate)}, after(2, 2, 1, 1, crash(a))},
		{"patientstart", Options{plan: planOn(patientStart)}, starved(ordered(after(2, 3, 1, 1, off(a), back(a))))},
		{"twonames", Options{broken: twoNames}, synchronous(ordered(after(3, 4, 1, 1, cut(a, b), heal(a, b), off(a), off(b))), 2)},
	}
}

// limit bounds the search of one mutation on a busy machine.
const limit = 5 * time.Minute

// TestMutations breaks one rule at a time: the search must find out. With -v it tells the stories.
func TestMutations(t *testing.T) {
	for _, m := range mutations() {
		if raceEnabled && m.within.Nodes > 2 {
			continue // they would take minutes
		}
		t.Run(m.name, func(t *testing.T) {
			o := m.within
			o.broken, o.decide, o.plan = m.wrong.broken, m.wrong.decide, m.wrong.plan
			began := time.Now()
			o.Until = began.Add(limit)
			r := Breadth(o, 1<<20)
			t.Logf("%s: %v: %d states in %v: %s", m.name, o, r.States, time.Since(began).Round(time.Millisecond), r.Violation)
			if r.Violation == "" {
				t.Fatalf("nothing was found (%v)", r)
			}
			if testing.Verbose() {
				t.Log(r.Story)
			}
		})
	}
}

// TestMutationsControl searches within the same bounds with every rule in place: it is the broken rules that were found, not the bounds.
func TestMutationsControl(t *testing.T) {
	if os.Getenv("AUTOCTL_EXPLORE") == "" {
		t.Skip("make explore searches the same bounds with every rule intact: set AUTOCTL_EXPLORE")
	}
	for _, m := range mutations() {
		began := time.Now()
		r := Breadth(m.within, 1<<20)
		judge(t, m.name, m.within, began, r)
		if !r.Exhausted {
			t.Errorf("%s: new states were left", m.name)
		}
	}
}

// TestNotLinked: no program links the explorer, and so none can break a rule.
func TestNotLinked(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "github.com/autoctl/autoctl/cmd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("/fsm/explore")) {
		t.Error("a program links fsm/explore")
	}
}
