package fsm

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// simGoals returns goals of every state, in every variant that plans look at.
func simGoals() []Goal {
	base := Goal{Stamp: Stamp{1, 2, simSeq}, Node: 1, Group: 0, Kind: KindPgsql, SystemID: simSystem, Settings: DefaultSettings(),
		Orders: Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 2, Epoch: 2, Node: 2}}, Peers: []Peer{{Node: 2}}}
	var goals []Goal
	for _, s := range States() {
		g := base
		g.State = s
		switch {
		case s.Serves(), s == StateStopReplication:
			for _, k := range []int{0, 1} {
				for _, tli := range []Timeline{1, 2} {
					v := g
					v.Timeline, v.Configuration = tli, &Configuration{Seq: simSeq, K: k}
					v.Orders = Orders{{Timeline: 1, Epoch: 1, Node: 1}, {Timeline: 2, Epoch: 2, Node: 1}}
					goals = append(goals, v)
					if v.Confirmed = k > 0 && tli > 1; v.Confirmed {
						goals = append(goals, v)
					}
				}
			}
			v := goals[len(goals)-1]
			v.SystemID, v.Timeline, v.Peers, v.Configuration = 0, 1, nil, &Configuration{Seq: simSeq}
			goals = append(goals, v)
			v.Configuration = nil
			goals = append(goals, v)
		case s.Drains():
			goals = append(goals, g)
			g.DeadlineMS = 1000
			goals = append(goals, g)
		case s.Follows():
			g.Upstream = &Upstream{Node: 2, Host: "h", Port: 1, Timeline: 2}
			if s == StateFastForward {
				g.Upstream.Until = Position{Epoch: 1, LSN: simFork, Timeline: 1}
			}
			goals = append(goals, g)
			if s == StateCatchingUp {
				g.MinGeneration = simMinimum
				goals = append(goals, g)
				g.Upstream = nil
				goals = append(goals, g)
			}
		default:
			goals = append(goals, g)
			if s == StateReportLSN {
				g.AwaitEnd, g.Upstream = true, &Upstream{Node: 2, Host: "h", Port: 1, Timeline: 2}
				goals = append(goals, g)
			}
		}
	}
	return goals
}

// each calls f for both values of the flag.
func each(flag *bool, f func()) {
	for _, v := range []bool{false, true} {
		*flag = v
		f()
	}
	*flag = false
}

// simData calls f for every kind of data directory.
func simData(n *simNode, f func()) {
	for _, k := range []DataKind{DataAbsent, DataDamaged, DataForeign} {
		n.kind = k
		f()
	}
	n.kind = DataReady
	each(&n.clean, func() {
		each(&n.signal, func() {
			f()
			n.newTimeline = true
			f()
			n.newTimeline, n.diverged = false, true
			f()
			n.diverged = false
		})
	})
}

// simServers calls f for every condition of the server that such data allows.
func simServers(n *simNode, f func()) {
	was := *n
	set := func(status ServerStatus, change func()) {
		n.status = status
		if change != nil {
			change()
		}
		f()
		*n = was
	}
	set(ServerStopped, nil)
	set(ServerCrashed, nil)
	set(ServerCrashed, func() { n.remains = true })
	if n.kind != DataReady {
		if n.kind != DataAbsent {
			set(ServerRunning, nil)
		}
		return
	}
	set(ServerStarting, nil)
	set(ServerHung, nil)
	running := func(change func()) { set(ServerRunning, change) }
	running(nil)
	running(func() { n.confirmed = true })
	running(func() { n.confirmed, n.checkpointed = true, true })
	running(func() { n.recovery, n.receiver = true, true })
	running(func() { n.recovery, n.receiver, n.blocked = true, true, true })
	running(func() { n.recovery, n.blocked = true, true })
	running(func() { n.recovery, n.final = true, true })
	running(func() { n.recovery, n.final, n.guarded = true, true, true })
	running(func() { n.recovery = true })
}

// simNodes calls f with every abstract node that matters to goal, and says how many there were.
func simNodes(goal Goal, f func(simNode)) int {
	count := 0
	n := &simNode{room: true, ready: true, generation: 1}
	emit := func() { count++; f(*n) }
	serves := goal.State.Serves() || goal.State == StateStopReplication
	files := func() {
		emit()
		n.loaded = true
		each(&n.closed, emit)
		n.loaded = false
	}
	work := func() {
		for _, b := range []Busy{BusyInit, BusyRewind, BusyCopy, BusySwap} {
			n.busy = b
			files()
		}
		n.busy = BusyNone
		if serves {
			each(&n.gate, files)
			return
		}
		files()
		n.stray = true
		each(&n.reigned, files)
		n.stray = false
	}
	serve := func() {
		each(&n.fresh, func() { each(&n.settled, func() { each(&n.slots, func() { each(&n.began, work) }) }) })
	}
	drain := func() {
		each(&n.drained, func() { each(&n.overdue, func() { each(&n.served, func() { each(&n.resumed, work) }) }) })
	}
	simData(n, func() {
		simServers(n, func() {
			switch {
			case serves:
				serve()
			case goal.State.Drains():
				drain()
			case goal.State.Follows():
				simFollow(n, work)
			default:
				work()
			}
		})
	})
	return count
}

