package citus

import (
	"fmt"
	"slices"
)

// Plan is what is to be done on one server.
type Plan struct {
	// Batches are the changes of addresses and of what goes with them. The steps of a batch belong in one transaction, in their order; batches are independent.
	Batches [][]Step `json:"batches,omitempty"`
	// Sync are the changes that Citus carries to all nodes itself, in order, each in a transaction of its own; only on the coordinator.
	Sync []Step `json:"sync,omitempty"`
	// Left is every difference that exists now, with what will end it.
	Left []Difference `json:"left,omitempty"`
}

// Idle reports whether nothing is to be done.
func (p Plan) Idle() bool { return len(p.Batches) == 0 && len(p.Sync) == 0 }

// Decide returns what is to be done on the server of group self, whose present knowledge is a, so that it follows t. It is a function of its arguments alone: repeated
// after its steps were made, or after some of them, it returns the rest.
func Decide(t Topology, a Actual, self int) Plan {
	d := decision{t: t, a: a, self: self, cause: map[NodeID]int{}, want: map[NodeID]Address{}}
	for _, g := range t.Groups {
		if g.Primary.IsZero() && !g.Dropped || !d.fresh(g) {
			continue // nobody has ever served it, or the server knows better
		}
		if g.Dropped {
			d.dropped(g)
			continue
		}
		d.primary(g)
		d.secondaries(g)
		d.pool(g)
	}
	d.foreign()
	d.batches()
	return d.plan()
}

// decision is one call of Decide under way.
type decision struct {
	t    Topology
	a    Actual
	self int
	// want are the addresses that rows must get, cause the group for whose sake.
	want  map[NodeID]Address
	cause map[NodeID]int
	notes []Step // of StepNote and StepPool
	out   Plan
	// Removals come before additions: an address may pass from a dropped group to a new one.
	remove, register, add []Step
}

func (d *decision) plan() Plan {
	d.out.Sync = slices.Concat(d.remove, d.register, d.add)
	return d.out
}

func (d *decision) differ(kind DifferenceKind, group int, node NodeID, want, have, reason string) {
	d.out.Left = append(d.out.Left, Difference{Kind: kind, Group: group, Node: node, Want: want, Have: have, Reason: reason})
}

// fresh reports whether the server may be told of the group at all: it must not know better.
func (d *decision) fresh(g Group) bool {
	p := d.a.Place(g.Number)
	if p == nil {
		return true
	}
	wanted := g.Primary
	if g.Dropped {
		wanted = Address{}
	}
	switch c := p.Epoch.Compare(g.Epoch); {
	case c > 0:
		d.differ(DifferNewer, g.Number, 0, "epoch "+g.Epoch.String(), "epoch "+p.Epoch.String(), "the server was told of a newer epoch, so that nothing is changed with an older")
		return false
	case c == 0 && p.Primary != wanted:
		d.differ(DifferConflict, g.Number, 0, place(wanted), place(p.Primary), "the server was told another address under the same epoch "+g.Epoch.String()+": only a newer epoch can change it")
		return false
	default:
		return true
	}
}

func place(a Address) string {
	if a.IsZero() {
		return "no row"
	}
	return a.String()
}

// syncing says why a change that Citus itself carries to all nodes is not made here and now; empty when it is to be made.
func (d *decision) syncing(g Group, needsServer bool) string {
	switch {
	case d.self != Coordinator:
		return "the coordinator makes this change on all nodes"
	case g.Number != Coordinator && d.a.Primary(Coordinator) == nil:
		return "the coordinator registers itself first"
	case needsServer && !g.Serving:
		return fmt.Sprintf("group %d does not serve yet", g.Number)
	default:
		return ""
	}
}

