package metadata_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
)

// TestOrphanCommits: a coordinator's session that waits for a synchronous standby when the postmaster is killed commits on the workers what was never replicated: PostgreSQL ends
// that wait with the postmaster. On all of them at once, so that nothing is half done as long as all are there; what the documentation says of two such failures at once rests on it.
func TestOrphanCommits(t *testing.T) {
	l := newFormation(t, 2)
	c := l.servers[0]
	waiter := c.Connect()
	c.Params["synchronous_standby_names"] = "nobody"
	c.Write()
	c.Reload()
	l.await("commits wait for a standby", func() bool { return c.Query("show synchronous_standby_names") == "nobody" })
	done := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(context.Background(), "begin; update accounts set balance = 101; commit")
		done <- err
	}()
	l.await("the commit waits", func() bool {
		return c.Query("select count(*) from pg_stat_activity where wait_event = 'SyncRep' and backend_type = 'client backend'") != "0"
	})
	prepared := func(g int) string { return l.servers[g].Query("select count(*) from pg_prepared_xacts") }
	for g := 1; g <= 2; g++ {
		if prepared(g) == "0" {
			t.Errorf("nothing is prepared on worker %d", g)
		}
	}
	if err := c.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the commit was acknowledged")
	}
	for g := 1; g <= 2; g++ {
		l.await(fmt.Sprintf("worker %d has committed", g), func() bool { return prepared(g) == "0" })
	}
	if n := l.servers[1].Query("select count(*) from accounts where balance <> 101"); n != "0" {
		t.Errorf("%s rows lack it", n)
	}
}
