package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// TestRemainsOfInit: an initdb that was killed, or the clearing away of what it left, may leave a directory that does not look like PostgreSQL's; it is
// begun anew. The same directory without that is not ours.
func TestRemainsOfInit(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	if err := os.MkdirAll(filepath.Join(a.cfg.DataDir, "pg_subtrans"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := g.serve(a, 0)
	first.State, first.Peers = fsm.StateSingle, nil
	a.obey(first)
	g.until(a, "foreign data are refused", func(steps []fsm.Step) bool {
		return len(steps) > 0 && steps[0].Kind == fsm.StepRefuse && steps[0].Problem.Code == "foreign_data"
	})
	if err := a.mem.Update(func(m *fsm.Memory) { m.BeginInit() }); err != nil {
		t.Fatal(err)
	}
	g.finish(a)
	a.must("create table t (id int)")
}
