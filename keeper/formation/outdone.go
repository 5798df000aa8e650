package formation

import (
	"cmp"
	"context"
	"slices"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// outdone tells the monitor what nodes were told under epochs newer than its own, or under the same with another address: it does not remember what it, or its predecessor,
// said of a group, and no node takes anything older.
func (k *Keeper) outdone(ctx context.Context, found []Database) {
	told := newer(found)
	m, formation := k.Monitor(), k.Goal().Formation
	if len(told) == 0 || m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	raised, err := m.Outdone(ctx, formation, told)
	switch {
	case err != nil:
		k.Log.Warn().Err(err).Msg("the monitor cannot be told that nodes know newer epochs than it does")
	case raised > 0:
		k.Log.Warn().Interface("places", told).Int("groups", raised).Msg("nodes knew newer epochs than the monitor, which goes on above them")
		k.fetch(ctx, m, formation)
	}
}

// newer lists the newest place of each group that some node knows and that the topology contradicts without being newer.
func newer(found []Database) []monitorapi.Told {
	newest := map[int]citus.Place{}
	for _, d := range found {
		for _, n := range d.Report.Nodes {
			if n.Actual == nil {
				continue
			}
			for _, left := range n.Left {
				p := n.Actual.Place(left.Group)
				if p == nil || left.Kind != citus.DifferNewer && left.Kind != citus.DifferConflict {
					continue
				}
				if have, ok := newest[left.Group]; !ok || p.Epoch.Compare(have.Epoch) > 0 {
					newest[left.Group] = *p
				}
			}
		}
	}
	var told []monitorapi.Told
	for g, p := range newest {
		told = append(told, monitorapi.Told{Group: g, Incarnation: p.Epoch.Incarnation, Epoch: p.Epoch.Number, Host: p.Primary.Host, Port: p.Primary.Port})
	}
	slices.SortFunc(told, func(a, b monitorapi.Told) int { return cmp.Compare(a.Group, b.Group) })
	return told
}