// primary compares the row of the group's primary.
func (d *decision) primary(g Group) {
	row := d.a.Primary(g.Number)
	if row == nil {
		d.missing(g)
		return
	}
	told := d.a.Place(g.Number)
	switch {
	case row.Address != g.Primary:
		d.want[row.ID], d.cause[row.ID] = g.Primary, g.Number
		d.notes = append(d.notes, Step{Kind: StepNote, Group: g.Number, Node: row.ID, Address: g.Primary, Epoch: g.Epoch})
	case told == nil || told.Epoch != g.Epoch:
		d.notes = append(d.notes, Step{Kind: StepNote, Group: g.Number, Node: row.ID, Address: g.Primary, Epoch: g.Epoch})
		d.differ(DifferEpoch, g.Number, row.ID, "epoch "+g.Epoch.String(), toldEpoch(told), "the address is right, and the epoch is noted with the next change")
	}
	if g.Number == Coordinator || row.Active && row.HasMetadata {
		return
	}
	reason := d.syncing(g, true)
	if reason == "" && row.Address != g.Primary {
		reason = "its address is changed first"
	}
	if reason == "" {
		d.add = append(d.add, Step{Kind: StepActivate, Group: g.Number, Node: row.ID, Address: g.Primary, Epoch: g.Epoch})
		reason = "it is activated"
	}
	d.differ(DifferInactive, g.Number, row.ID, "active", "inactive", reason)
}

func toldEpoch(p *Place) string {
	if p == nil {
		return "none"
	}
	return "epoch " + p.Epoch.String()
}

// missing registers a group that has no row.
func (d *decision) missing(g Group) {
	reason := d.syncing(g, true)
	if reason == "" {
		step := Step{Kind: StepAdd, Group: g.Number, Address: g.Primary, Epoch: g.Epoch}
		if g.Number == Coordinator {
			step.Kind = StepCoordinator
			d.register = append(d.register, step)
		} else {
			d.add = append(d.add, step)
		}
		reason = "it is registered"
	}
	d.differ(DifferMissing, g.Number, 0, g.Primary.String(), "no row", reason)
}

// dropped removes all rows of a group that has left; its standbys' first, or Citus refuses.
func (d *decision) dropped(g Group) {
	found := false
	for _, role := range []string{RoleSecondary, ""} {
		for _, row := range d.a.Rows {
			if row.Group != g.Number || (row.Role == RoleSecondary) != (role == RoleSecondary) {
				continue
			}
			found = true
			d.unwanted(g, row, "the group has left the formation")
		}
	}
	if told := d.a.Place(g.Number); !found && (told == nil || told.Epoch != g.Epoch) {
		d.notes = append(d.notes, Step{Kind: StepNote, Group: g.Number, Epoch: g.Epoch})
	}
}

func (d *decision) unwanted(g Group, row Row, why string) {
	reason := d.syncing(g, false)
	if reason == "" {
		d.remove = append(d.remove, Step{Kind: StepRemove, Group: g.Number, Node: row.ID, Address: row.Address, Epoch: g.Epoch})
		reason = why + ", and it is removed unless shards have their only place there"
	}
	d.differ(DifferUnwanted, g.Number, row.ID, "no row", row.String(), reason)
}

// foreign shows the rows of groups that the topology does not name.
func (d *decision) foreign() {
	for _, row := range d.a.Rows {
		if d.t.Group(row.Group) == nil {
			d.differ(DifferForeign, row.Group, row.ID, "", row.String(), "the formation has no such group; it is left alone")
		}
	}
}

// pool compares the row of pg_dist_poolinfo. One that was not written from here is left alone unless the topology names its own.
func (d *decision) pool(g Group) {
	row := d.a.Primary(g.Number)
	if row == nil {
		return
	}
	have, written := d.a.Pools[row.ID], ""
	if told := d.a.Place(g.Number); told != nil {
		written = told.Pool
	}
	if have == g.PoolInfo && written == g.PoolInfo || g.PoolInfo == "" && have != written {
		return
	}
	d.notes = append(d.notes, Step{Kind: StepPool, Group: g.Number, Node: row.ID, Address: g.Primary, Pool: g.PoolInfo, Epoch: g.Epoch})
	d.differ(DifferPool, g.Number, row.ID, g.PoolInfo, have, "it is written with the group's address")
}
