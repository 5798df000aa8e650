package tests

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
	"github.com/autoctl/autoctl/tests/machine"
)

// TestAsymmetricCuts tells of links that pass packets one way only, for longer
// than a node may be silent: between monitor and primary nobody is failed over,
// for the standby speaks for the primary; between primary and standby the
// standby leaves the record and comes back.
func TestAsymmetricCuts(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	before := c.LastEvent()
	for _, cut := range []struct {
		name     string
		from, to *machine.Host
	}{
		{"the primary does not hear the monitor", c.Monitor.Host, n1.Host},
		{"the monitor does not hear the primary", n1.Host, c.Monitor.Host},
	} {
		t.Log(cut.name)
		began := w.Elapsed()
		c.Lab.CutOneWay(cut.from, cut.to)
		c.Await(soon, "the primary counts as silent", func(context.Context) error { return unheard(c, "n1", 5*time.Second) })
		c.Lab.Heal()
		c.Await(soon, "the primary is heard", func(context.Context) error { return heard(c, "n1") })
		if gap := w.LongestGap(began); gap.Length > time.Second {
			t.Errorf("%v without an acknowledged write although clients and standby reached the primary", gap.Length)
		}
	}
	for _, cut := range []struct {
		name     string
		from, to *machine.Host
	}{
		{"the standby does not hear the primary", n1.Host, n2.Host},
		{"the primary does not hear the standby", n2.Host, n1.Host},
	} {
		t.Log(cut.name)
		c.Lab.CutOneWay(cut.from, cut.to)
		c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary})
		c.Writes(w, soon)
		c.Lab.Heal()
		c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	}
	c.NobodyReplaced(before, "n1")
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}

