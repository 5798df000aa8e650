package metadata_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestFrozenPrimary: the host of a group's primary hangs while clients work. Their sessions wait for it without end, with the locks of the group's shards in hand; those that
// are ended for that wait on, in libpq, for the same host to take note of it. The new address is known everywhere all the same, and who comes then is served. Those who hang are
// freed by their keepers, who sever the connections; here they go on when the host does.
func TestFrozenPrimary(t *testing.T) {
	l := newFormation(t, 2)
	heir := l.standby(1)
	clients := startLoad(t, map[string]*pgtest.Server{"coordinator": l.servers[0], "other worker": l.servers[2]})
	clients.more(t, l)
	thaw := freeze(t, l.servers[1])
	for _, g := range []int{0, 2} {
		l.await("clients hang", func() bool {
			return l.servers[g].Query(`select count(*) from pg_stat_activity where backend_type = 'client backend' and state = 'active'
				and clock_timestamp() - query_start > '300ms' and pid <> pg_backend_pid()`) != "0"
		})
	}
	held := l.client.Catch(within(t), l.wish(1, &citus.Hold{ID: "frozen"}), 1)
	heir.Exec("select pg_promote()")
	began := time.Now()
	moved := l.move(1, address(heir))
	done := make(chan metadata.Report, 1)
	go func() { done <- held.Commit(context.Background(), moved) }()
	for _, g := range []int{0, 2} {
		l.await("the address is known", func() bool {
			return l.servers[g].Query("select nodeport from pg_dist_node where groupid = 1") == fmt.Sprint(heir.Port)
		})
		t.Logf("known to group %d after %v", g, time.Since(began).Round(time.Millisecond))
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("known after %v", took)
	}
	for _, g := range []int{0, 2} {
		if got := l.servers[g].Query("select count(*) from accounts"); got != "240" {
			t.Errorf("%s accounts by group %d", got, g)
		}
	}
	if r := <-done; !r.Routed(1) || !r.Propagated(1) {
		t.Errorf("while it hangs: %s", describe(r))
	}
	thaw()
	clients.more(t, l)
	clients.end(t)
}
