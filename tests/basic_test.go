package tests

import (
	"context"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

const (
	soon = 30 * time.Second
	late = 60 * time.Second
)

// TestBasicOperation tells the life of a pair from its first day: hand-overs,
// maintenance both ways, nodes that stop and come back, a node that leaves and
// one that takes its place, a primary that is cut off, and the end of the group.
func TestBasicOperation(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	c.Right(soon)
	n2.RefusesWrites()

	t.Log("a primary goes into maintenance only with leave to fail over")
	n1.Refused(cluster.ExitRefused, "enable", "maintenance")
	n1.EnterMaintenance("--allow-failover")
	c.Wait(soon, cluster.States{"n1": cluster.Maintenance, "n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	n1.LeaveMaintenance()
	c.Wait(soon, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})
	c.Right(soon)

	t.Log("a standby in maintenance belongs to its operator, and writes go on")
	n1.EnterMaintenance()
	c.Wait(soon, cluster.States{"n1": cluster.Maintenance, "n2": cluster.WaitPrimary})
	n1.StopPostgres()
	c.Writes(w, soon)
	c.Holds(2*time.Second, cluster.States{"n1": cluster.Maintenance, "n2": cluster.WaitPrimary})
	if pid := n1.Postmaster(); pid != 0 {
		t.Errorf("PostgreSQL was started in maintenance, process %d", pid)
	}
	n1.LeaveMaintenance()
	c.Wait(soon, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})

	t.Log("a chosen node becomes the primary")
	c.Promote("n1")
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("a primary that is stopped hands over, and comes back as a standby")
	n1.Stop()
	c.WaitAssigned(soon, cluster.States{"n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	n1.Restart()
	c.Wait(soon, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})
	n1.RefusesWrites()

	t.Log("a standby that is stopped leaves the primary serving alone")
	n1.Stop()
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n1.Restart()
	c.Wait(soon, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})
	c.Right(soon)

	t.Log("a node that is dropped ends by itself, and nothing of it stays")
	n1.Autoctl("drop", "node")
	n1.WaitExit(soon)
	if n1.Postmaster() != 0 {
		t.Error("PostgreSQL of a dropped node still runs")
	}
	c.WaitGone(soon, "n1")
	c.Wait(soon, cluster.States{"n2": cluster.Single})
	c.Right(soon)

	t.Log("a new node takes its place, under a number that nobody had")
	n3 := c.Add("n3")
	c.RefusedCommand(cluster.ExitRefused, "perform", "failover")
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n3": cluster.Secondary})
	if id := c.Info("n3").NodeID; id != 3 {
		t.Errorf("n3 is node %d, want 3: numbers are never used again", id)
	}
	w2 := c.Writer()
	c.Failover()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	c.Right(soon)
	c.Promote("n2")
	c.Wait(soon, cluster.States{"n2": cluster.Primary, "n3": cluster.Secondary})
	c.Right(soon)

	if c.Lab.HasLinks() {
		cutOffPrimary(t, c, n2, n3)
	} else {
		t.Log("no links to cut: the primary is not cut off")
		c.Failover()
		c.Wait(soon, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	}

	t.Log("the monitor's PostgreSQL dies and comes back, and nothing changes")
	c.Monitor.KillPostmaster()
	c.Writes(w2, soon)
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	c.Finish(w2, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	c.Verify(w)

	t.Log("a primary that is dropped hands over to whoever is left")
	n3.Autoctl("drop", "node")
	n3.WaitExit(soon)
	c.Wait(soon, cluster.States{"n2": cluster.Single})
	c.Right(soon)
	if got := n2.SQL("select count(*) from ledger1"); got[0] == "0" {
		t.Error("the ledger is empty")
	}
}

// cutOffPrimary is the middle of TestBasicOperation: the old primary is up, on
// its own, and acknowledges nothing; afterwards it follows.
func cutOffPrimary(t *testing.T, c *cluster.Cluster, old, heir *cluster.Node) {
	t.Helper()
	t.Log("a primary that is cut off acknowledges nothing")
	old.Cut()
	c.Await(soon, "the heir serves", func(context.Context) error { return serves(c, heir.Name) })
	old.AcknowledgesNothing(time.Second)
	old.Heal()
	c.Wait(soon, cluster.States{heir.Name: cluster.Primary, old.Name: cluster.Secondary})
	old.RefusesWrites()
}
