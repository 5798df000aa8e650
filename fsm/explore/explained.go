package explore

import (
	"fmt"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// explained holds what [fsm.Explain] says of a world at rest against the world: that it is in its best state, or what is missing and
// that only a human can help; and what the loss of each node would do against what it does. It returns what is wrong; "" for nothing.
func (w *World) explained(served string) string {
	e := fsm.Explain(w.group, now)
	switch {
	case e.Healthy && served != "":
		return fmt.Sprintf("explain says that all is well, and %s", served)
	case !e.Healthy && len(e.Why) == 0:
		return fmt.Sprintf("explain gives no reason why the group is not in its best state: %s", e.Summary)
	case served != "":
		return ""
	}
	for _, what := range e.WhatIf {
		if w.away(at(what.Node), what.Node) {
			continue
		}
		after := w.without(at(what.Node))
		if why := after.foretold(w, what.Text); why != "" {
			return fmt.Sprintf("explain says of the loss of %s: %s; but %s", what.Name, what.Text, why)
		}
	}
	return ""
}

// without returns the world after a node was lost for good, when nothing happens any more.
func (w *World) without(n int) *World {
	after := *w
	after.off(n)
	var c canon
	for range maxRounds {
		h := c.encode(&after)
		after.round()
		if c.encode(&after) != h {
			continue
		}
		if after.silence(n, false) { // an election's own patience begins after that
			continue
		}
		after.pass()
		if c.encode(&after) == h {
			break
		}
	}
	return &after
}

// foretold says what is otherwise than the text foretold in the world before; "" for nothing.
func (w *World) foretold(before *World, text string) string {
	ruler := w.ruler()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("no failover possible"), has("would vote"):
		if ruler >= 0 {
			return fmt.Sprintf("node %s serves", name(ruler))
		}
		return ""
	case ruler < 0:
		return "nobody serves"
	case has("would be promoted") && !has("node "+name(ruler)+" would be promoted"):
		return fmt.Sprintf("node %s was promoted", name(ruler))
	}
	k, waits := w.writes(ruler)
	switch {
	case has("nothing changes"):
		if was, waited := before.writes(ruler); k != was || waits != waited {
			return fmt.Sprintf("k was %d and is %d, and whether writes wait was %v and is %v", was, k, waited, waits)
		}
		return ""
	case waits != has("writes would wait"):
		return fmt.Sprintf("whether writes wait on %s is %v", name(ruler), waits)
	case (k == 0) != (has("not be protected") || has("no longer be protected")):
		return fmt.Sprintf("k is %d", k)
	}
	return ""
}

// writes is the k in force on a server, and whether its writes wait for standbys that are not there.
func (w *World) writes(n int) (k int, wait bool) {
	h := &w.hosts[n]
	k = int(h.force.k)
	return k, k > 0 && w.holders(n, h.loaded, 0) < k
}

// ruler is a node that admits writes; -1 for none.
func (w *World) ruler() int {
	for i := range w.n {
		if h := &w.hosts[i]; h.serves() && !h.loaded.gate {
			return i
		}
	}
	return -1
}
