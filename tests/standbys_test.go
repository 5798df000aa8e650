package tests

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestManyStandbys tells what number_sync_standbys, priorities and quorum mean
// in a group of four: which standbys a commit waits for, when writes wait, who
// is elected.
func TestManyStandbys(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2", "n3", "n4")
	w := c.Writer()

	t.Log("settings of a node keep within their range")
	get := func(setting, name string) string {
		return strings.TrimSpace(c.Command("get", "node", setting, "--name", name))
	}
	c.RefusedCommand(cluster.ExitUsage, "set", "node", "candidate-priority", "--name", "n2", "--", "-1")
	if p := get("candidate-priority", "n2"); p != "50" {
		t.Errorf("candidate priority is %q, want 50", p)
	}
	c.RefusedCommand(cluster.ExitUsage, "set", "node", "replication-quorum", "--name", "n2", "perhaps")
	c.SetPriority("n2", 99)
	c.SetQuorum("n2", false)
	if p, q := get("candidate-priority", "n2"), get("replication-quorum", "n2"); p != "99" || q != "false" {
		t.Errorf("priority %q and quorum %q, want 99 and false", p, q)
	}
	c.WaitSync(soon, 1, "n3", "n4")
	c.SetPriority("n2", 50)
	c.SetQuorum("n2", true)

	t.Log("number_sync_standbys says how many answers a commit needs")
	for _, n := range []int{2, 0, 1, 2} {
		c.SetNumberSync(n)
		c.WaitSync(soon, max(1, n), "n2", "n3", "n4")
		c.Right(soon)
	}
	c.Writes(w, soon)
	c.Command("drop", "node", "--name", "n4")
	c.Node("n4").WaitExit(soon)
	c.WaitGone(soon, "n4")
	c.SetNumberSync(1)
	c.WaitSync(soon, 1, "n2", "n3")
	c.Right(soon)

	t.Log("the priority decides among equals, and the former primary is not elected again")
	c.SetPriority("n1", 90)
	c.SetPriority("n2", 90)
	c.SetPriority("n3", 70)
	c.Failover()
	c.Wait(soon, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary, "n3": cluster.Secondary})
	c.WaitSync(soon, 1, "n1", "n3")
	c.Right(soon)

	t.Log("a primary that stops is followed by the node with the highest priority")
	c.Node("n2").Stop()
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n3": cluster.Secondary})
	c.Writes(w, soon)
	c.Node("n2").Restart()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	c.WaitSync(soon, 1, "n2", "n3")

	t.Log("without standbys writes wait, until one answer is no longer asked for")
	c.Node("n2").Stop()
	c.Node("n3").Stop()
	c.Stalls(w, 2*time.Second)
	c.SetNumberSync(0)
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary})
	c.Writes(w, soon)
	// Asked for again without a standby there, protection begins with the first.
	c.SetNumberSync(1)
	c.Holds(time.Second, cluster.States{"n1": cluster.WaitPrimary})
	c.Node("n2").Restart()
	c.Node("n3").Restart()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	c.WaitSync(soon, 1, "n2", "n3")
	c.Writes(w, soon)

	t.Log("nobody with priority 0 is elected, unless an operator names it")
	for _, name := range []string{"n1", "n2", "n3"} {
		c.SetPriority(name, 0)
	}
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "perform", "failover"), "n2", "n3", "priority")
	c.Holds(time.Second, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	c.SetPriority("n2", 1)
	c.Failover()
	c.Wait(soon, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary, "n3": cluster.Secondary})
	c.SetPriority("n2", 0)
	c.Promote("n1")
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})

	t.Log("one of two standbys leaves")
	c.SetNumberSync(0)
	c.Command("drop", "node", "--name", "n2")
	c.Node("n2").WaitExit(soon)
	c.WaitGone(soon, "n2")
	c.WaitSync(soon, 1, "n3")
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n3": cluster.Secondary})
}