// simFollow adds what only followers look at: the ladder, the staging copy and the upstream.
func simFollow(n *simNode, f func()) {
	was := *n
	for _, rung := range []Rung{RungStream, RungRewind, RungCopy} {
		n.rung = rung
		for _, change := range []func(){
			func() { n.silent = true }, func() { n.silent, n.asked = true, true }, func() { n.ready = false }, func() {},
			func() { n.lost, n.asked = true, true }, func() { n.staleControl, n.asked = true, true },
			func() { n.following = true }, func() { n.copied = true }, func() { n.room = false }, func() { n.tried = RungRewind },
		} {
			keep := *n
			change()
			f()
			*n = keep
		}
	}
	*n = was
}

// TestPlan_EveryPair defends P3 and P2 on the keeper's side: for every state as a goal and every abstract situation of a node there is a plan; carried out in a
// kind world it ends, without going in circles, with the goal reached or with a problem that a human can read; and no step on the way breaks what [Plan] promises.
func TestPlan_EveryPair(t *testing.T) {
	var pairs, reached, held int
	t.Run("goals", func(t *testing.T) {
		var sum sync.Mutex
		for i, goal := range simGoals() {
			t.Run(fmt.Sprintf("%d_%s", i, goal.State), func(t *testing.T) {
				t.Parallel()
				good := 0
				count := simNodes(goal, func(n simNode) {
					ok, err := walk(goal, n, 1)
					if err != nil {
						t.Fatalf("configuration %+v: %v", goal.Configuration, err)
					}
					if again, err := walk(goal, n, len(Plan(goal, n.facts(goal)))); err != nil || again != ok {
						t.Fatalf("configuration %+v, the plan carried out as a whole: the goal is reached: %v, step by step %v: %v", goal.Configuration, again, ok, err)
					}
					if ok {
						good++
					}
				})
				sum.Lock()
				defer sum.Unlock()
				pairs, reached, held = pairs+count, reached+good, held+count-good
			})
		}
	})
	t.Logf("%d pairs: %d end in the goal, %d in a problem that is told", pairs, reached, held)
	if pairs < 500_000 || reached < pairs/3 {
		t.Errorf("%d pairs, %d reached: the enumeration has shrunk", pairs, reached)
	}
}

// walk carries plans out until nothing is left, and reports whether that is the goal: of the first plan up to ahead steps without a look between, of
// every other one. No good walk is anywhere near as long as its bound.
func walk(goal Goal, n simNode, ahead int) (bool, error) {
	const bound = 40
	var story []Step
	for range bound {
		f := n.facts(goal)
		steps := Plan(goal, f)
		if err := safe(goal, f, steps); err != nil {
			return false, fmt.Errorf("%w\nplan %s\nafter %s\nat %+v", err, tell(steps), tell(story), n)
		}
		if len(steps) == 0 {
			return true, nil
		}
		for _, s := range steps[:max(1, min(ahead, len(steps)))] {
			story = append(story, s)
			next, held, err := advance(goal, n, s)
			if err != nil {
				return false, fmt.Errorf("%w\nafter %s\nat %+v", err, tell(story), n)
			}
			if held {
				return false, nil
			}
			n = next
		}
		ahead = 1
	}
	return false, fmt.Errorf("no end after %d steps: %s\nat %+v", bound, tell(story), n)
}

func tell(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "\n  %s: %s", s.Kind, s.Reason)
	}
	return b.String()
}

// advance does the first step of a plan, or lets the world move while it waits; held says that nothing moves any more.
func advance(goal Goal, n simNode, first Step) (next simNode, held bool, err error) {
	if first.Kind != StepWait && first.Kind != StepRefuse {
		next, err = n.do(goal, first)
		return next, false, err
	}
	if first.Kind == StepWait {
		if next, moved := n.waitOn(first); moved {
			return next, false, nil
		}
	}
	if first.Problem == nil || first.Problem.Code == "" || first.Problem.Text == "" || first.Problem.Hint == "" {
		return n, true, fmt.Errorf("held without a problem that a human can read: %+v", first)
	}
	return n, true, nil
}

