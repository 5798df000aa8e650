package local_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
)

// segments are the files of a node's log, by timeline and then by place, with those that are kept for later.
func (m *member) segments() []string {
	m.t.Helper()
	list, err := filepath.Glob(filepath.Join(m.cfg.DataDir, "pg_wal", "00000*[0-9A-F]"))
	if err != nil || len(list) == 0 {
		m.t.Fatalf("segments %v: %v", list, err)
	}
	return slices.DeleteFunc(list, func(path string) bool { return filepath.Ext(path) != "" })
}

func (m *member) remove(paths []string) {
	m.t.Helper()
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			m.t.Fatal(err)
		}
	}
}

// rewound is a group of two whose old primary has been rewound and not started since: it needs several segments of the new one's timeline, and has but the first.
func rewound(t *testing.T) (g *group, old, up *member) {
	t.Helper()
	g = newGroup(t, 2)
	a, b := g.members[0], g.members[1]
	g.diverge(a, b)
	g.elect(b)
	g.reach(b, g.serve(b, 0))
	b.must("checkpoint")
	a.obey(g.follow(a, b, fsm.StateCatchingUp))
	g.until(a, "the old primary is to be rewound", func(steps []fsm.Step) bool { return len(steps) > 0 && steps[0].Kind == fsm.StepLadder })
	for i := range 3 {
		b.must(fmt.Sprintf("insert into t values (%d)", 10+i))
		b.must("select pg_switch_wal()")
	}
	g.until(a, "the old primary is rewound", func([]fsm.Step) bool { return slices.Contains(a.steps, fsm.StepRewind) })
	if r := a.mem.Get().Rewound; r.LSN == 0 || r.Timeline != 2 {
		t.Fatalf("rewound: %+v", r)
	}
	all := a.segments()
	first2 := slices.IndexFunc(all, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "00000002") })
	a.remove(all[first2+1:])
	return g, a, b
}

// TestStarved has a rewound standby find that its upstream has removed the log without which it admits nobody: it is copied (P3).
func TestStarved(t *testing.T) {
	g, a, b := rewound(t)
	b.must("insert into t values (20)")
	b.must("select pg_switch_wal()")
	writes := b.must("select pg_walfile_name(pg_current_wal_lsn())") // those after it are only kept for later
	b.remove(slices.DeleteFunc(b.segments(), func(path string) bool { return filepath.Base(path) >= writes }))
	g.finish(a)
	if !slices.Contains(a.steps, fsm.StepCopy) {
		t.Errorf("steps %v", a.steps)
	}
	b.must("insert into t values (21)")
	a.eventually("select count(*) from t", "5")
}

// TestStarvedAlone has the same standby be taken for one to rewind again: recovery by itself ends, and says why.
func TestStarvedAlone(t *testing.T) {
	g, a, _ := rewound(t)
	if err := a.mem.Update(func(m *fsm.Memory) { m.Climb(fsm.RungRewind, "for the test") }); err != nil {
		t.Fatal(err)
	}
	g.finish(a)
	if want := []fsm.StepKind{fsm.StepRecover, fsm.StepCopy}; !slices.Contains(a.steps, want[0]) || !slices.Contains(a.steps, want[1]) {
		t.Errorf("steps %v", a.steps)
	}
}
