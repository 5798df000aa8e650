package tests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestServerDies tells of PostgreSQL servers that end under their keepers: by
// an administrator's hand, by a kill, and for good.
func TestServerDies(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Add("n1")
	c.Wait(soon, cluster.States{"n1": cluster.Single})

	t.Log("alone, a server that was stopped is started again")
	n1.StopPostgres()
	c.Await(soon, "n1 serves", func(context.Context) error { return answers(n1) })
	c.Wait(soon, cluster.States{"n1": cluster.Single})
	n2 := c.Add("n2")
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()

	t.Log("a standby's server that was stopped is started again")
	n2.StopPostgres()
	c.Await(soon, "n2 answers", func(context.Context) error { return answers(n2) })
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("a primary's postmaster that is killed is followed by the standby")
	killed := w.Elapsed()
	n1.KillPostmaster()
	c.Await(soon, "n2 serves", func(context.Context) error { return serves(c, "n2") })
	c.Writes(w, soon)
	t.Logf("%v without an acknowledged write", w.LongestGap(killed).Length.Round(time.Millisecond))
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Right(soon)

	t.Log("the host of the primary crashes")
	primary := c.PrimaryNode()
	primary.Crash()
	c.Writes(w, soon)
	primary.Restart()
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	primary.RefusesWrites()

	t.Log("the keeper of the primary is killed and comes back, and PostgreSQL goes on")
	primary = c.PrimaryNode()
	before, postmaster := c.LastEvent(), primary.Postmaster()
	primary.KillKeeper()
	c.Await(soon, "the monitor misses the keeper", func(context.Context) error { return unheard(c, primary.Name, 5*time.Second) })
	c.Writes(w, soon)
	primary.Restart()
	c.Await(soon, "the keeper is heard", func(context.Context) error { return heard(c, primary.Name) })
	if now := primary.Postmaster(); now != postmaster {
		t.Errorf("PostgreSQL was restarted: process %d, then %d", postmaster, now)
	}
	for _, e := range c.Events(before) {
		if e.Name == primary.Name && e.Assigned != "" && !e.Assigned.Serves() {
			t.Errorf("%s was assigned %s: %s", e.Name, e.Assigned, e.Reason)
		}
	}
	c.Await(late, "the group has recovered", func(context.Context) error { return recovered(c) })
	c.Finish(w, restored(c))
}

// TestServerCannotStart tells of a primary whose configuration was broken: its
// keeper lives and cannot start it, the standby takes over, explain names the
// fault, and once it is repaired the node follows.
func TestServerCannotStart(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	n1 := c.Node("n1")
	w := c.Writer()
	conf := filepath.Join(n1.PGDATA(), "postgresql.conf")
	good, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	write(t, conf, "shared_preload_libraries = 'no_such_library'\n"+string(good))
	n1.KillPostmaster()
	c.Writes(w, soon)
	c.Await(soon, "n2 serves", func(context.Context) error { return serves(c, "n2") })
	c.Await(soon, "the fault is named", func(context.Context) error {
		info, err := c.TryInfo("n1")
		if err == nil && info.Problem == nil {
			err = errors.New("n1 has no problem")
		}
		return err
	})
	mentions(t, c.Command("explain"), "n1")
	write(t, conf, string(good))
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	c.Finish(w, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
}

// TestControlFileGone tells of a data directory that lost its control file: no
// server starts there any more, and the node is copied anew by itself.
func TestControlFileGone(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	w := c.Writer()

	t.Log("on the standby")
	n2 := c.Node("n2")
	n2.BreakPgControl()
	n2.KillPostmaster()
	c.Await(late, "n2 was copied", func(context.Context) error { return hasControlFile(n2) })
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("on the primary")
	n1 := c.Node("n1")
	n1.BreakPgControl()
	n1.KillPostmaster()
	c.Writes(w, soon)
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	c.Finish(w, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
}

// TestMonitorDown tells of a minute without the monitor: the primary serves all
// along, and afterwards nothing is failed over and everything still works (P4).
func TestMonitorDown(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	c.AddAll("n1", "n2")
	w := c.Writer()
	before := c.LastEvent()
	began := w.Elapsed()
	c.Monitor.Crash()
	for w.Elapsed()-began < time.Minute {
		c.Writes(w, 2*time.Second)
		tick := time.NewTimer(100 * time.Millisecond)
		<-tick.C
	}
	if gap := w.LongestGap(began); gap.Length > time.Second {
		t.Errorf("%v without an acknowledged write although only the monitor was away", gap.Length)
	}
	c.Monitor.Restart()
	c.Await(soon, "the keepers report again", func(context.Context) error { return errors.Join(heard(c, "n1"), heard(c, "n2")) })
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	for _, e := range c.Events(before) {
		if e.Assigned != "" && e.Assigned != cluster.Primary && e.Assigned != cluster.Secondary {
			t.Errorf("%s was assigned %s: %s", e.Name, e.Assigned, e.Reason)
		}
	}
	c.Failover()
	c.Finish(w, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})
}

// answers is nil when the node's server answers a query.
func answers(n *cluster.Node) error {
	_, err := n.TrySQL("select 1")
	return err
}

func hasControlFile(n *cluster.Node) error {
	if _, err := os.Stat(filepath.Join(n.PGDATA(), "global", "pg_control")); err != nil {
		return err
	}
	return answers(n)
}

// gone is nil when nothing is at the path.
func gone(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is still there", path)
	}
	return nil
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
