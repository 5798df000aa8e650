package metadata_test

import (
	"context"
	"testing"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
)

// TestRowReplaced: a server's row is deleted and inserted anew, as Citus' daemon does on workers, while an address is being written there. The writer finds no row, and tries again
// until there is one. A prepared transaction deletes it, since nobody can end that.
func TestRowReplaced(t *testing.T) {
	for _, how := range []string{"keep", "hold"} {
		t.Run(how, func(t *testing.T) {
			l := newFormation(t, 2)
			other := l.servers[2]
			// The coordinator is not told, or its daemon would put this right.
			tell := func(top citus.Topology) metadata.Report { return l.client.Keep(context.Background(), top, 2) }
			if how == "hold" {
				held, err := l.client.Hold(within(t), l.wish(1, &citus.Hold{ID: "hold", Planned: true}), 1)
				if err != nil {
					t.Fatal(err)
				}
				tell = func(top citus.Topology) metadata.Report { return held.Commit(context.Background(), top) }
			}
			other.Exec("create table kept as select * from pg_dist_node where groupid = 1")
			other.Exec("begin; delete from pg_dist_node where groupid = 1; prepare transaction 'replaced'")
			moved := l.move(1, citus.Address{Host: "localhost", Port: l.servers[1].Port}) // the same server by another name
			done := make(chan metadata.Report, 1)
			go func() { done <- tell(moved) }()
			l.await("the row is waited for", func() bool {
				return other.Query(`select count(*) from pg_stat_activity where query like 'update pg_catalog.pg_dist_node%' and wait_event_type = 'Lock'`) == "1"
			})
			other.Exec("commit prepared 'replaced'")
			// Where the coordinator knows the new address its daemon may have been faster, or be at it: a trigger of Citus takes this lock after the insert's own, and two
			// who insert would wait for each other.
			other.Exec("begin; lock table pg_dist_node in share row exclusive mode; insert into pg_dist_node select * from kept on conflict do nothing; commit")
			if r := <-done; !r.Propagated(1) {
				t.Errorf("told: %s", describe(r))
			}
			if got := other.Query("select nodename from pg_dist_node where groupid = 1"); got != "localhost" {
				t.Errorf("the other worker knows %s", got)
			}
		})
	}
}