// TestMaintenance tells what must not happen while nodes are in maintenance: no
// failover without a candidate, no acknowledgement that too few nodes hold.
func TestMaintenance(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2", "n3")
	c.Add("n4", "--candidate-priority", "0", "--replication-quorum", "false")
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary, "n4": cluster.Secondary})
	n1, n2, n3 := c.Node("n1"), c.Node("n2"), c.Node("n3")
	c.SetNumberSync(1)
	w := c.Writer()
	c.SetPriority("n1", 80)
	c.SetPriority("n2", 70)
	c.SetPriority("n3", 90)
	c.WaitSync(soon, 1, "n2", "n3")

	t.Log("with one standby in maintenance the others still take over")
	n2.EnterMaintenance()
	n2.StopPostgres()
	c.WaitSync(soon, 1, "n3")
	c.Writes(w, soon)
	c.Failover()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Maintenance})
	n2.LeaveMaintenance()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Secondary})
	c.WaitSync(soon, 1, "n1", "n2")
	c.Right(soon)

	t.Log("with both in maintenance writes wait, and nobody takes the primary's place")
	n1.EnterMaintenance()
	n2.EnterMaintenance()
	c.Stalls(w, 2*time.Second)
	if c.Lab.HasLinks() {
		before := c.LastEvent()
		n3.Cut()
		c.Await(soon, "the primary counts as lost", func(context.Context) error { return unheard(c, "n3", 8*time.Second) })
		n3.Heal()
		c.Await(soon, "the primary is heard", func(context.Context) error { return heard(c, "n3") })
		for _, e := range c.Events(before) {
			if e.Name == "n3" && e.Assigned != "" && e.Assigned != cluster.Primary {
				t.Errorf("n3 was assigned %s: %s", e.Assigned, e.Reason)
			}
		}
	}
	n3.Refused(cluster.ExitRefused, "enable", "maintenance", "--allow-failover")
	n1.LeaveMaintenance()
	n2.LeaveMaintenance()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Secondary})
	c.Writes(w, soon)

	t.Log("where no standby is asked for, the primary serves alone, and says so")
	c.SetNumberSync(0)
	n1.EnterMaintenance()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n1": cluster.Maintenance})
	n2.EnterMaintenance()
	c.Wait(soon, cluster.States{"n3": cluster.WaitPrimary, "n2": cluster.Maintenance})
	c.Writes(w, soon)

	t.Log("a node that was asynchronous becomes the one that protects")
	c.SetQuorum("n4", true)
	c.SetPriority("n4", 50)
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n4": cluster.Secondary, "n1": cluster.Maintenance, "n2": cluster.Maintenance})
	c.WaitSync(soon, 1, "n4")
	n2.LeaveMaintenance()
	c.Wait(soon, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	n1.LeaveMaintenance()
	c.SetNumberSync(1)
	c.WaitSync(soon, 1, "n1", "n2", "n4")

	t.Log("a primary goes into maintenance only with leave, and hands over first")
	n1.EnterMaintenance()
	n2.EnterMaintenance()
	n3.Refused(cluster.ExitRefused, "enable", "maintenance")
	c.Holds(time.Second, cluster.States{"n3": cluster.Primary, "n4": cluster.Secondary})
	n1.LeaveMaintenance()
	n2.LeaveMaintenance()
	c.SetPriority("n1", 90)
	for _, name := range []string{"n2", "n3", "n4"} {
		c.SetPriority(name, 70)
	}
	c.WaitSync(soon, 1, "n1", "n2", "n4")
	n3.EnterMaintenance("--allow-failover")
	c.Wait(soon, cluster.States{"n3": cluster.Maintenance, "n1": cluster.Primary, "n2": cluster.Secondary, "n4": cluster.Secondary})
	n3.LeaveMaintenance()
	c.WaitSync(soon, 1, "n2", "n3", "n4")
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary, "n4": cluster.Secondary})
}
