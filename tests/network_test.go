package tests

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
	"github.com/autoctl/autoctl/tests/machine"
)

// linked makes a group whose hosts have links that can be cut, and tells where that
// is not possible.
func linked(t *testing.T, names ...string) *cluster.Cluster {
	t.Helper()
	machine.NeedLinks(t)
	t.Parallel()
	c := cluster.New(t)
	c.Lab.NeedLinks()
	c.AddAll(names...)
	return c
}

// recovers waits until the group is whole again, whoever serves, and ends the story.
func recovers(c *cluster.Cluster, w *ledger.Writer) {
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Finish(w, restored(c))
}

// TestFastForward tells of a candidate that lacks rows which another standby
// has: it fetches them before it serves.
func TestFastForward(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2", "n3")
	n1, n2, n3 := c.Node("n1"), c.Node("n2"), c.Node("n3")
	w := c.Writer()
	c.SetNumberSync(1)
	c.SetPriority("n1", 90)
	c.SetPriority("n2", 0)
	c.SetPriority("n3", 90)
	c.WaitSync(soon, 1, "n2", "n3")
	n1.SQL("create table t1 (a int)")
	n1.SQL("insert into t1 select generate_series(1, 4)")

	t.Log("n3 misses ten thousand rows, which n2 acknowledges")
	n3.Cut()
	n1.SQL("insert into t1 select generate_series(5, 10004)")
	before := c.LastEvent()
	n1.Cut()
	n3.Heal()
	c.Wait(late, cluster.States{"n3": cluster.Primary, "n2": cluster.Secondary})
	if got := n3.SQL("select count(*) from t1"); got[0] != "10004" {
		t.Errorf("the new primary has %s rows, want 10004", got[0])
	}
	visited(t, c, before, "n3", fsm.StateFastForward)
	n1.AcknowledgesNothing(time.Second)
	n1.Heal()
	c.Wait(late, cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Secondary})
	c.WaitSync(soon, 1, "n1", "n2")
	c.Right(soon)

	t.Log("a preferred node that replicates asynchronously catches up before a planned failover")
	c.SetNumberSync(0)
	c.SetPriority("n2", 100)
	c.SetQuorum("n2", false)
	c.WaitSync(soon, 1, "n1")
	n2.Cut()
	n3.SQL("insert into t1 values (10005), (10006)")
	n2.Heal()
	c.Await(late, "n2 follows again", func(context.Context) error {
		rows, err := n2.TrySQL("select count(*) from t1")
		if err == nil && rows[0] != "10006" {
			err = fmt.Errorf("n2 has %s rows", rows[0])
		}
		return err
	})
	c.Wait(late, cluster.States{"n3": cluster.Primary, "n1": cluster.Secondary, "n2": cluster.Secondary})
	c.Failover()
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary, "n3": cluster.Secondary})
	if got := n2.SQL("select count(*) from t1"); got[0] != "10006" {
		t.Errorf("the new primary has %s rows, want 10006", got[0])
	}
	c.Finish(w, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary, "n3": cluster.Secondary})
}

// TestElectionWaits tells of the only node left that does not hold everything:
// however good its priority is, it does not serve, and explain says why.
func TestElectionWaits(t *testing.T) {
	c := linked(t, "n1", "n2", "n3")
	w := c.Writer()
	c.SetPriority("n3", 100)
	c.SetQuorum("n3", false)
	c.WaitSync(soon, 1, "n2")
	c.Node("n3").Cut()
	c.Writes(w, soon)
	c.Node("n1").Cut()
	c.Node("n2").Cut()
	c.Node("n3").Heal()
	c.Stalls(w, 8*time.Second)
	if info := c.Info("n3"); info.Reported.Serves() || info.Assigned.Serves() {
		t.Errorf("n3 reports %s and is assigned %s", info.Reported, info.Assigned)
	}
	mentions(t, c.Command("explain"), "n1", "n2")
	c.Lab.Heal()
	c.Writes(w, late)
	recovers(c, w)
}

// TestHeirWithoutFollower tells of a new primary whose only follower votes for it
// and then cannot reach it: where no standby is asked for, it serves alone after
// a while, and the group recovers with the link.
func TestHeirWithoutFollower(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2", "n3")
	c.SetPriority("n2", 90)
	w := c.Writer()
	c.WaitSync(soon, 1, "n2", "n3")
	c.Lab.CutLink(c.Node("n2").Host, c.Node("n3").Host)
	c.Node("n1").Crash()
	c.Writes(w, late)
	// Mostly n2, which is preferred; n3 where it had more of the log, which n2 cannot fetch.
	c.Await(soon, "the heir serves alone", func(context.Context) error {
		heirs := []string{string(c.Info("n2").Reported), string(c.Info("n3").Reported)}
		if !slices.Contains(heirs, "wait_primary") {
			return fmt.Errorf("n2 and n3 report %v", heirs)
		}
		return nil
	})
	c.Lab.Heal()
	c.Node("n1").Restart()
	recovers(c, w)
}

