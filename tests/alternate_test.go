package tests

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestAlternate tells of primaries that are killed one after the other in a group
// of three, in which commits wait for a standby: the last node acknowledges nothing
// alone, and it goes on whoever of the two comes back first.
func TestAlternate(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2", "n3")
	c.SetNumberSync(1)
	c.SetSettings("failover_limit=100")
	w := c.Writer()
	c.WaitSync(soon, 1, "n2", "n3")
	for i, order := range []string{"the second comes back first", "the first comes back first", "both come back at once"} {
		t.Log(order)
		first := c.PrimaryNode()
		first.Crash()
		c.Writes(w, soon)
		c.Await(soon, "somebody serves with a follower", func(context.Context) error {
			g, err := c.TryGroup()
			if err != nil {
				return err
			}
			for _, n := range g.Nodes {
				if n.Name != first.Name && n.Reported == cluster.Primary && n.Assigned == cluster.Primary && g.Election == nil && len(g.Record) == 1 {
					return nil
				}
			}
			return errors.New("the group has not settled")
		})
		second := c.PrimaryNode()
		second.Crash()
		c.Stalls(w, 6*time.Second)
		back := []*cluster.Node{second, first}
		if i == 1 {
			back = []*cluster.Node{first, second}
		}
		back[0].Restart()
		if i < 2 {
			c.Writes(w, late)
		}
		back[1].Restart()
		c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
		c.Right(soon)
		c.WaitSync(soon, 1, standbys(c)...)
	}
	c.Finish(w, restored(c))
}

// standbys are the names of all nodes but the primary.
func standbys(c *cluster.Cluster) []string {
	var names []string
	for name, state := range restored(c) {
		if !state.Serves() {
			names = append(names, name)
		}
	}
	return names
}

// TestDataLossAllowed tells of one survivor of three that may miss commits: it is
// never promoted by itself, and at once when an operator accepts the loss; the
// others follow it when they are back. Here nothing is missing, for the writer had
// stopped.
func TestDataLossAllowed(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2", "n3")
	c.SetNumberSync(1)
	c.WaitSync(soon, 1, "n2", "n3")
	n1, n2, n3 := c.Node("n1"), c.Node("n2"), c.Node("n3")
	w := c.Writer()
	w.Stop()
	end := n1.SQL("select pg_current_wal_lsn()")[0]
	c.Await(soon, "n3 has everything", func(context.Context) error {
		rows, err := n3.TrySQL("select pg_last_wal_replay_lsn() >= $1::pg_lsn", end)
		if err == nil && rows[0] != "t" {
			err = errors.New("it lags behind")
		}
		return err
	})
	before := c.LastEvent()
	n2.Crash()
	n1.Crash()
	c.Await(soon, "both are missed", func(context.Context) error {
		return errors.Join(unheard(c, "n1", 8*time.Second), unheard(c, "n2", 8*time.Second))
	})
	for _, e := range c.Events(before) {
		if e.Name == "n3" && e.Assigned.Serves() {
			t.Errorf("n3 was assigned %s: %s", e.Assigned, e.Reason)
		}
	}
	mentions(t, c.Command("explain"), "n1", "n2", "--allow-data-loss")
	c.TryCommand("perform", "failover", "--allow-data-loss", "--wait", "1")
	c.Await(soon, "n3 is promoted", func(context.Context) error {
		info, err := c.TryInfo("n3")
		if err == nil && info.Connection != "read-write" {
			err = errors.New(info.Connection)
		}
		return err
	})
	n2.Restart()
	w2 := c.Writer()
	n1.Restart()
	want := cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Secondary}
	c.Wait(late, want)
	c.Verify(w)
	c.Finish(w2, want)
}

// TestAsynchronousStandby tells of a pair with a third node whose copy does not
// count and which is never elected: it takes part in nothing that protects, and two
// lost primaries come back in either order.
func TestAsynchronousStandby(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	n3 := c.Add("n3", "--candidate-priority", "0", "--replication-quorum", "false")
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	c.SetSettings("failover_limit=100")
	w := c.Writer()
	alone := cluster.States{"n2": cluster.WaitPrimary, "n3": cluster.Secondary}
	whole := cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary}

	t.Log("both are lost, and the one that served last comes back last: it is waited for")
	n1.Stop()
	c.Wait(soon, alone)
	c.Writes(w, soon)
	n2.Crash()
	c.Stalls(w, 5*time.Second)
	n1.Restart()
	c.Stalls(w, 5*time.Second)
	mentions(t, c.Command("explain"), "n2", "--allow-data-loss")
	n2.Restart()
	c.Writes(w, soon)
	c.Wait(late, whole)

	t.Log("the same, and it comes back first")
	n1.Crash()
	c.Wait(soon, alone)
	c.Writes(w, soon)
	n2.Crash()
	c.Stalls(w, 5*time.Second)
	n2.Restart()
	c.Writes(w, soon)
	c.Wait(soon, alone)
	n1.Restart()
	c.Wait(late, whole)

	t.Log("both standbys are cut off, and the copy that does not count protects nothing when it is back")
	n3.Cut()
	c.WaitAssigned(soon, cluster.States{"n3": cluster.CatchingUp})
	n1.Cut()
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n3.Heal()
	c.Wait(soon, alone)
	c.Holds(5*time.Second, alone)
	c.Writes(w, soon)
	n1.Heal()
	c.Wait(late, whole)

	t.Log("the same, and both come back at once")
	n1.Cut()
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n3.Cut()
	c.WaitAssigned(soon, cluster.States{"n3": cluster.CatchingUp})
	c.Lab.Heal()
	c.Wait(late, whole)
	c.Finish(w, whole)
}

// TestMaintenanceWhileCutOff tells of a primary that is cut off at the moment in
// which its only standby is to go into maintenance: nobody else may serve, so it is
// waited for; once it is back, maintenance begins and ends as usual.
func TestMaintenanceWhileCutOff(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	n1.Cut()
	if r := n2.Try("enable", "maintenance", "--wait", "20"); r.Code != cluster.ExitTimeout && r.Code != cluster.ExitRefused {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	n1.AcknowledgesNothing(time.Second)
	n1.Heal()
	c.Writes(w, soon)
	n2.Try("enable", "maintenance")
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary, "n2": cluster.Maintenance})
	n2.LeaveMaintenance()
	c.Wait(10*time.Second, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}
