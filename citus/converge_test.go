package citus

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// table is a server's tables under the constraints that Citus puts on them.
type table struct {
	Actual
	next NodeID
}

// make makes one step as the server would, or says why it refuses.
func (s *table) make(step Step) error {
	free := func(a Address) error {
		for _, r := range s.Rows {
			if r.Address == a {
				return fmt.Errorf("%s %v: the address belongs to %s", step.Kind, step, r)
			}
		}
		return nil
	}
	row := func() *Row { return &s.Rows[slices.IndexFunc(s.Rows, func(r Row) bool { return r.ID == step.Node })] }
	switch step.Kind {
	case StepNote:
		s.Places = slices.DeleteFunc(s.Places, func(p Place) bool { return p.Group == step.Group })
		s.Places = append(s.Places, Place{Group: step.Group, Primary: step.Address, Epoch: step.Epoch})
	case StepMove:
		if err := free(step.Address); err != nil {
			return err
		}
		row().Address = step.Address
	case StepPool:
		s.Pools[step.Node] = step.Pool
		s.Place(step.Group).Pool = step.Pool
	case StepAdd, StepCoordinator, StepAddSecondary:
		if err := free(step.Address); err != nil {
			return err
		}
		r := Row{ID: s.next, Group: step.Group, Address: step.Address, Role: RolePrimary, Cluster: DefaultCluster, HasMetadata: true, Active: true}
		if step.Kind == StepAddSecondary {
			r.Role, r.Cluster = RoleSecondary, step.Cluster
		} else if s.Primary(step.Group) != nil {
			return fmt.Errorf("group %d has a primary", step.Group)
		}
		s.next++
		s.Rows = append(s.Rows, r)
		if step.Kind != StepAddSecondary {
			return s.make(Step{Kind: StepNote, Group: step.Group, Address: step.Address, Epoch: step.Epoch})
		}
	case StepActivate:
		row().Active = true
	case StepRemove:
		s.Rows = slices.DeleteFunc(s.Rows, func(r Row) bool { return r.ID == step.Node })
	}
	return nil
}

// draw makes up what a server has: any addresses of a few, so that they collide with what is wanted.
func draw(t *rapid.T) (Topology, *table) {
	host := func(label string) Address { return at(rapid.StringMatching(`[a-h]`).Draw(t, label)) }
	s := &table{Actual: Actual{Pools: map[NodeID]string{}}, next: 1}
	used := map[Address]bool{}
	for g := range rapid.IntRange(0, 4).Draw(t, "groups that are there") {
		for i, role := range []string{RolePrimary, RoleSecondary}[:rapid.IntRange(1, 2).Draw(t, "rows")] {
			a := host("has")
			if used[a] {
				continue
			}
			used[a] = true
			if i > 0 && s.Primary(g) == nil {
				continue
			}
			s.Rows = append(s.Rows, Row{ID: s.next, Group: g, Address: a, Role: role, Cluster: DefaultCluster, HasMetadata: true, Active: rapid.Bool().Draw(t, "active")})
			s.next++
		}
	}
	top, taken := Topology{}, map[Address]bool{}
	for g := range 5 {
		group := Group{Number: g, Epoch: Epoch{1, uint64(rapid.IntRange(2, 9).Draw(t, "epoch"))}, Serving: true, Secondaries: []Secondary{}}
		if a := host("wants"); g == 0 || !taken[a] {
			group.Primary, taken[a] = a, true
		} else {
			group.Dropped = true
		}
		if a := host("standby"); !group.Dropped && !taken[a] && rapid.Bool().Draw(t, "with standby") {
			group.Secondaries, taken[a] = []Secondary{{Address: a}}, true
		}
		top.Groups = append(top.Groups, group)
	}
	return top, s
}

// From whatever a coordinator has to whatever is wanted: no step meets an address that is taken, primaries keep their node ids, and a few rounds end all differences.
func TestDecideConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top, s := draw(t)
		ids := map[int]NodeID{}
		for _, r := range s.Rows {
			if r.Role == RolePrimary {
				ids[r.Group] = r.ID
			}
		}
		var left []Difference
		for range 6 {
			p := Decide(top, s.Actual, Coordinator)
			left = p.Left
			if p.Idle() {
				break
			}
			for _, step := range slices.Concat(slices.Concat(p.Batches...), p.Sync) {
				if err := s.make(step); err != nil {
					// A registration may have to wait for the next round; what belongs in a transaction may not.
					if step.Kind == StepAdd || step.Kind == StepCoordinator || step.Kind == StepAddSecondary {
						continue
					}
					t.Fatalf("%v\nof %+v", err, p)
				}
			}
		}
		if len(left) > 0 {
			t.Fatalf("these are left: %+v\n%+v\n%+v", left, top, s.Rows)
		}
		for _, g := range top.Groups {
			row := s.Primary(g.Number)
			if g.Dropped != (row == nil) {
				t.Fatalf("group %d: %+v", g.Number, row)
			}
			if id, was := ids[g.Number]; was && row != nil && row.ID != id {
				t.Fatalf("group %d had node id %d and has %d", g.Number, id, row.ID)
			}
		}
	})
}