// exchanged is a pair after one failover.
var exchanged = cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary}

// TestHostCutOff tells of hosts that vanish from the network and come back, the
// primary's and the standby's, and of the link between the two.
func TestHostCutOff(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()

	t.Log("the primary's host is cut off")
	n1.Cut()
	c.Writes(w, 20*time.Second)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n1.AcknowledgesNothing(time.Second)
	n1.Heal()
	c.Wait(soon, exchanged)
	n1.RefusesWrites()

	t.Log("the standby's host is cut off: writes pause, then go on unprotected")
	n1.Cut()
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	n1.Heal()
	c.Wait(soon, exchanged)
	c.Right(soon)

	t.Log("the link between the two is cut: the same, and nobody is failed over")
	before := c.LastEvent()
	c.Lab.CutLink(n1.Host, n2.Host)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	c.Lab.HealLink(n1.Host, n2.Host)
	c.Wait(soon, exchanged)
	for _, e := range c.Events(before) {
		if e.Name == "n2" && e.Assigned != "" && !e.Assigned.Serves() {
			t.Errorf("n2 was assigned %s: %s", e.Assigned, e.Reason)
		}
	}
	c.Finish(w, exchanged)
}

// TestNegativeControl: with asynchronous replication and a failover that was
// forced, acknowledged rows are lost, the system says so, and the checker finds
// them; if it did not, its silence elsewhere would mean nothing.
func TestNegativeControl(t *testing.T) {
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	c.SetQuorum("n2", false)
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary, "n2": cluster.Secondary})
	w := c.Writer()
	c.Lab.CutLink(n1.Host, n2.Host)
	for range 10 {
		c.Writes(w, soon)
	}
	n1.Crash()
	c.Stalls(w, 6*time.Second)
	if info := c.Info("n2"); info.Assigned.Serves() {
		t.Fatalf("n2 is assigned %s although it misses commits", info.Assigned)
	}
	before := c.LastEvent()
	c.Command("perform", "failover", "--allow-data-loss")
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	said := false
	for _, e := range c.Events(before) {
		said = said || e.Kind == "data_loss"
	}
	if !said {
		t.Error("no event says that data was given up")
	}
	v, err := w.Verify(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Missing) == 0 || v.Err() == nil {
		t.Errorf("acknowledged rows were lost and the checker says %+v", v)
	}
}

// visited asserts that the node was assigned the state since the event given.
func visited(t *testing.T, c *cluster.Cluster, since int64, name string, state fsm.State) {
	t.Helper()
	for _, e := range c.Events(since) {
		if e.Name == name && e.Assigned == state {
			return
		}
	}
	t.Errorf("%s was never assigned %s\n%s", name, state, c.Picture())
}

// unheard is nil when the node's last report is at least that old.
func unheard(c *cluster.Cluster, name string, age time.Duration) error {
	info, err := c.TryInfo(name)
	if err != nil {
		return err
	}
	if info.ReportAgeMS < age.Milliseconds() {
		return fmt.Errorf("%s reported %d ms ago", name, info.ReportAgeMS)
	}
	return nil
}

// heard is nil when the node has reported within the last second.
func heard(c *cluster.Cluster, name string) error {
	info, err := c.TryInfo(name)
	if err != nil {
		return err
	}
	if info.ReportAgeMS < 0 || info.ReportAgeMS > 1000 {
		return fmt.Errorf("%s reported %d ms ago", name, info.ReportAgeMS)
	}
	return nil
}

// recovered is nil when one node is the primary and all others are secondaries.
func recovered(c *cluster.Cluster) error {
	g, err := c.TryGroup()
	if err != nil {
		return err
	}
	primaries := 0
	for _, n := range g.Nodes {
		switch {
		case n.Reported != n.Assigned:
			return fmt.Errorf("%s reports %s and is assigned %s", n.Name, n.Reported, n.Assigned)
		case n.Reported == cluster.Primary:
			primaries++
		case n.Reported != cluster.Secondary:
			return fmt.Errorf("%s is %s", n.Name, n.Reported)
		}
	}
	if primaries != 1 {
		return fmt.Errorf("%d nodes are primaries", primaries)
	}
	return nil
}

// restored is the situation as it is, once recovered.
func restored(c *cluster.Cluster) cluster.States {
	states := cluster.States{}
	for _, n := range c.Group().Nodes {
		states[n.Name] = n.Reported
	}
	return states
}
