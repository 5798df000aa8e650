package fsm

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestDecideScripts plays whole stories. Each file opens with the promise it defends. Directives:
//
//	group n=0 [citus=2] [nodes=(a,b)] a new group, of a Citus formation with number_sync_standbys, and nodes in their best state
//	do                    actions, one a line; then every node reports and Decide is asked once
//	run [rounds=30]       until nothing changes: every node obeys and reports, Decide is asked
//	show                  the nodes, the record and what Explain says
//	commits               what a client would see now that commits on each node that is not read-only
func TestDecideScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/decide", func(t *testing.T, path string) {
		t.Helper()
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			t.Helper()
			if td.Cmd == "group" {
				n := 0
				td.MaybeScanArgs(t, "n", &n)
				s = &script{t: t, world: newWorld(n)}
				for _, arg := range td.CmdArgs {
					if arg.Key == "citus" {
						s.g.Kind, s.g.Number, s.g.Founded = KindCitus, number(arg.Vals[0]), true
					}
					if arg.Key == "nodes" {
						s.bootstrap(arg.Vals)
					}
				}
				return ""
			}
			s.t = t
			return s.run(td)
		})
	})
}

type script struct {
	t *testing.T
	*world
	out    strings.Builder
	record string
	phase  string
}

func (s *script) run(td *datadriven.TestData) string {
	s.out.Reset()
	switch td.Cmd {
	case "do":
		for line := range strings.SplitSeq(td.Input, "\n") {
			s.act(strings.Fields(line))
		}
		s.hear()
		s.refusals(s.decide())
	case "run":
		rounds := 30
		td.MaybeScanArgs(s.t, "rounds", &rounds)
		s.toRest(rounds)
	case "show":
		s.show()
	case "commits":
		s.commits()
	default:
		s.t.Fatalf("unknown directive %q", td.Cmd)
	}
	return s.out.String()
}

// bootstrap brings nodes to their best state; testdata/decide/bootstrap.txt has the way there.
func (s *script) bootstrap(names []string) {
	for _, name := range names {
		s.add(name, 50, true, false)
		s.hear()
		s.decide()
		s.toRest(30)
	}
}

// toRest lets everybody obey until nothing changes.
func (s *script) toRest(rounds int) {
	var d Decision
	for i := range rounds {
		for _, b := range s.sorted() {
			s.obey(b)
		}
		s.hear()
		at := s.out.Len()
		fmt.Fprintf(&s.out, "round %d\n", i+1)
		before := s.snapshot()
		d = s.decide()
		if !d.Changed && before == s.snapshot() && i > 0 {
			rest := s.out.String()[:at]
			s.out.Reset()
			s.out.WriteString(rest)
			break
		}
		s.now = s.now.Add(200 * time.Millisecond)
	}
	s.refusals(d)
}

func (w *world) snapshot() string {
	var b strings.Builder
	for _, n := range w.sorted() {
		fmt.Fprintln(&b, n.state, n.reached, n.status, n.lsn, n.settled)
	}
	return b.String()
}

func (s *script) decide() Decision {
	s.consent()
	d := decideChecked(s.t, s.g, s.now)
	for _, e := range d.Events {
		name := ""
		if e.Node != 0 {
			name = " " + s.name(e.Node)
		}
		if e.Kind == "goal" {
			fmt.Fprintf(&s.out, "  %s: %s <- %s: %s\n", strings.TrimSpace(name), e.Assigned, e.Rule, e.Reason)
			continue
		}
		fmt.Fprintf(&s.out, "  %s%s: %s\n", e.Kind, name, e.Reason)
	}
	s.g = d.Group
	s.check(s.t)
	s.tell(d)
	return d
}

// tell prints what is not in the events.
func (s *script) tell(d Decision) {
	if r := s.recordText(d.Group.Record); r != s.record {
		s.record = r
		fmt.Fprintf(&s.out, "  record %s\n", r)
	}
	phase := "none"
	if e := d.Group.Election; e != nil {
		phase = fmt.Sprintf("%s %s", e.Reason, e.Phase)
		if e.Candidate != 0 {
			phase += " " + s.name(e.Candidate)
		}
	}
	if phase != s.phase && (s.phase != "" || phase != "none") {
		fmt.Fprintf(&s.out, "  election %s\n", phase)
	}
	s.phase = phase
	for _, a := range d.Answers {
		fmt.Fprintf(&s.out, "  answer %d %s: %s", a.Command, a.Outcome, a.Text)
		if a.Hint != "" {
			fmt.Fprintf(&s.out, " [%s]", a.Hint)
		}
		s.out.WriteString("\n")
	}
}

func (s *script) refusals(d Decision) {
	for _, r := range d.Refused {
		who := ""
		if r.Node != 0 {
			who = " " + s.name(r.Node)
		}
		fmt.Fprintf(&s.out, "  waits %s%s: %s", r.Rule, who, r.Waits)
		if r.Human {
			fmt.Fprintf(&s.out, " [human: %s]", r.Hint)
		}
		s.out.WriteString("\n")
	}
	if s.out.Len() == 0 {
		s.out.WriteString("  nothing\n")
	}
}

func (s *script) name(id NodeID) string {
	if n := s.node(id); n != nil {
		return n.Name
	}
	return fmt.Sprintf("#%d", id)
}

func (s *script) recordText(r Record) string {
	var parts []string
	for _, c := range r {
		var ms []string
		for _, m := range c.Members {
			ms = append(ms, fmt.Sprintf("%s.%d", s.name(m.Node), m.Generation))
		}
		parts = append(parts, fmt.Sprintf("%d/%d %s.%d k=%d [%s]", c.Epoch, c.Seq, s.name(c.Primary.Node), c.Primary.Generation, c.K, strings.Join(ms, " ")))
	}
	return strings.Join(parts, " + ")
}

