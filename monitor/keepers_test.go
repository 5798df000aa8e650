package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// busyDecide gives every node a new goal at each look: the most work that a monitor can have. Its goals tell by their content at
// which decision they were made, so that a stamp used twice shows.
func busyDecide(g fsm.Group, now fsm.Instant) fsm.Decision {
	d := fsm.Decision{Group: g, Wake: now.Add(5 * time.Millisecond)}
	if len(g.Nodes) == 0 {
		return d
	}
	d.Changed = true
	d.Group.Seq++
	d.Group.Nodes = append([]fsm.Node(nil), g.Nodes...)
	for i := range d.Group.Nodes {
		n := &d.Group.Nodes[i]
		n.Goal = fsm.Goal{
			Stamp: fsm.Stamp{Incarnation: g.Incarnation, Epoch: g.Epoch, Seq: d.Group.Seq}, Node: n.ID, State: fsm.StateWaitStandby,
			Formation: g.Formation, DeadlineMS: int64(now),
		}
		d.Push = append(d.Push, n.ID)
	}
	d.Events = []fsm.Event{{Kind: "busy", Rule: "busy", Reason: fmt.Sprint(d.Group.Seq), Stamp: d.Group.Nodes[0].Goal.Stamp}}
	return d
}

// witness remembers every goal that any keeper heard, and complains when the promises about goals are broken.
type witness struct {
	t  *testing.T
	mu sync.Mutex
	// heard maps node and stamp to content; newest is the newest that a node was told, by either way.
	heard  map[string]string
	newest map[fsm.NodeID]fsm.Stamp
	count  int
}

func newWitness(t *testing.T) *witness {
	t.Helper()
	return &witness{t: t, heard: map[string]string{}, newest: map[fsm.NodeID]fsm.Stamp{}}
}

func (w *witness) hear(goal fsm.Goal) {
	if goal.State == fsm.StateInit {
		return
	}
	raw, err := json.Marshal(goal)
	if err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprintf("%d %s", goal.Node, goal.Stamp)
	if old, ok := w.heard[key]; ok && old != string(raw) {
		w.t.Errorf("two goals with the stamp %s:\n%s\n%s", key, old, raw)
	}
	w.heard[key] = string(raw)
	w.count++
	if goal.Compare(w.newest[goal.Node]) > 0 {
		w.newest[goal.Node] = goal.Stamp
	}
}

func (w *witness) total() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

func (w *witness) top() fsm.Stamp {
	w.mu.Lock()
	defer w.mu.Unlock()
	var top fsm.Stamp
	for _, s := range w.newest {
		if s.Compare(top) > 0 {
			top = s
		}
	}
	return top
}

// keeper pretends to be a node: it reports what it was told, at once and at every heartbeat, over connections that come and go.
type keeper struct {
	client *monitorapi.Client
	id     fsm.NodeID
	token  string
	beat   time.Duration
	// behave turns a goal into a report; nil reports that the goal is reached.
	behave func(fsm.Goal) fsm.Report
	hear   func(fsm.Goal)

	mu   sync.Mutex
	goal fsm.Goal
	mute bool
}

// run lives until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		goals, err := k.client.Goals(ctx, k.id)
		if err != nil {
			k.report(ctx) // as a real keeper does: heartbeats do not wait for the stream
			sleep(ctx, k.beat)
			continue
		}
		k.listen(ctx, goals)
	}
}

func (k *keeper) listen(ctx context.Context, goals <-chan fsm.Goal) {
	tick := time.NewTicker(k.beat)
	defer tick.Stop()
	for {
		select {
		case goal, ok := <-goals:
			if !ok {
				return
			}
			k.take(goal)
			k.report(ctx)
		case <-tick.C:
			k.report(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (k *keeper) take(goal fsm.Goal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hear != nil {
		k.hear(goal)
	}
	if goal.State != fsm.StateInit && goal.Compare(k.goal.Stamp) > 0 {
		k.goal = goal
	}
}

func (k *keeper) report(ctx context.Context) {
	k.mu.Lock()
	goal, mute := k.goal, k.mute
	k.mu.Unlock()
	if mute {
		return
	}
	r := fsm.Report{State: goal.State, Obeyed: goal.Stamp, Reached: goal.Stamp, PrimarySeenMS: -1, CommitAgeMS: -1}
	if k.behave != nil {
		r = k.behave(goal)
	}
	if r.State == "" {
		r.State = fsm.StateInit
	}
	r.Node, r.Token = k.id, k.token
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if goal, err := k.client.Report(short, r); err == nil {
		k.take(goal)
	}
}

func (k *keeper) present() fsm.Goal {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.goal
}

func (k *keeper) setMute(mute bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mute = mute
}

// newKeeper registers a node and lets its keeper live until the test ends.
func newKeeper(b *bench, i int, change func(*keeper)) *keeper {
	b.t.Helper()
	client := b.dial()
	r := registration(i)
	got, err := client.Register(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	k := &keeper{client: client, id: got.Node, token: r.Token, beat: 100 * time.Millisecond}
	change(k)
	k.live(b)
	return k
}

// live lets the keeper run until the test ends.
func (k *keeper) live(b *bench) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(ctx)
	}()
	b.t.Cleanup(func() {
		cancel()
		<-done
	})
}
