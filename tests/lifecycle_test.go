package tests

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestDropAndDestroy tells how nodes leave: data is deleted only when asked, on
// running nodes, stopped ones, and without a monitor.
func TestDropAndDestroy(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2", "n3")
	n1, n2, n3 := c.Node("n1"), c.Node("n2"), c.Node("n3")
	w := c.Writer()

	t.Log("dropped from afar, a node ends by itself and keeps its data")
	c.Command("drop", "node", "--name", "n2")
	n2.WaitExit(soon)
	c.WaitGone(soon, "n2")
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n3": cluster.Secondary})
	if _, err := os.Stat(filepath.Join(n2.PGDATA(), "PG_VERSION")); err != nil {
		t.Errorf("the data of a dropped node is gone: %v", err)
	}
	if n2.Postmaster() != 0 {
		t.Error("PostgreSQL of a dropped node still runs")
	}

	t.Log("stopped first, a node is dropped and destroyed on its own host")
	n3.Autoctl("stop")
	n3.WaitExit(soon)
	mentions(t, c.RefusedCommand(cluster.ExitTimeout, "drop", "node", "--name", "n3", "--wait", "1"), "it goes on", "--force")
	n3.Autoctl("drop", "node", "--destroy", "--force")
	c.Wait(soon, cluster.States{"n1": cluster.Single})
	if err := gone(n3.PGDATA()); err != nil {
		t.Error(err)
	}
	c.Right(soon)
	c.Verify(w)

	t.Log("without a monitor the last node is destroyed by force")
	c.Monitor.Autoctl("stop")
	c.Monitor.WaitExit(soon)
	n1.Autoctl("stop")
	n1.WaitExit(soon)
	n1.Autoctl("drop", "node", "--destroy", "--force")
	if err := gone(n1.PGDATA()); err != nil {
		t.Error(err)
	}
}

// TestCreateGoesOn tells of "create postgres --run" given a second time over a
// node that exists: it goes on, whether the node was a standby or the primary.
func TestCreateGoesOn(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()

	t.Log("a standby that crashed in maintenance")
	n2.EnterMaintenance()
	n2.Crash()
	c.Writes(w, soon)
	n2.Create()
	c.Await(soon, "n2 is heard", func(context.Context) error { return heard(c, "n2") })
	n2.LeaveMaintenance()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("a primary that crashed")
	n1.Crash()
	c.Writes(w, soon)
	n1.Create()
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	if id := c.Info("n1").NodeID; id != 1 {
		t.Errorf("n1 became node %d", id)
	}
	c.Finish(w, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
}
