package citus

import (
	"fmt"
	"slices"
)

// cluster is the Citus cluster name of a secondary.
func (s Secondary) cluster() string {
	if s.Cluster == "" {
		return DefaultCluster
	}
	return s.Cluster
}

// secondaries compares the rows of the group's standbys. A standby whose row stands in the way of the primary, or whose address is wrong, keeps its node id and gets
// another address; additions and removals are the coordinator's, and never in the path of a failover.
func (d *decision) secondaries(g Group) {
	var rows []Row
	for _, row := range d.a.Rows {
		if row.Group == g.Number && row.Role == RoleSecondary {
			rows = append(rows, row)
		}
	}
	if g.Secondaries == nil {
		for _, row := range rows {
			d.differ(DifferForeign, g.Number, row.ID, "", row.String(), "no standby of the group is registered from here; it is left alone")
		}
		return
	}
	missing := slices.Clone(g.Secondaries)
	rows = slices.DeleteFunc(rows, func(row Row) bool {
		i := slices.IndexFunc(missing, func(s Secondary) bool { return s.Address == row.Address && s.cluster() == row.Cluster })
		if i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		}
		return i >= 0
	})
	for _, s := range missing {
		// The row of a standby that is not wanted where it is may serve one that is: above all after a failover, when primary and standby change places.
		if i := slices.IndexFunc(rows, func(row Row) bool { return row.Cluster == s.cluster() }); i >= 0 {
			d.want[rows[i].ID], d.cause[rows[i].ID] = s.Address, g.Number
			rows = slices.Delete(rows, i, i+1)
			continue
		}
		d.missingSecondary(g, s)
	}
	for _, row := range rows {
		d.unwanted(g, row, "no such standby is to be registered")
	}
}

func (d *decision) missingSecondary(g Group, s Secondary) {
	reason := d.syncing(g, false)
	primary := d.a.Primary(g.Number)
	switch {
	case reason != "":
	case primary == nil || primary.Address != g.Primary:
		reason = "its primary is registered first"
	default:
		d.add = append(d.add, Step{Kind: StepAddSecondary, Group: g.Number, Address: s.Address, Cluster: s.cluster(), Epoch: g.Epoch})
		reason = "it is registered"
	}
	d.differ(DifferMissing, g.Number, 0, s.String(), "no row", reason)
}

// placeholder is an address that a row has between two steps of one transaction, so that nobody ever sees it. The domain is reserved: it never resolves (RFC 2606).
func placeholder(id NodeID) Address {
	return Address{Host: fmt.Sprintf("node-%d.autoctl.invalid", id), Port: 1}
}