func (s *script) show() {
	s.hear()
	for _, n := range s.g.Nodes {
		b := s.nodes[n.ID]
		fmt.Fprintf(&s.out, "%s: %s -> %s %s tli %d\n", n.Name, b.state, n.Goal.State, b.status, b.tli)
	}
	fmt.Fprintf(&s.out, "record %s\n", s.recordText(s.g.Record))
	if s.g.Election != nil {
		fmt.Fprintf(&s.out, "election %s %s\n", s.g.Election.Reason, s.g.Election.Phase)
	}
	before := s.g.Clone()
	s.out.WriteString(Explain(s.g, s.now).Text() + "\n")
	if !reflect.DeepEqual(before, s.g) {
		s.t.Error("Explain changed its input")
	}
}

// commits tells what clients would see: that is what P1 and P2 are about, whatever roles are called.
func (s *script) commits() {
	for _, b := range s.sorted() {
		switch {
		case s.acks(b):
			fmt.Fprintf(&s.out, "%s: acknowledged\n", s.name(b.id))
		case b.writable():
			fmt.Fprintf(&s.out, "%s: waits\n", s.name(b.id))
		}
	}
}

// act does one action of a script; see the switch.
func (s *script) act(f []string) {
	if len(f) == 0 {
		return
	}
	flags, opts := options(f[1:])
	switch f[0] {
	case "node":
		priority := 50
		if v, ok := opts["priority"]; ok {
			priority = number(v)
		}
		s.add(flags[0], priority, opts["quorum"] != "false", slices.Contains(flags, "data"))
		s.named(flags[0]).Cluster = opts["cluster"]
	case "tick":
		d, err := time.ParseDuration(flags[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.tick(d)
	case "command":
		s.command(flags, opts)
	case "cut", "mend":
		a, b := s.id(flags[0]), s.id(flags[1])
		s.cuts[[2]NodeID{min(a, b), max(a, b)}] = f[0] == "cut"
	case "founded", "unfounded":
		s.g.Founded = f[0] == "founded"
	case "pause", "resume":
		s.g.Paused = f[0] == "pause"
	case "save":
		s.saved = s.g.Clone()
	case "restart-monitor", "restore-monitor":
		s.restart(f[0] == "restore-monitor")
	default:
		for _, name := range flags {
			if b := s.nodes[s.id(name)]; b != nil {
				s.touch(f[0], b, opts)
			} else if name == "all" {
				for _, b := range s.sorted() {
					s.touch(f[0], b, opts)
				}
			} else {
				s.t.Fatalf("no node %q", name)
			}
		}
	}
}

// tick passes time in steps of a heartbeat: everybody who can be heard is.
func (s *script) tick(d time.Duration) {
	for d > 0 {
		step := min(d, 500*time.Millisecond)
		s.now, d = s.now.Add(step), d-step
		s.hear()
	}
}

func (s *script) command(flags []string, opts map[string]string) {
	s.next++
	c := Command{ID: s.next, Kind: CommandKind(flags[0]), Node: s.id(opts["node"])}
	c.Number = number(opts["number"])
	c.Flag = opts["flag"] == "true"
	c.AllowFailover = slices.Contains(flags, "allow-failover")
	c.AllowDataLoss = slices.Contains(flags, "allow-data-loss")
	c.Force = slices.Contains(flags, "force")
	s.g.Commands = append(s.g.Commands, c)
}

// touch changes the truth about one node.
func (s *script) touch(what string, b *body, opts map[string]string) {
	switch what {
	case "obey":
		s.obey(b)
	case "holdwrites", "unholdwrites":
		b.unheld = what == "unholdwrites"
	case "hold", "unhold":
		b.held = what == "hold"
	case "silence":
		b.silent = true
	case "back":
		b.silent, b.mute, b.far, b.veiled = false, false, false, false
	case "far":
		b.far = true
	case "veil", "unveil":
		b.veiled = what == "veil"
	case "mute":
		b.mute = true
	case "crash":
		b.status, b.streams = ServerCrashed, false
	case "stop":
		b.status = ServerStopped
	case "start":
		b.status, b.asked = ServerRunning, false
	case "starting":
		b.status, b.asked = ServerStarting, opts["asked"] == "true"
	case "hang":
		b.status = ServerHung
	case "destroy":
		b.status, b.lsn, b.tli, b.epoch, b.promoted = ServerAbsent, 0, 0, 0, nil
		b.problem = "no_data"
	case "rebuild":
		b.gen++
	case "write":
		s.write(b, number(opts["bytes"]))
	case "settle", "nosettle":
		b.noSettle = what == "nosettle"
	case "close", "open":
		b.noOpen = what == "close"
	case "storage":
		b.commit = time.Duration(number(opts["ms"])) * time.Millisecond
	case "resume-drained":
		b.status, b.state, b.drained, b.recovery, b.reached = ServerRunning, StatePrimary, 0, false, b.goal.Stamp
	case "problem":
		b.problem = opts["code"]
	default:
		s.t.Fatalf("unknown action %q", what)
	}
}

func options(f []string) (flags []string, opts map[string]string) {
	opts = map[string]string{}
	for _, w := range f {
		if k, v, ok := strings.Cut(w, "="); ok {
			opts[k] = v
			continue
		}
		flags = append(flags, w)
	}
	return flags, opts
}

func number(v string) int {
	n, _ := strconv.Atoi(v)
	return n
}
