package tests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// megabytes writes so much WAL on the host's server, whatever it is, in
// transactions of a megabyte, and ends with the first that fails. It connects as
// the server's owner does on the machine itself.
func megabytes(t *testing.T, h *machine.Host, count int) error {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(h.PGDATA(), "postmaster.pid"))
	if err != nil {
		return err
	}
	lines := strings.Split(string(file), "\n")
	if len(lines) < 5 {
		return errors.New("the server has not started")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{filepath.Join(machine.PostgresBin(t), "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", lines[4], "-p", lines[3], "-d", "postgres"}
	for range count {
		args = append(args, "-c", "select pg_logical_emit_message(true, 'autoctl', repeat('x', 1000000))")
	}
	r, err := h.Run(ctx, nil, args...)
	if err == nil && r.Code != 0 {
		err = errors.New(r.Stderr)
	}
	return err
}

// exhaust fills the volume until the node's server has ended for want of room:
// what it has recycled lasts for a while. A standby's goes on where it is the next
// segment that finds no room, and the group goes on without it.
func exhaust(t *testing.T, c *cluster.Cluster, n *cluster.Node, writer *cluster.Node, v *machine.Volume) {
	t.Helper()
	before := n.Postmaster()
	v.Fill()
	c.Await(late, n.Name+" has no room left", func(context.Context) error {
		failure := megabytes(t, writer.Host, 20)
		if info, err := c.TryInfo(n.Name); err == nil && writer != n && info.Assigned == cluster.CatchingUp {
			return nil
		}
		if now := n.Postmaster(); now == before {
			return fmt.Errorf("process %d still runs: %w", now, cmp.Or(failure, errors.New("nothing failed yet")))
		}
		return nil
	})
}

// TestDiskFull tells of disks that run full: the primary's, whose server dies of
// it, so that the standby takes over, and the standby's, so that writes go on
// without it. Both are well again by themselves once there is room.
func TestDiskFull(t *testing.T) {
	machine.NeedVolumes(t)
	long(t)
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Place("n1")
	disk := n1.Volume(n1.PGDATA(), 400)
	n1.Create()
	c.Wait(soon, cluster.States{"n1": cluster.Single})
	n2 := c.Add("n2")
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()

	t.Log("the primary's")
	exhaust(t, c, n1, n1, disk)
	c.Writes(w, soon)
	c.Await(soon, "n2 serves", func(context.Context) error { return serves(c, "n2") })
	disk.Free()
	c.Wait(late, exchanged)
	c.Right(soon)

	t.Log("the standby's")
	exhaust(t, c, n1, n2, disk)
	c.Wait(soon, cluster.States{"n2": cluster.WaitPrimary})
	c.Writes(w, soon)
	disk.Free()
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestMonitorDiskFull tells of a monitor without room on its disk: the group
// serves all along, and the monitor fails over again once there is room.
func TestMonitorDiskFull(t *testing.T) {
	long(t)
	machine.NeedVolumes(t)
	t.Parallel()
	c := cluster.Prepare(t, cluster.Setup{})
	disk := c.Monitor.Volume(c.Monitor.PGDATA(), 300)
	c.CreateMonitor()
	c.AddAll("n1", "n2")
	w := c.Writer()
	before, began := c.LastEvent(), w.Elapsed()
	exhaust(t, c, c.Monitor, c.Monitor, disk)
	for range 60 {
		c.Writes(w, 2*time.Second)
		<-time.After(100 * time.Millisecond)
	}
	// The monitor is away for longer than it takes to miss a node; a busy machine pauses too.
	if gap := w.LongestGap(began); gap.Length > 3*time.Second {
		t.Errorf("%v without an acknowledged write although only the monitor was away", gap.Length)
	}
	disk.Free()
	c.Await(late, "the keepers report again", func(context.Context) error { return errors.Join(heard(c, "n1"), heard(c, "n2")) })
	c.Wait(soon, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.NobodyReplaced(before, "n1")
	c.Failover()
	c.Finish(w, exchanged)
}

// TestStateDiskFull tells of keepers that cannot write their state: they go on
// with what they do, and obey nothing new, so that a standby in that condition is
// not promoted before there is room.
func TestStateDiskFull(t *testing.T) {
	machine.NeedVolumes(t)
	t.Parallel()
	c := cluster.New(t)
	var disks []*machine.Volume
	for _, name := range []string{"n1", "n2"} {
		n := c.Place(name)
		disks = append(disks, n.Volume(filepath.Join(n.Dir, "share"), 4))
		n.Create()
		c.Await(soon, name+" is heard", func(context.Context) error { return heard(c, name) })
	}
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()
	for _, d := range disks {
		d.Fill()
	}
	c.Node("n1").Crash()
	c.Stalls(w, 6*time.Second)
	if c.Info("n2").Connection == "read-write" {
		t.Error("n2 was promoted without a note of it")
	}
	disks[1].Free()
	c.Writes(w, soon)
	disks[0].Free()
	c.Node("n1").Restart()
	c.Wait(late, exchanged)
	c.Finish(w, exchanged)
}

// TestRewindFails tells of an old primary that must be rewound and cannot be, for
// there is a directory in its data that nobody may read: it is copied anew.
func TestRewindFails(t *testing.T) {
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	unreadable := filepath.Join(n1.PGDATA(), "base", "unreadable")
	n1.MustRun(t, "mkdir", "-m", "000", unreadable)
	c.Lab.CutLink(n1.Host, n2.Host)
	c.Stalls(w, time.Second) // of these writes n2 has nothing
	n1.Crash()
	c.Writes(w, soon)
	c.Lab.Heal() // not before: the kernel would still send what the dead server had given it
	n1.Restart()
	c.Wait(late, exchanged)
	if err := gone(unreadable); err != nil {
		t.Error(err)
	}
	c.Finish(w, exchanged)
}

// TestSlotLost tells of a standby that was away for longer than the primary keeps
// its log: the slot is lost, and the standby is copied anew.
func TestSlotLost(t *testing.T) {
	long(t)
	c := linked(t, "n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	w := c.Writer()
	n2.Cut()
	c.Wait(soon, cluster.States{"n1": cluster.WaitPrimary})
	if _, err := n1.TryKeepLog("16MB"); err != nil {
		t.Fatal(err)
	}
	if err := megabytes(t, n1.Host, 400); err != nil {
		t.Fatal(err)
	}
	c.Await(soon, "the slot is lost", func(context.Context) error {
		rows, err := n1.TrySQL("checkpoint")
		if err == nil {
			rows, err = n1.TrySQL("select count(*) from pg_replication_slots where wal_status = 'lost'")
		}
		if err == nil && rows[0] != "1" {
			err = errors.New("no slot is lost")
		}
		return err
	})
	n2.Heal()
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}

// TestMountPoint tells of nodes whose data directory is itself a mount point, so
// that it cannot be renamed: they are rewound in place, and copied within it.
func TestMountPoint(t *testing.T) {
	machine.NeedVolumes(t)
	t.Parallel()
	c := cluster.New(t)
	for _, name := range []string{"n1", "n2"} {
		n := c.Place(name)
		n.Volume(n.PGDATA(), 600)
		n.Create()
		c.Await(soon, name+" is heard", func(context.Context) error { return heard(c, name) })
	}
	c.Wait(late, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	n1 := c.Node("n1")
	w := c.Writer()

	t.Log("rewound")
	n1.Crash()
	c.Writes(w, soon)
	n1.Restart()
	c.Wait(late, exchanged)

	t.Log("copied")
	n1.BreakPgControl()
	n1.KillPostmaster()
	c.Await(late, "n1 was copied", func(context.Context) error { return hasControlFile(n1) })
	c.Wait(late, exchanged)
	c.Failover()
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}
