package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDecide_Properties drives groups of one to four nodes through faults, operators and slow keepers in any order, holds every decision to the
// rules of decideChecked, and at the end heals everything: the group must reach its best state by itself (P3).
func TestDecide_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(0)
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			w.add(string(rune('a'+i)), rapid.SampledFrom([]int{50, 50, 90, 0}).Draw(t, "priority"), i == 0 || rapid.IntRange(0, 5).Draw(t, "quorum") > 0, false)
		}
		w.g.NumberSync = min(rapid.IntRange(0, 2).Draw(t, "n"), max(0, newDecider(w.g, 0).quorumStandbys()-1))
		w.rest(t, 40)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			w.disturb(t)
			w.hear()
			w.consent()
			w.g = decideChecked(t, w.g, w.now).Group
			w.check(t)
		}
		w.heal(t)
	})
}

// consent notes that an operator gives P1 and P2 away.
func (w *world) consent() {
	for _, c := range w.g.Commands {
		w.loss = w.loss || c.AllowDataLoss
	}
}

// rest lets everybody obey until nothing changes.
func (w *world) rest(t *rapid.T, rounds int) {
	for range rounds {
		before := w.snapshot()
		for _, b := range w.sorted() {
			w.obey(b)
		}
		w.pass(200 * time.Millisecond)
		d := decideChecked(t, w.g, w.now)
		w.g = d.Group
		w.check(t)
		if !d.Changed && before == w.snapshot() {
			return
		}
	}
}

func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= 500 * time.Millisecond {
		w.now = w.now.Add(min(d, 500*time.Millisecond))
		w.hear()
	}
}

// disturb does one thing to the world.
func (w *world) disturb(t *rapid.T) {
	all := w.sorted()
	if len(all) == 0 {
		return
	}
	b := all[rapid.IntRange(0, len(all)-1).Draw(t, "node")]
	switch what := rapid.SampledFrom([]string{"obey", "obey", "obey", "all", "all", "time", "long", "silence", "far", "mute", "back", "back", "crash", "start", "hold",
		"unhold", "cut", "mend", "write", "nosettle", "settle", "command", "command", "storage", "restart", "rebuild", "save", "restore"}).Draw(t, "what"); what {
	case "obey":
		w.obey(b)
	case "all":
		for _, b := range all {
			w.obey(b)
		}
	case "time":
		w.pass(time.Second)
	case "long":
		w.pass(8 * time.Second)
	case "silence", "far", "mute", "back":
		b.silent, b.far, b.mute = what == "silence", what == "far", what == "mute"
	case "crash":
		if b.status == ServerRunning {
			b.status, b.streams = ServerCrashed, false
		}
	case "start":
		// With k = 0 a server starts only under a goal from the monitor, which is to obey it.
		if c := b.goal.Configuration; b.status == ServerCrashed && (c == nil || c.K > 0) {
			b.status = ServerRunning
		}
	case "hold", "unhold":
		b.held = what == "hold"
	case "cut", "mend":
		o := all[rapid.IntRange(0, len(all)-1).Draw(t, "other")]
		w.cuts[[2]NodeID{min(b.id, o.id), max(b.id, o.id)}] = what == "cut"
	case "write":
		if b.writable() {
			w.write(b, rapid.IntRange(1, 30<<20).Draw(t, "bytes"))
		}
	case "nosettle", "settle":
		b.noSettle = what == "nosettle"
	case "storage":
		b.commit = 20*time.Second - b.commit
	case "rebuild":
		if n := w.node(b.id); b.recovery && n != nil && n.Goal.State.Follows() && n.Goal.Stamp == b.goal.Stamp {
			b.gen++
		}
	case "restart":
		w.restart(false)
	case "save":
		w.saved = w.g.Clone()
	case "restore":
		if len(w.saved.Nodes) > 0 {
			w.restart(true)
		}
	case "command":
		w.order(t, b)
	}
}

func (w *world) order(t *rapid.T, b *body) {
	w.next++
	w.g.Commands = append(w.g.Commands, Command{
		ID: w.next, Node: b.id, Number: rapid.IntRange(0, 3).Draw(t, "number"), Flag: rapid.Bool().Draw(t, "flag"), AllowFailover: rapid.Bool().Draw(t, "allow"),
		AllowDataLoss: rapid.IntRange(0, 9).Draw(t, "loss") == 0,
		Kind: rapid.SampledFrom([]CommandKind{CommandFailover, CommandFailover, CommandPromotion, CommandMaintenance, CommandReturn, CommandPriority, CommandQuorum,
			CommandNumberSync, CommandRebuild, CommandHandOver, CommandDrop}).Draw(t, "command"),
	})
}

// heal ends every fault and takes back what operators asked; then the group must come to its best state.
func (w *world) heal(t *rapid.T) {
	w.cuts = map[[2]NodeID]bool{}
	for _, b := range w.sorted() {
		b.silent, b.far, b.mute, b.held, b.noSettle, b.commit = false, false, false, false, false, 0
	}
	for range 6 {
		for _, n := range w.g.Nodes {
			w.next++
			w.g.Commands = append(w.g.Commands, Command{ID: w.next, Node: n.ID, Kind: CommandReturn},
				Command{ID: w.next, Node: n.ID, Kind: CommandPriority, Number: 50}, Command{ID: w.next, Node: n.ID, Kind: CommandQuorum, Flag: true})
		}
		w.rest(t, 60)
		w.pass(20 * time.Second)
	}
	w.g = decideChecked(t, w.g, w.now).Group
	if !slices.ContainsFunc(w.g.Nodes, func(n Node) bool { return w.nodes[n.ID].state != StateDropped }) {
		return // an operator dropped them all
	}
	if e := Explain(w.g, w.now); !newDecider(w.g, w.now).atBest() {
		t.Errorf("not at its best after healing:\n%s\n%s", e.Text(), w.describe())
	}
}

func (w *world) describe() string {
	text := ""
	for _, n := range w.g.Nodes {
		b := w.nodes[n.ID]
		text += fmt.Sprintf("%s: %s -> %s at %v, obeyed %v reached %v, %s recovery=%v tli=%d epoch=%d lsn=%v gen=%d streams=%v hold=%v\n",
			n.Name, b.state, n.Goal.State, n.Goal.Stamp, b.goal.Stamp, b.reached, b.status, b.recovery, b.tli, b.epoch, b.lsn, b.gen, b.streams, n.HoldUntil.Sub(w.now))
	}
	return text + fmt.Sprintf("%+v\nelection %+v\n", w.g.Record, w.g.Election)
}
