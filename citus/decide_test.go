package citus

import (
	"fmt"
	"strings"
	"testing"
)

// The tables write a topology and a server's tables as text, one thing a line:
//
//	group N epoch HOST [not-serving] [dropped] [pool INFO] [standby HOST]... [standbys]
//	row ID N HOST [standby] [inactive] [pool INFO]
//	told N epoch HOST|- [pool INFO]
//
// Epochs are numbers of incarnation 1, or "incarnation.number"; hosts listen on port 5432.
func parse(t *testing.T, text string) (Topology, Actual) {
	t.Helper()
	top, act := Topology{Formation: "f", Database: "d"}, Actual{Pools: map[NodeID]string{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "group":
			g := Group{Number: number(t, f[1]), Epoch: epoch(t, f[2]), Primary: at(f[3]), Serving: true}
			for i := 4; i < len(f); i++ {
				switch f[i] {
				case "not-serving":
					g.Serving = false
				case "dropped":
					g.Dropped, g.Primary = true, Address{}
				case "standbys":
					g.Secondaries = []Secondary{}
				case "standby":
					i++
					g.Secondaries = append(g.Secondaries, Secondary{Address: at(f[i])})
				case "pool":
					i++
					g.PoolInfo = f[i]
				}
			}
			top.Groups = append(top.Groups, g)
		case "row":
			r := Row{ID: NodeID(number(t, f[1])), Group: number(t, f[2]), Address: at(f[3]), Role: RolePrimary, Cluster: DefaultCluster, HasMetadata: true, Active: true}
			for i := 4; i < len(f); i++ {
				switch f[i] {
				case "standby":
					r.Role = RoleSecondary
				case "inactive":
					r.Active = false
				case "pool":
					i++
					act.Pools[r.ID] = f[i]
				}
			}
			act.Rows = append(act.Rows, r)
		case "told":
			p := Place{Group: number(t, f[1]), Epoch: epoch(t, f[2])}
			if f[3] != "-" {
				p.Primary = at(f[3])
			}
			if len(f) > 5 {
				p.Pool = f[5]
			}
			act.Places = append(act.Places, p)
		default:
			t.Fatalf("what is %q?", line)
		}
	}
	return top, act
}

func at(host string) Address { return Address{Host: host, Port: 5432} }

