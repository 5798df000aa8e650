package soak

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// control makes a group lose commits that it has acknowledged, in the one way in
// which that is possible: a standby that does not count for commits is cut off,
// the primary is frozen, and an operator has the standby promoted whatever is
// lost. The checker must find the loss, and the system must name it.
func control(t *testing.T, rec *recorder) {
	t.Helper()
	machine.NeedLinks(t)
	c := cluster.New(t)
	c.Lab.NeedLinks()
	c.AddAll("n1", "n2")
	n1, n2 := c.Node("n1"), c.Node("n2")
	c.SetQuorum("n2", false)
	c.Wait(time.Minute, cluster.States{"n1": cluster.WaitPrimary, "n2": cluster.Secondary})
	w := c.Writer()
	c.Lab.CutLink(n1.Host, n2.Host)
	for range 10 {
		c.Writes(w, time.Minute)
	}
	before := c.LastEvent()
	n1.Freeze()
	c.Await(time.Minute, "the primary counts as lost", func(context.Context) error {
		info, err := c.TryInfo("n1")
		if err == nil && info.ReportAgeMS < 5000 {
			err = fmt.Errorf("n1 reported %d ms ago", info.ReportAgeMS)
		}
		return err
	})
	if c.Info("n2").Assigned.Serves() {
		t.Fatal("a standby that misses commits was promoted without consent")
	}
	c.Command("perform", "failover", "--allow-data-loss", "--yes")
	c.Wait(time.Minute, cluster.States{"n2": cluster.WaitPrimary})
	result := Control{}
	for _, e := range c.Events(before) {
		result.Said = result.Said || e.Kind == "data_loss"
	}
	v, err := w.Verify(t.Context(), c.ServiceURI("n2"))
	if err != nil {
		t.Fatal(err)
	}
	result.Acknowledged, result.Lost = v.Acknowledged, len(v.Missing)
	switch {
	case result.Lost == 0:
		result.Problem = "acknowledged commits were lost, and the checker did not see it: nothing that it says elsewhere counts"
	case !result.Said:
		result.Problem = "no event names the loss"
	}
	rec.edit(func(r *Report) { r.Control = result })
	if result.Problem != "" {
		rec.anomaly("control", result.Problem, "")
	}
	t.Logf("the control lost %d of %d acknowledged commits, as it must", result.Lost, result.Acknowledged)
}
