package tests

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// TestFrozenHost tells of a primary whose processes all stop answering with
// their connections open: for two seconds, which nobody minds, and for ten, after
// which somebody else serves and the old primary, awake again, acknowledges
// nothing.
func TestFrozenHost(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()

	t.Log("two seconds")
	before := c.LastEvent()
	n1.Freeze()
	c.Stalls(w, 2*time.Second)
	n1.Thaw()
	c.Writes(w, soon)
	c.Holds(2*time.Second, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.NobodyReplaced(before, "n1")

	t.Log("ten seconds")
	n1.Freeze()
	frozen := time.After(10 * time.Second)
	c.Writes(w, 10*time.Second)
	<-frozen
	n1.Thaw()
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n1.AcknowledgesNothing(time.Second)
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestKeeperFrozen tells of a primary's keeper that is frozen for a minute, which
// takes nothing from anybody, and of PostgreSQL that fails under it: the standby
// takes over, and the keeper makes a standby of what it finds when it wakes.
func TestKeeperFrozen(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()
	before, began := c.LastEvent(), w.Elapsed()
	n1.FreezeKeeper()
	for w.Elapsed()-began < time.Minute {
		c.Writes(w, 2*time.Second)
		<-time.After(100 * time.Millisecond)
	}
	if gap := w.LongestGap(began); gap.Length > time.Second {
		t.Errorf("%v without an acknowledged write although only the keeper was frozen", gap.Length)
	}
	c.NobodyReplaced(before, "n1")
	mentions(t, c.Command("explain"), "unattended")
	n1.KillPostmaster()
	c.Writes(w, soon)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	n1.ThawKeeper()
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestPostmasterFrozen tells of a primary whose postmaster alone is frozen: who
// is connected goes on, and nobody can connect. The standby, whose stream goes on,
// vouches for it for a while; then it takes over, and the keeper clears away what
// does not answer.
func TestPostmasterFrozen(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	w := c.Writer()
	c.Node("n1").FreezePostmaster()
	c.Writes(w, soon)
	c.Await(late, "n2 serves", func(context.Context) error { return serves(c, "n2") })
	c.Writes(w, soon)
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestBackendsOutlive tells of backends that survive their postmaster, because
// they are frozen or busy with something that asks nobody: none of them is left
// when the keeper starts a server in their place, and none commits.
func TestBackendsOutlive(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()
	n1.SQL("create table outlived (n int)")
	busy := n1.Session("do $$ declare n bigint := 0; begin insert into outlived values (1); loop n := n + 1; end loop; end $$")
	idle := n1.Session("begin; insert into outlived values (2)")
	var left []int
	for _, s := range []*cluster.Session{busy, idle} {
		left = append(left, s.PID)
	}
	c.Await(soon, "the sessions work", func(context.Context) error {
		rows, err := n1.TrySQL(fmt.Sprintf("select count(*) from pg_stat_activity where pid in (%d, %d) and xact_start is not null", left[0], left[1]))
		if err == nil && rows[0] != "2" {
			err = fmt.Errorf("%s of 2", rows[0])
		}
		return err
	})
	if err := syscall.Kill(idle.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n1.KillPostmaster()
	c.Await(soon, "they are ended", func(context.Context) error {
		for _, p := range n1.Processes() {
			if slices.Contains(left, p.PID) {
				return fmt.Errorf("still there: %+v", p)
			}
		}
		return nil
	})
	c.Writes(w, soon) // until here they may have acknowledged some
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	if rows := c.PrimaryNode().SQL("select count(*) from outlived"); rows[0] != "0" {
		t.Errorf("%s rows of transactions that did not commit", rows[0])
	}
	c.Finish(w, restored(c))
}

// TestClockAhead tells of a node and a monitor whose PostgreSQL lives an hour
// ahead of everybody else: nothing but what people read depends on a clock.
func TestClockAhead(t *testing.T) {
	long(t)
	library := machine.FakeTime(t)
	t.Parallel()
	c := cluster.NewWith(t, cluster.Setup{Env: func(n *cluster.Node) []string {
		if n.Name == "n1" {
			return nil
		}
		return []string{"LD_PRELOAD=" + library, "FAKETIME=+1h", "FAKETIME_DONT_FAKE_MONOTONIC=1"}
	}})
	c.AddAll("n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	for n, want := range map[*cluster.Node]string{n1: "0", n2: "1"} {
		if rows := n.SQL(fmt.Sprintf("select round((extract(epoch from clock_timestamp()) - %d) / 3600)", time.Now().Unix())); rows[0] != want {
			t.Fatalf("the clock of %s is %s hours ahead, want %s", n.Name, rows[0], want)
		}
	}
	w := c.Writer()
	c.Holds(2*time.Second, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	n1.Crash()
	c.Writes(w, 15*time.Second)
	n1.Restart()
	c.Wait(late, exchanged)
	n2.KillPostmaster()
	c.Writes(w, 15*time.Second)
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Finish(w, restored(c))
}
