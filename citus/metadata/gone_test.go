package metadata_test

import (
	"fmt"
	"testing"

	"github.com/autoctl/autoctl/citus"
)

// TestDropOfDead: a group that has left is unregistered everywhere although its server is down, as it is once its last node was dropped.
func TestDropOfDead(t *testing.T) {
	l := newFormation(t, 2)
	l.servers[0].Exec(fmt.Sprintf("select citus_drain_node('127.0.0.1', %d, 'block_writes')", l.servers[2].Port))
	top := l.wish(1, nil)
	g := top.Group(2)
	g.Dropped, g.Serving, g.Epoch = true, false, citus.Epoch{Incarnation: 1, Number: 9}
	l.servers[2].Kill()
	if r := l.client.Reconcile(within(t), top); len(r.Nodes) == 0 || r.Nodes[0].Problem != "" {
		t.Errorf("reconciled: %s", describe(r))
	}
	for n := range 2 {
		if got := l.servers[n].Query("select string_agg(groupid::text, ',' order by groupid) from pg_dist_node"); got != "0,1" {
			t.Errorf("group %d knows groups %s", n, got)
		}
	}
}
