package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// TestTablespace tells of data outside the data directory, on a disk that every
// host has at the same place: it is copied with the rest, survives a rebuild and a
// failover, and nothing of the old copy stays behind.
func TestTablespace(t *testing.T) {
	machine.NeedLinks(t)
	t.Parallel()
	c := cluster.New(t)
	c.Lab.NeedLinks()
	place := filepath.Join(c.Lab.Dir(), "disk")
	n1, n2 := c.Place("n1"), c.Place("n2")
	disks := map[string]string{}
	for _, n := range []*cluster.Node{n1, n2} {
		disks[n.Name] = n.Mount(t, place)
	}
	n1.Create()
	c.Wait(soon, cluster.States{"n1": cluster.Single})
	n1.SQL("create tablespace elsewhere location '" + place + "'")
	n1.SQL("create table far (a int) tablespace elsewhere")
	n1.SQL("insert into far select generate_series(1, 10000)")
	n2.Create()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()
	complete := func(n *cluster.Node) {
		t.Helper()
		c.Await(soon, n.Name+" has the rows", func(context.Context) error {
			_, err := n.TrySQL("select 1 / (count(*) = 10000)::int from far")
			return err
		})
		c.Await(soon, "nothing old is left on the disk of "+n.Name, func(context.Context) error {
			entries, err := os.ReadDir(disks[n.Name])
			if err == nil && len(entries) != 1 {
				err = fmt.Errorf("it holds %v", entries)
			}
			return err
		})
	}
	complete(n2)

	t.Log("a rebuild copies it again")
	before := c.LastEvent()
	c.Command("perform", "rebuild", "--name", "n2")
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	visited(t, c, before, "n2", fsm.StateCatchingUp)
	complete(n2)

	t.Log("the copy serves, and the old primary follows with its own")
	n1.Crash()
	c.Wait(late, cluster.States{"n2": cluster.WaitPrimary})
	complete(n2)
	n1.Restart()
	c.Wait(late, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	complete(n1)
	c.Finish(w, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
}