// safe checks what every plan must keep, whatever the situation.
func safe(goal Goal, f Facts, steps []Step) error {
	goal = f.Memory.Effective(goal)
	serves := goal.State.Serves() || goal.State == StateStopReplication
	hands := goal.State == StateInit || goal.State == StateMaintenance
	if f.Server.readWrite() && !serves && !hands {
		if len(steps) == 0 {
			return fmt.Errorf("a server stays read-write under %s", goal.State)
		}
		switch k := steps[0].Kind; {
		case k == StepStopFast, k == StepStopNow, k == StepRefuse:
		case k == StepCheckpoint && goal.State.Drains():
		case goal.State == StateFastForward && k == StepWait:
			return fmt.Errorf("a server stays read-write under %s", goal.State)
		default:
			return fmt.Errorf("a server stays read-write under %s: %s", goal.State, k)
		}
	}
	for i, s := range steps {
		if err := safeStep(goal, f, steps[:i], s, serves); err != nil {
			return err
		}
	}
	return nil
}

func safeStep(goal Goal, f Facts, before []Step, s Step, serves bool) error {
	had := func(k StepKind) bool { return len(before) > 0 && before[len(before)-1].Kind == k }
	if s.Files != nil && !serves && (s.Files.Configuration != nil || !s.Files.Standby || s.Files.Gate) {
		return fmt.Errorf("%s opens files under %s", s.Kind, goal.State)
	}
	switch s.Kind {
	case StepStart:
		if !f.Files.Written && !had(StepConfigure) {
			return fmt.Errorf("a start over unwritten files")
		}
		if c := s.Files.Configuration; !s.Files.Standby {
			if c.K == 0 && len(goal.Peers) > 0 && !f.Fresh {
				return fmt.Errorf("a start under k=0 that the monitor has not confirmed")
			}
			if c.K > 0 && !s.Files.Gate {
				return fmt.Errorf("a start under k>0 without the gate (S16)")
			}
			if goal.Timeline != 0 && f.Data.Timeline != goal.Timeline {
				return fmt.Errorf("a read-write start on another timeline than that of the reign (S3)")
			}
		}
	case StepPromote:
		if !f.Memory.Began(promotionOf(goal)) && !had(StepBeginPromote) {
			return fmt.Errorf("a promotion that is not on disk (S3)")
		}
		if !serves || f.Server.Receiver || (goal.Configuration.K == 0 && len(goal.Peers) > 0 && !f.Fresh) {
			return fmt.Errorf("a promotion that is not due")
		}
		gate := f.Files.Gate
		for _, b := range before {
			gate = gate || b.Kind == StepConfigure && b.Files.Gate
		}
		if goal.Configuration.K > 0 && !gate && (!goal.Confirmed || !f.Server.Guarded) {
			return fmt.Errorf("a promotion without a gate that shows clients what may be lost (S16)")
		}
		if !f.Files.Effective && (!slices.ContainsFunc(before, func(b Step) bool { return b.Kind == StepConfigure }) || !f.Server.Final || f.Files.Following != 0) {
			return fmt.Errorf("a promotion before the synchronous set is in force, or while something may still be received (S4)")
		}
	case StepRewind, StepCopy:
		if !goal.State.Follows() || goal.State == StateFastForward || !f.Server.down() {
			return fmt.Errorf("%s under %s, server %s", s.Kind, goal.State, f.Server.Status)
		}
		if s.Kind == StepRewind && !f.Data.Clean && !had(StepRecover) {
			return fmt.Errorf("a rewind of a directory that was not shut down")
		}
	case StepOpenGate:
		if !f.Server.Confirmed || goal.State == StateStopReplication {
			return fmt.Errorf("the gate opens unconfirmed (S16)")
		}
	default:
	}
	return nil
}

func TestMemory_S9_ObeyRefusesOldGoals(t *testing.T) {
	var m Memory
	if err := m.Obey(Goal{Stamp: Stamp{2, 5, 9}, State: StatePrimary}); err != nil {
		t.Fatal(err)
	}
	for _, old := range []Stamp{{1, 6, 10}, {2, 4, 10}, {2, 5, 8}} {
		if err := m.Obey(Goal{Stamp: old, State: StateDemoted}); err == nil {
			t.Errorf("obeyed %v after %v", old, m.Goal.Stamp)
		}
	}
	if m.Goal.State != StatePrimary || m.Serving == nil {
		t.Errorf("an old goal changed the memory: %+v", m)
	}
}

func TestMemory_S10_GenerationGrowsBeforeWork(t *testing.T) {
	for name, begin := range map[string]func(*Memory){
		"init": (*Memory).BeginInit, "rewind": (*Memory).BeginRewind, "swap": func(m *Memory) { m.BeginSwap(Goal{}) },
	} {
		m := Memory{Generation: 4}
		begin(&m)
		if m.Generation != 5 || m.Busy == BusyNone {
			t.Errorf("%s: generation %d, busy %q (S10)", name, m.Generation, m.Busy)
		}
	}
}