func number(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func epoch(t *testing.T, s string) Epoch {
	t.Helper()
	e := Epoch{Incarnation: 1}
	if i, n, ok := strings.Cut(s, "."); ok {
		e.Incarnation, s = uint64(number(t, i)), n
	}
	e.Number = uint64(number(t, s))
	return e
}

// script writes a plan: a line a batch or a change of the coordinator's, and the kinds of difference with their groups.
func script(p Plan) string {
	var b strings.Builder
	step := func(s Step) string {
		text := fmt.Sprintf("%s %d", s.Kind, s.Group)
		if s.Node != 0 {
			text += fmt.Sprintf(" #%d", s.Node)
		}
		if !s.Address.IsZero() {
			text += " " + s.Address.Host
		}
		if s.Kind == StepPool {
			text += " (" + s.Pool + ")"
		}
		return text
	}
	for _, batch := range p.Batches {
		var texts []string
		for _, s := range batch {
			texts = append(texts, step(s))
		}
		fmt.Fprintf(&b, "together: %s\n", strings.Join(texts, "; "))
	}
	for _, s := range p.Sync {
		fmt.Fprintf(&b, "everywhere: %s\n", step(s))
	}
	for _, d := range p.Left {
		fmt.Fprintf(&b, "differs: %s %d\n", d.Kind, d.Group)
	}
	return b.String()
}

func TestDecide(t *testing.T) {
	const settled = `
		group 0 1 c   
		group 1 2 w1
		group 2 3 w2
		row 1 0 c
		row 2 1 w1
		row 3 2 w2
		told 0 1 c
		told 1 2 w1
		told 2 3 w2`
	cases := []struct {
		name string
		self int
		text string
		want string
	}{
		{name: "nothing to do", text: settled},
		{name: "the coordinator registers itself before anybody else", text: `
			group 0 1 c
			group 1 1 w1`, want: `
			everywhere: register_coordinator 0 c
			differs: missing 0
			differs: missing 1`},
		{name: "workers that serve are added, others waited for", text: `
			group 0 1 c
			group 1 1 w1
			group 2 1 w2 not-serving
			row 1 0 c
			told 0 1 c`, want: `
			everywhere: add 1 w1
			differs: missing 1
			differs: missing 2`},
		{name: "a worker adds nobody", self: 1, text: `
			group 0 1 c
			group 1 1 w1
			group 2 1 w2
			row 1 0 c
			row 2 1 w1
			told 0 1 c
			told 1 1 w1`, want: `
			differs: missing 2`},
		{name: "a new address keeps the node id", text: `
			group 0 1 c
			group 1 5 w1b
			row 1 0 c
			row 2 1 w1
			told 0 1 c
			told 1 2 w1`, want: `
			together: move 1 #2 w1b; note 1 #2 w1b
			differs: address 1`},
		{name: "every metadata primary changes the address for itself, that of the coordinator too", self: 2, text: `
			group 0 4 cb
			group 1 5 w1b
			group 2 1 w2
			row 1 0 c
			row 2 1 w1
			row 3 2 w2
			told 0 1 c
			told 1 2 w1
			told 2 1 w2`, want: `
			together: move 0 #1 cb; note 0 #1 cb
			together: move 1 #2 w1b; note 1 #2 w1b
			differs: address 0
			differs: address 1`},
		{name: "a server that knows better is left alone", text: `
			group 0 1 c
			group 1 2 w1
			row 1 0 c
			row 2 1 w1b
			told 0 1 c
			told 1 5 w1b`, want: `
			differs: newer 1`},
		{name: "a newer incarnation outdoes any number", text: `
			group 0 1 c
			group 1 2.3 w1
			row 1 0 c
			row 2 1 w1b
			told 0 1 c
			told 1 1.9 w1b`, want: `
			together: move 1 #2 w1; note 1 #2 w1
			differs: address 1`},
		{name: "the same epoch cannot have two addresses", text: `
			group 0 1 c
			group 1 5 w1
			row 1 0 c
			row 2 1 w1b
			told 0 1 c
			told 1 5 w1b`, want: `
			differs: conflict 1`},
		{name: "a row that somebody rewrote is repaired under the same epoch", text: `
			group 0 1 c
			group 1 5 w1b
			row 1 0 c
			row 2 1 w1
			told 0 1 c
			told 1 5 w1b`, want: `
			together: move 1 #2 w1b; note 1 #2 w1b
			differs: address 1`},
		{name: "the epoch of a right address is noted", text: `
			group 0 1 c
			group 1 6 w1
			row 1 0 c
			row 2 1 w1
			told 0 1 c
			told 1 2 w1`, want: `
			together: note 1 #2 w1
			differs: epoch 1`},
		{name: "primary and standby change places in one transaction, the standby's row stepping aside", text: `
			group 0 1 c
			group 1 5 w1b standby w1a
			row 1 0 c
			row 2 1 w1a
			row 7 1 w1b standby
			told 0 1 c
			told 1 2 w1a`, want: `
			together: move 1 #7 node-7.autoctl.invalid; move 1 #2 w1b; move 1 #7 w1a; note 1 #2 w1b
			differs: address 1
			differs: address 1`},
		{name: "the standby's row makes room though its new place is not wanted yet, and is removed later", text: `
			group 0 1 c
			group 1 5 w1b standbys
			row 1 0 c
			row 2 1 w1a
			row 7 1 w1b standby
			told 0 1 c
			told 1 2 w1a`, want: `
			together: move 1 #7 node-7.autoctl.invalid; move 1 #2 w1b; move 1 #7 w1a; note 1 #2 w1b
			differs: unwanted 1
			differs: address 1
			differs: address 1`},
		{name: "a standby registered by hand makes room, too", text: `
			group 0 1 c
			group 1 5 w1b
			row 1 0 c
			row 2 1 w1a
			row 7 1 w1b standby
			told 0 1 c
			told 1 2 w1a`, want: `
			together: move 1 #7 node-7.autoctl.invalid; move 1 #2 w1b; move 1 #7 w1a; note 1 #2 w1b
			differs: foreign 1
			differs: address 1
			differs: address 1`},
		{name: "two groups change hosts: one transaction", text: `
			group 0 1 c
			group 1 5 w2
			group 2 6 w1
			row 1 0 c
			row 2 1 w1
			row 3 2 w2
			told 0 1 c`, want: `
			together: move 1 #2 node-2.autoctl.invalid; move 2 #3 w1; move 1 #2 w2; note 1 #2 w2; note 2 #3 w1
			differs: address 1
			differs: address 2`},
		{name: "a chain needs no step aside", text: `
			group 0 1 c
			group 1 5 w2
			group 2 6 w3
			row 1 0 c
			row 2 1 w1
			row 3 2 w2
			told 0 1 c`, want: `
			together: move 2 #3 w3; move 1 #2 w2; note 1 #2 w2; note 2 #3 w3
			differs: address 1
			differs: address 2`},
		{name: "an address that somebody else's row has is waited for, and nothing is noted", text: `
			group 0 1 c
			group 1 5 x
			row 1 0 c
			row 2 1 w1
			row 9 7 x
			told 0 1 c`, want: `
			differs: foreign 7
			differs: address 1`},
		{name: "an inactive worker is activated at its right address only", text: `
			group 0 1 c
			group 1 2 w1
			group 2 3 w2b
			row 1 0 c
			row 2 1 w1 inactive
			row 3 2 w2 inactive
			told 0 1 c
			told 1 2 w1
			told 2 2 w2`, want: `
			together: move 2 #3 w2b; note 2 #3 w2b
			everywhere: activate 1 #2 w1
			differs: inactive 1
			differs: inactive 2
			differs: address 2`},
		{name: "a dropped group goes with its standbys first", text: `
			group 0 1 c
			group 1 9 - dropped
			row 1 0 c
			row 2 1 w1
			row 7 1 w1b standby
			told 0 1 c
			told 1 2 w1`, want: `
			everywhere: remove 1 #7 w1b
			everywhere: remove 1 #2 w1
			differs: unwanted 1
			differs: unwanted 1`},
		{name: "what was dropped is remembered", text: `
			group 0 1 c
			group 1 9 - dropped
			row 1 0 c
			told 0 1 c
			told 1 2 w1`, want: `
			together: note 1`},
		{name: "so that an old reconciler does not bring it back", text: `
			group 0 1 c
			group 1 2 w1
			row 1 0 c
			told 0 1 c
			told 1 9 -`, want: `
			differs: newer 1`},
		{name: "and a new one does", text: `
			group 0 1 c
			group 1 12 w1
			row 1 0 c
			told 0 1 c
			told 1 9 -`, want: `
			everywhere: add 1 w1
			differs: missing 1`},
		{name: "the address of a dropped group is free for another", text: `
			group 0 1 c
			group 1 9 - dropped
			group 2 10 w1
			row 1 0 c
			row 2 1 w1
			told 0 1 c`, want: `
			everywhere: remove 1 #2 w1
			everywhere: add 2 w1
			differs: unwanted 1
			differs: missing 2`},
		{name: "a group that nobody named is left alone", text: `
			group 0 1 c
			row 1 0 c
			row 2 1 w1
			told 0 1 c`, want: `
			differs: foreign 1`},
		{name: "the pool moves with the address, under the node id", text: `
			group 0 1 c
			group 1 5 w1b pool host=w1b
			row 1 0 c
			row 2 1 w1 pool host=w1
			told 0 1 c
			told 1 2 w1 pool host=w1`, want: `
			together: move 1 #2 w1b; note 1 #2 w1b; pool 1 #2 w1b (host=w1b)
			differs: pool 1
			differs: address 1`},
		{name: "our pool is removed, somebody's is not", text: `
			group 0 1 c
			group 1 2 w1
			group 2 2 w2
			row 1 0 c
			row 2 1 w1 pool host=w1
			row 3 2 w2 pool host=theirs
			told 0 1 c
			told 1 2 w1 pool host=w1
			told 2 2 w2`, want: `
			together: pool 1 #2 w1 ()
			differs: pool 1`},
		{name: "standbys are registered and removed by the coordinator", text: `
			group 0 1 c
			group 1 2 w1 standby w1b
			group 2 2 w2 standbys
			row 1 0 c
			row 2 1 w1
			row 3 2 w2
			row 8 2 w2b standby
			told 0 1 c
			told 1 2 w1
			told 2 2 w2`, want: `
			everywhere: remove 2 #8 w2b
			everywhere: add_secondary 1 w1b
			differs: missing 1
			differs: unwanted 2`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			top, act := parse(t, c.text)
			if err := top.Validate(); err != nil {
				t.Fatal(err)
			}
			plan := Decide(top, act, c.self)
			var want strings.Builder
			for line := range strings.Lines(c.want) {
				if line := strings.TrimSpace(line); line != "" {
					want.WriteString(line + "\n")
				}
			}
			if got := script(plan); got != want.String() {
				t.Errorf("got\n%swant\n%s", got, want.String())
			}
			for _, d := range plan.Left {
				if d.Reason == "" {
					t.Errorf("%s of group %d has no reason", d.Kind, d.Group)
				}
			}
		})
	}
}
