package tests

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// forkByHand promotes a standby behind its keeper's back, which is frozen
// meanwhile, and writes what only that fork of the history has. It is not
// acknowledged, but it is there once its client has given up.
func forkByHand(t *testing.T, n *cluster.Node) {
	t.Helper()
	n.FreezeKeeper()
	n.MustRun(t, filepath.Join(machine.PostgresBin(t), "pg_ctl"), "-D", n.PGDATA(), "-w", "promote")
	n.AcknowledgesNothing(time.Second)
	n.SQL("checkpoint")
}

// unforked waits until nothing of the forks is left on the nodes: one may have to be
// rebuilt yet whose keeper was frozen when the group was last looked at.
func unforked(c *cluster.Cluster, nodes ...*cluster.Node) {
	for _, n := range nodes {
		c.Await(late, n.Name+" has nothing of what a fork made", func(context.Context) error {
			rows, err := n.TrySQL("select count(*) from pg_class where relname = 'autoctl_isolated'")
			if err == nil && rows[0] != "0" {
				err = errors.New("it has")
			}
			return err
		})
	}
}

// TestForkOfTwo tells of a standby that is promoted by hand while it is cut off: it
// acknowledges nothing, and becomes a standby of the primary again, without what
// it wrote.
func TestForkOfTwo(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	before := c.LastEvent()
	n2.Cut()
	forkByHand(t, n2)
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary})
	n2.ThawKeeper()
	n2.Heal()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	unforked(c, n1, n2)
	if a, b := n1.Timeline(), n2.Timeline(); a != 1 || b != 1 {
		t.Errorf("the nodes are on the timelines %d and %d", a, b)
	}
	c.NobodyReplaced(before, "n1")

	t.Log("maintenance and a hand-over work as before")
	n2.EnterMaintenance()
	n2.LeaveMaintenance()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Failover()
	c.Wait(late, exchanged)
	unforked(c, n1, n2)
	c.Finish(w, exchanged)
}

// TestForkOfThree tells of both standbys of a primary, each promoted by hand to the
// same timeline number, and of a primary that dies with a standby so forked: no
// fork is ever followed.
func TestForkOfThree(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2", "n3")
	n1, n2, n3 := c.Node("n1"), c.Node("n2"), c.Node("n3")
	w := c.Writer()

	t.Log("both standbys are forked")
	for _, n := range []*cluster.Node{n2, n3} {
		n.Cut()
		forkByHand(t, n)
	}
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary})
	for _, n := range []*cluster.Node{n2, n3} {
		n.ThawKeeper()
		n.Heal()
	}
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary, "n3": cluster.Secondary})
	unforked(c, n1, n2, n3)
	c.Right(soon)

	t.Log("one standby is forked, and the primary dies")
	c.SetPriority("n2", 90)
	c.WaitSync(soon, 1, "n2", "n3")
	forkByHand(t, n2)
	n1.Crash()
	n2.ThawKeeper()
	c.Await(soon, "n1 is missed", func(context.Context) error { return unheard(c, "n1", 5*time.Second) })
	n1.Restart()
	c.Writes(w, late)
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	unforked(c, n1, n2, n3)
	c.Finish(w, restored(c))
}
