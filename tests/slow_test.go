package tests

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
	"github.com/autoctl/autoctl/tests/machine"
)

// TestBusyAndSlow tells of a machine whose every core is busy and of a network on
// which every packet takes 300 ms, and one in twenty is lost, for two minutes:
// nobody is taken for dead. It runs alone.
func TestBusyAndSlow(t *testing.T) {
	long(t)
	machine.NeedLinks(t)
	c := cluster.New(t)
	c.Lab.NeedLinks()
	c.AddAll("n1", "n2")
	w := c.WriterOf(ledger.Config{StatementTimeout: 20 * time.Second, ConnectTimeout: 10 * time.Second})
	before, began := c.LastEvent(), w.Elapsed()
	fast := c.Lab.Slow(300*time.Millisecond, 5)
	var burners []*machine.Daemon
	for range runtime.NumCPU() {
		d, err := c.Node("n1").Start("busy", nil, "sh", "-c", "while :; do :; done")
		if err != nil {
			t.Fatal(err)
		}
		burners = append(burners, d)
	}
	acknowledged := w.Acknowledged()
	for w.Elapsed()-began < 2*time.Minute {
		c.Writes(w, late)
	}
	t.Logf("%d writes acknowledged meanwhile; longest gap %v", w.Acknowledged()-acknowledged, w.LongestGap(began).Length.Round(time.Millisecond))
	fast()
	for _, d := range burners {
		d.Signal(syscall.SIGKILL)
	}
	c.NobodyReplaced(before, "n1")
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}
