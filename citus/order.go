package citus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// batches puts the changes of addresses in an order in which no address ever belongs to two rows, and parts them into transactions. The moves come first
// in each: whoever changes a group takes the locks of its shards first, and that of what the server was told after them, or two would wait for each other.
func (d *decision) batches() {
	d.displace()
	together := newSets(d.t)
	for id, to := range d.want {
		if o := d.occupant(to, id); o != nil {
			together.join(d.cause[id], d.cause[o.ID])
		}
	}
	notes, moves, pools := map[int][]Step{}, map[int][]Step{}, map[int][]Step{}
	for _, id := range d.ids() {
		root := together.root(d.cause[id])
		if moves[root] == nil {
			moves[root] = d.order(root, together)
		}
	}
	roots := map[int]bool{}
	for root := range moves {
		roots[root] = true
	}
	for _, n := range d.notes {
		if d.waits(n) {
			continue
		}
		root := together.root(n.Group)
		roots[root] = true
		if n.Kind == StepPool {
			pools[root] = append(pools[root], n)
		} else {
			notes[root] = append(notes[root], n)
		}
	}
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		d.out.Batches = append(d.out.Batches, slices.Concat(moves[root], notes[root], pools[root]))
	}
}

// waits reports whether a step goes with a move that cannot be made now.
func (d *decision) waits(s Step) bool {
	if s.Node == 0 {
		return false
	}
	_, moves := d.want[s.Node]
	return !moves && d.row(s.Node).Address != s.Address
}

// ids are the rows to be moved, in order.
func (d *decision) ids() []NodeID { return slices.Sorted(maps.Keys(d.want)) }

func (d *decision) row(id NodeID) *Row {
	for i := range d.a.Rows {
		if d.a.Rows[i].ID == id {
			return &d.a.Rows[i]
		}
	}
	return nil
}

// occupant is another row that has the address now; nil if it is free.
func (d *decision) occupant(a Address, but NodeID) *Row {
	for i := range d.a.Rows {
		if d.a.Rows[i].Address == a && d.a.Rows[i].ID != but {
			return &d.a.Rows[i]
		}
	}
	return nil
}

// displace deals with wanted addresses that belong to rows which nobody moves. A standby's row makes room and takes the address that becomes free: what was its primary's
// is, after a failover, most likely its own. Any other is not ours to move, so that the change waits.
func (d *decision) displace() {
	for _, id := range d.ids() {
		row, to := d.row(id), d.want[id]
		o := d.occupant(to, id)
		if o == nil {
			continue
		}
		if _, moves := d.want[o.ID]; moves {
			continue
		}
		if o.Role == RoleSecondary && o.Group == row.Group {
			d.want[o.ID], d.cause[o.ID] = d.vacated(row.Address), row.Group
			d.remove = slices.DeleteFunc(d.remove, func(s Step) bool { return s.Node == o.ID })
			continue
		}
		d.differ(DifferAddress, row.Group, id, to.String(), row.String(), fmt.Sprintf("the address belongs to node %d of group %d, which must leave it first", o.ID, o.Group))
		delete(d.want, id)
		// Whoever waited for this row's address waits too.
		d.displace()
		return
	}
}

// vacated is the address that becomes free when the row at a leaves it: a itself, or, where another row takes that, the one that this other leaves, and so on. Nobody wants
// an address twice, so that this ends.
func (d *decision) vacated(a Address) Address {
	for {
		next := slices.IndexFunc(d.a.Rows, func(r Row) bool { return d.want[r.ID] == a })
		if next < 0 {
			return a
		}
		a = d.a.Rows[next].Address
	}
}

// order returns the moves of the groups that belong together. Of a circle, one row steps aside for the length of the transaction: a standby's if there is one, since
// moving that takes no locks on shards.
func (d *decision) order(root int, together *sets) []Step {
	taken := map[Address]NodeID{}
	for _, row := range d.a.Rows {
		taken[row.Address] = row.ID
	}
	at := map[NodeID]Address{}
	var pending []NodeID
	for _, id := range d.ids() {
		if together.root(d.cause[id]) == root {
			pending = append(pending, id)
			at[id] = d.row(id).Address
			d.differ(DifferAddress, d.row(id).Group, id, d.want[id].String(), at[id].String(), "the address is changed")
		}
	}
	var steps []Step
	move := func(id NodeID, to Address) {
		g := d.row(id).Group
		steps = append(steps, Step{Kind: StepMove, Group: g, Node: id, Address: to, Epoch: d.epoch(g)})
		delete(taken, at[id])
		taken[to], at[id] = id, to
	}
	for len(pending) > 0 {
		i := slices.IndexFunc(pending, func(id NodeID) bool { _, occupied := taken[d.want[id]]; return !occupied })
		if i < 0 {
			aside := slices.MinFunc(pending, func(a, b NodeID) int {
				return cmp.Or(cmp.Compare(d.row(b).Role, d.row(a).Role), cmp.Compare(a, b)) // "secondary" before "primary"
			})
			if at[aside] == placeholder(aside) {
				return nil // never: two rows would want one address
			}
			move(aside, placeholder(aside))
			continue
		}
		move(pending[i], d.want[pending[i]])
		pending = slices.Delete(pending, i, i+1)
	}
	return steps
}

func (d *decision) epoch(group int) Epoch {
	if g := d.t.Group(group); g != nil {
		return g.Epoch
	}
	return Epoch{}
}

// sets are groups that must change in one transaction.
type sets struct{ parent map[int]int }

func newSets(t Topology) *sets {
	s := &sets{parent: map[int]int{}}
	for _, g := range t.Groups {
		s.parent[g.Number] = g.Number
	}
	return s
}

func (s *sets) root(g int) int {
	for s.parent[g] != g {
		g = s.parent[g]
	}
	return g
}

func (s *sets) join(a, b int) {
	ra, rb := s.root(a), s.root(b)
	s.parent[max(ra, rb)] = min(ra, rb)
}