// TestMonitorCutOff tells of a minute in which the monitor reaches nobody and
// nobody reaches it: the primary serves all along, and nothing happens when the
// network is back (P4).
func TestMonitorCutOff(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2", "n3")
	w := c.Writer()
	before, began := c.LastEvent(), w.Elapsed()
	c.Monitor.Cut()
	for w.Elapsed()-began < time.Minute {
		c.Writes(w, 2*time.Second)
		<-time.After(100 * time.Millisecond)
	}
	if gap := w.LongestGap(began); gap.Length > time.Second {
		t.Errorf("%v without an acknowledged write although only the monitor was away", gap.Length)
	}
	c.Monitor.Heal()
	c.Await(soon, "the keepers report again", func(context.Context) error {
		return errors.Join(heard(c, "n1"), heard(c, "n2"), heard(c, "n3"))
	})
	c.Holds(3*time.Second, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	c.NobodyReplaced(before, "n1")
	c.Failover()
	c.Await(late, "the failover is over", func(context.Context) error { return recovered(c) })
	c.Finish(w, restored(c))
}

// TestMonitorAndPrimaryLost tells of the monitor and the primary that go at the
// same moment. Nobody can decide meanwhile; once the monitor is back it fails
// over without waiting for the primary, which follows when it returns.
func TestMonitorAndPrimaryLost(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()
	c.Monitor.Crash()
	n1.Crash()
	c.Stalls(w, 3*time.Second)
	c.Monitor.Restart()
	c.Writes(w, soon)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n1.Restart()
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestMonitorAndPrimaryCutOff is the same with a network that separates both
// from everybody and from each other: the primary acknowledges nothing.
func TestMonitorAndPrimaryCutOff(t *testing.T) {
	c := linked(t, "n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()
	c.Monitor.Cut()
	n1.Cut()
	n1.AcknowledgesNothing(3 * time.Second)
	c.Monitor.Heal()
	c.Writes(w, soon)
	n1.AcknowledgesNothing(time.Second)
	n1.Heal()
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// promoting is a group of three whose first primary has crashed and whose second
// node is in the middle of its promotion, until the function is called.
func promoting(t *testing.T) (c *cluster.Cluster, w *ledger.Writer, release func()) {
	t.Helper()
	t.Parallel()
	c = cluster.New(t)
	c.AddAll("n1", "n2", "n3")
	c.SetPriority("n2", 90)
	w = c.Writer()
	c.WaitSync(soon, 1, "n2", "n3")
	reached, release := c.Node("n2").HoldPromotion()
	c.Node("n1").Crash()
	c.Await(late, "n2 promotes", reached)
	return c, w, release
}

// TestMonitorDiesInElection tells of a monitor that dies while the candidate
// promotes: the candidate has all that it needs, serves without the monitor, and
// the monitor takes up from there.
func TestMonitorDiesInElection(t *testing.T) {
	c, w, release := promoting(t)
	c.Monitor.Crash()
	release()
	c.Writes(w, soon)
	c.Monitor.Restart()
	c.Wait(soon, cluster.States{"n2": cluster.Primary, "n3": cluster.Secondary})
	c.Node("n1").Restart()
	c.Wait(late, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
	c.Finish(w, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
}

// TestFollowerDiesInElection tells of the only other standby that dies while the
// candidate promotes: the candidate serves, alone in the end.
func TestFollowerDiesInElection(t *testing.T) {
	long(t)
	c, w, release := promoting(t)
	c.Node("n3").Crash()
	release()
	c.Writes(w, late)
	c.Wait(late, cluster.States{"n2": cluster.WaitPrimary})
	c.Node("n1").Restart()
	c.Node("n3").Restart()
	c.Wait(late, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
	c.Finish(w, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
}

// TestFailoverDuringCatchUp tells of a primary that dies while a standby is being
// made: nobody promotes what is not complete, and whoever serves next brings it
// up.
func TestFailoverDuringCatchUp(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1")
	n1, n2, n3 := c.Node("n1"), c.Place("n2"), c.Place("n3")
	w := c.Writer()

	t.Log("the only standby is half copied: nobody can take over, the primary serves again")
	n2.Create()
	copying := n2.StopOnSight(soon, "pg_basebackup")
	n1.Crash()
	c.Stalls(w, 4*time.Second)
	if info := c.Info("n2"); info.Assigned.Serves() || info.Reported == cluster.Secondary {
		t.Errorf("n2 reports %s and is assigned %s", info.Reported, info.Assigned)
	}
	n1.Restart()
	c.Writes(w, soon)
	n2.Resume(copying)
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("a second standby is half copied: the first takes over, and the second follows it")
	n3.Create()
	copying = n3.StopOnSight(soon, "pg_basebackup")
	n1.Crash()
	c.Writes(w, soon)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n3.Resume(copying)
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n3": cluster.Secondary})
	n1.Restart()
	c.Wait(late, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
	c.Finish(w, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary, "n3": cluster.Secondary})
}

// TestBackupKilled tells of a base backup that is killed halfway, with its keeper
// and without: the next one succeeds, and nothing half done is ever a server.
func TestBackupKilled(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1")
	c.Node("n1").SQL("create table big as select g, repeat(md5(g::text), 20) from generate_series(1, 50000) g")
	w := c.Writer()
	n2 := c.Add("n2")
	n2.StopOnSight(soon, "pg_basebackup")
	t.Log("the host of the copy crashes")
	n2.Crash()
	n2.Restart()
	t.Log("the copy is killed")
	n2.KillProcess(n2.StopOnSight(soon, "pg_basebackup"))
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	if rows := n2.SQL("select count(*) from big"); rows[0] != "50000" {
		t.Errorf("the copy has %s rows of 50000", rows[0])
	}
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}

// TestAddressChanges tells of hosts that move to another address, the standby's
// and the primary's: the nodes are told of it in their own configuration, and the
// others learn it from the monitor.
func TestAddressChanges(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	uri := fmt.Sprintf("postgresql://%s@%s:%d,%s:%d,%s:%d,%s:%d/%s?sslmode=disable&target_session_attrs=read-write", n1.User(),
		n1.Addr, n1.Port, n1.NextAddr(), n1.Port, n2.Addr, n2.Port, n2.NextAddr(), n2.Port, cluster.Database)
	w := c.WriterOf(ledger.Config{URI: uri})
	moved := func(n *cluster.Node) {
		n.Readdress()
		n.Autoctl("config", "set", "node.hostname", n.Addr)
		n.Autoctl("reload")
		c.Await(late, n.Name+" is known at its new address", func(context.Context) error {
			info, err := c.TryInfo(n.Name)
			if err == nil && info.Host != n.Addr {
				err = fmt.Errorf("it is known at %s", info.Host)
			}
			return err
		})
	}

	t.Log("the standby's")
	moved(n2)
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Right(soon)
	c.Writes(w, soon)

	t.Log("the primary's")
	moved(n1)
	c.Writes(w, late)
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Right(soon)
	c.Failover()
	c.Await(late, "the failover is over", func(context.Context) error { return recovered(c) })
	c.Finish(w, restored(c))
}
