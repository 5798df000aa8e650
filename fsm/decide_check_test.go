package fsm

import (
	"encoding/json"
	"math/bits"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// reporter is what the checks need of a test: *testing.T and *rapid.T both have it.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// decideChecked asks Decide and holds its answer to the rules that every answer keeps.
func decideChecked(t reporter, g Group, now Instant) Decision {
	t.Helper()
	before := written(t, g)
	d := Decide(g, now)
	if after := written(t, g); after != before {
		t.Fatalf("Decide changed its input:\n%s", cmp.Diff(before, after))
	}
	if first, second := written(t, d), written(t, Decide(g, now)); first != second {
		t.Fatalf("Decide is not deterministic:\n%s", cmp.Diff(first, second))
	}
	if again := Decide(d.Group, now); again.Changed {
		t.Fatalf("asked again at once, Decide changes something: %+v; first %+v", again.Events, d.Events)
	}
	for _, e := range d.Events {
		if e.Kind == "oscillation" {
			t.Fatalf("oscillation: %+v", d.Events)
		}
	}
	if !d.Changed && len(d.Events) > 0 {
		t.Errorf("events without a change: %+v", d.Events)
	}
	checkServing(t, d)
	checkTransitions(t, g, d)
	checkRecord(t, g, d)
	checkPush(t, g, d)
	checkChoice(t, g, d, now)
	return d
}

// written returns a value's whole content as text.
func written(t reporter, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	return string(data)
}

// checkServing: never two nodes with serving goals, and only the newest configuration's primary serves.
func checkServing(t reporter, d Decision) {
	cur, _ := d.Group.Record.Current()
	for _, n := range d.Group.Nodes {
		if !n.Goal.State.Serves() {
			continue
		}
		told := n.Goal.Incarnation == d.Group.Incarnation && n.Goal.Epoch >= cur.Epoch
		if n.ID != cur.Primary.Node && (told || !d.Group.Unproven) {
			t.Errorf("node %s has the goal %s and the record names %d", n.Name, n.Goal.State, cur.Primary.Node)
		}
		if c := n.Goal.Configuration; told && (c == nil || c.Primary.Node != n.ID) {
			t.Errorf("node %s has the goal %s under %+v", n.Name, n.Goal.State, c)
		}
	}
}

// checkRecord: no change lets a mixture of configurations acknowledge what the record does not cover (S1), and k never falls to 0 while number_sync_standbys is above.
func checkRecord(t reporter, was Group, d Decision) {
	old, ok := was.Record.Current()
	cur, now := d.Group.Record.Current()
	if !ok || !now || d.Group.Unproven || was.Unproven || cur.Seq <= old.Seq {
		return
	}
	if d.Group.NumberSync > 0 && cur.K == 0 && old.K > 0 {
		t.Errorf("k fell to 0 with number_sync_standbys %d", d.Group.NumberSync)
	}
	checkMixtures(t, d.Group.Record)
}

// checkMixtures: whatever is acknowledged while processes still run with older configurations of the reign, each in the newest k with the fewest members of
// its own, votes that cover the record hold it. Tried with every set of votes and every acknowledgement, whichever of the older ones have left the record.
func checkMixtures(t reporter, record Record) {
	t.Helper()
	last, _ := record.Current()
	for from := range record {
		rest := record[from:]
		if rest[0].Epoch != last.Epoch || len(rest) < 2 {
			continue
		}
		k, all := rest[0].K, []Member(nil)
		for _, c := range rest {
			k = min(k, c.K)
			all = append(all, c.Members...)
		}
		slices.SortFunc(all, byNode)
		all = slices.Compact(all)
		for votes := range 1 << len(all) {
			if !rest.CoveredBy(pick(all, votes)) {
				continue
			}
			for acks := range 1 << len(all) {
				if bits.OnesCount(uint(acks)) == k && acks&votes == 0 {
					t.Errorf("votes %v cover %+v, and not what %v acknowledge", pick(all, votes), rest, pick(all, acks))
					return
				}
			}
		}
	}
}

func pick(all []Member, set int) []Member {
	var out []Member
	for i, m := range all {
		if set&(1<<i) != 0 {
			out = append(out, m)
		}
	}
	return out
}

// checkPush: a goal with an old stamp has its old content; a new stamp is above all of before.
func checkPush(t reporter, was Group, d Decision) {
	for _, n := range d.Group.Nodes {
		i := slices.IndexFunc(was.Nodes, func(o Node) bool { return o.ID == n.ID })
		o := was.Nodes[i]
		pushed := slices.Contains(d.Push, n.ID)
		switch {
		case !pushed && n.Goal.State != StateInit && !sameGoal(n.Goal, o.Goal) && !d.Group.Unproven:
			t.Errorf("node %s: content changed without a push", n.Name)
		case pushed && n.Goal.Compare(o.Goal.Stamp) <= 0:
			t.Errorf("node %s: pushed %v after %v", n.Name, n.Goal.Stamp, o.Goal.Stamp)
		}
	}
}

// checkChoice: whoever is promoted was chosen by votes of this election that cover the record, and has the most of them all.
func checkChoice(t reporter, was Group, d Decision, now Instant) {
	if d.Group.Epoch == was.Epoch || len(was.Record) == 0 || was.Unproven || was.Election == nil {
		anew := d.Group.SystemID == 0 && was.SystemID != 0 // the last node has left
		if d.Group.Epoch != was.Epoch && len(was.Record) > 0 && len(d.Group.Record) > 0 && !d.Group.Unproven && !was.Unproven && !anew {
			t.Errorf("a promotion without an election before it")
		}
		return
	}
	votes, top := ballotsOf(was, now, false)
	if there, best := ballotsOf(was, now, true); was.Record.CoveredBy(there) || was.Record.since(best.Epoch).CoveredBy(there) {
		votes, top = there, best // whoever fell silent, or is stopped, took its vote along
	}
	e := d.Group.Election
	if e == nil {
		return
	}
	for i, c := range was.Record {
		if i > 0 && len(c.Members) < c.K || c.Epoch < top.Epoch {
			continue // nothing can have been acknowledged under it; or all of it is in a log of a later epoch
		}
		left := !slices.ContainsFunc(d.Group.Record, func(x Configuration) bool { return x.Seq == c.Seq })
		if !c.CoveredBy(votes) && !e.AllowDataLoss && !left {
			t.Errorf("promoted node %d with votes %v that do not cover %+v", e.Candidate, votes, c)
		}
	}
	for _, n := range was.Nodes {
		if n.ID == e.Candidate && n.Report.Position.Compare(top) < 0 {
			t.Errorf("promoted node %s at %v, behind the vote %v", n.Name, n.Report.Position, top)
		}
	}
}

// checkTransitions: every change of a goal is one that the diagram shows.
func checkTransitions(t reporter, was Group, d Decision) {
	state := map[NodeID]State{}
	for _, n := range was.Nodes {
		state[n.ID] = n.Goal.State
	}
	for _, e := range d.Events {
		if e.Assigned == "" {
			continue
		}
		from := state[e.Node]
		state[e.Node] = e.Assigned
		a, b := groupOf(from), groupOf(e.Assigned)
		known := slices.ContainsFunc(transitions, func(x transition) bool { return x.from == a && x.to == b })
		if a != b && !known && e.Rule != "confirm_record" && e.Rule != "retell" {
			t.Errorf("node %d: %s -> %s by %s is not in the diagram", e.Node, from, e.Assigned, e.Rule)
		}
	}
}

// ballotsOf counts the votes of an election by themselves, of the nodes that are heard or of all, and the greatest position among them.
func ballotsOf(g Group, now Instant, heard bool) (votes []Member, top Position) {
	for i := range g.Nodes {
		n := &g.Nodes[i]
		r := n.Report
		if r == nil || heard && now.Sub(n.Heard) > ms(g.Settings.NodeLostAfterMS) {
			continue
		}
		said := r.Vote != nil && r.Vote.Stamp == n.Goal.Stamp && (n.Goal.State == StateReportLSN || n.Goal.State == StatePreparePromotion && n.Goal.Upstream == nil)
		stopped := !heard && n.Goal.State == StateDemoted && r.Reached == n.Goal.Stamp && r.Drained != 0
		forward := n.Goal.State == StateFastForward && n.ID == g.Election.Candidate && r.Obeyed == n.Goal.Stamp
		if said || stopped || forward {
			votes = append(votes, Member{n.ID, r.Generation})
			if r.Position.Compare(top) > 0 {
				top = r.Position
			}
		}
	}
	return votes, top
}
