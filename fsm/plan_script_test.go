package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestPlanScripts tells what a node does, story by story, in a kind world (see simNode). Each file opens with the promise it defends. Directives:
//
//	node WORD…   a node that is as the words say: absent, damaged, foreign, clean, signal, diverged, timeline2, stopped, crashed, remains, starting, hung,
//	             primary, standby, receiver, blocked, final, confirmed, gate, stray, promoted, settled, lost, silent, notready, noroom, copied, fresh, …
//	also WORD…   changes the same node
//	goal STATE [k=] [timeline=] [deadline=] [alone] [new] [await] [voted]   what it must become
//	walk         carries plans out until nothing is left, one line a step
func TestPlanScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/plan", func(t *testing.T, path string) {
		t.Helper()
		s := &planScript{}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			t.Helper()
			return s.run(t, td)
		})
	})
}

type planScript struct {
	node simNode
	goal Goal
	seq  uint64
}

func (s *planScript) run(t *testing.T, td *datadriven.TestData) string {
	t.Helper()
	switch td.Cmd {
	case "node":
		s.node = simNode{kind: DataReady, status: ServerStopped, room: true, ready: true, generation: 1, slots: true}
		for _, arg := range td.CmdArgs {
			s.node.set(t, arg.Key)
		}
	case "also":
		for _, arg := range td.CmdArgs {
			s.node.set(t, arg.Key)
		}
	case "goal":
		s.goal = s.newGoal(t, td)
		s.node.settled = s.node.settled && s.goal.Configuration == nil
	case "walk":
		return s.walk(t)
	default:
		td.Fatalf(t, "unknown directive %q", td.Cmd)
	}
	return ""
}

// set applies one word of a script.
func (n *simNode) set(t *testing.T, word string) {
	t.Helper()
	flags := map[string]*bool{
		"clean": &n.clean, "signal": &n.signal, "diverged": &n.diverged, "timeline2": &n.newTimeline, "remains": &n.remains, "receiver": &n.receiver,
		"blocked": &n.blocked, "final": &n.final, "confirmed": &n.confirmed, "gate": &n.gate, "stray": &n.stray, "promoted": &n.reigned, "settled": &n.settled,
		"lost": &n.lost, "silent": &n.silent, "copied": &n.copied, "fresh": &n.fresh, "following": &n.following, "closed": &n.closed, "served": &n.served,
		"overdue": &n.overdue, "begun": &n.began, "ended": &n.ended, "guarded": &n.guarded, "starved": &n.starved, "strayed": &n.strayed,
	}
	if f, ok := flags[word]; ok {
		*f = true
		return
	}
	switch word {
	case "absent":
		n.kind = DataAbsent
	case "damaged":
		n.kind = DataDamaged
	case "foreign":
		n.kind = DataForeign
	case "stopped", "crashed", "starting", "hung":
		n.status = ServerStatus(word)
	case "primary":
		n.status, n.loaded = ServerRunning, true
	case "standby":
		n.status, n.recovery, n.signal, n.closed, n.loaded = ServerRunning, true, true, true, true
	case "notready":
		n.ready = false
	case "noroom":
		n.room = false
	case "rewinding":
		n.busy = BusyRewind
	case "swapping":
		n.busy = BusySwap
	default:
		t.Fatalf("unknown word %q", word)
	}
}

func (s *planScript) newGoal(t *testing.T, td *datadriven.TestData) Goal {
	t.Helper()
	state, err := ParseState(td.CmdArgs[0].Key)
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	k, timeline, deadline := 0, 1, 0
	td.MaybeScanArgs(t, "k", &k)
	td.MaybeScanArgs(t, "timeline", &timeline)
	td.MaybeScanArgs(t, "deadline", &deadline)
	s.seq++
	g := Goal{Stamp: Stamp{1, 2, s.seq}, Node: 1, State: state, SystemID: simSystem, Settings: DefaultSettings(), Peers: []Peer{{Node: 2}}, DeadlineMS: int64(deadline),
		Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 2, Epoch: 2, Node: 2}}}
	switch {
	case state.Serves():
		g.Timeline, g.Configuration = Timeline(timeline), &Configuration{Seq: simSeq, K: k}
		g.Orders[1].Node = 1
	case state.Follows():
		g.Upstream = &Upstream{Node: 2, Host: "b", Port: 5432, Timeline: 2, Until: Position{Epoch: 1, LSN: simFork}}
	}
	if td.HasArg("await") {
		g.AwaitEnd, g.Upstream = true, &Upstream{Node: 2, Host: "b", Port: 5432, Timeline: 1}
	}
	g.Confirmed = td.HasArg("voted")
	if td.HasArg("alone") {
		g.Peers = nil
	}
	if td.HasArg("new") {
		g.SystemID = 0
		s.node.generation = 0
	}
	return g
}

func (s *planScript) walk(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for range 40 {
		f := s.node.facts(s.goal)
		steps := Plan(s.goal, f)
		if err := safe(s.goal, f, steps); err != nil {
			t.Fatal(err)
		}
		if len(steps) == 0 {
			out.WriteString("reached\n")
			return out.String()
		}
		first := steps[0]
		fmt.Fprintf(&out, "%s: %s%s\n", first.Kind, first.Reason, filesIn(first))
		next, held, err := advance(s.goal, s.node, first)
		if err != nil {
			t.Fatal(err)
		}
		if held {
			fmt.Fprintf(&out, "held: %s; %s\n", first.Problem.Code, first.Problem.Hint)
			return out.String()
		}
		s.node = next
	}
	t.Fatalf("no end:\n%s", out.String())
	return ""
}

// filesIn tells what a step writes, in short.
func filesIn(s Step) string {
	if s.Files == nil {
		return ""
	}
	text := " ["
	if s.Files.Standby {
		text += "standby.signal "
	}
	if s.Files.Upstream != nil {
		text += fmt.Sprintf("upstream %d ", s.Files.Upstream.Node)
	}
	if c := s.Files.Configuration; c == nil {
		text += "closed"
	} else {
		text += fmt.Sprintf("k=%d", c.K)
	}
	if s.Files.Gate {
		text += " gate"
	}
	return text + "]"
}
