package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// nemesis breaks a cluster.
type nemesis struct {
	opt      options
	c        *cluster.Cluster
	operator *machine.Host // where commands are given, which nobody breaks
	nodes    []*cluster.Node
	data     map[string]*machine.Volume // under PGDATA, by host
	state    map[string]*machine.Volume // under what daemons remember
	rec      *recorder
	serving  atomic.Value // name of the node that acknowledged last
	revived  map[string]time.Time

	learn    func(context.Context) // fetches the events that the monitor has
	saved    atomic.Bool           // whether there is a copy of the monitor's data that knows all nodes
	replaced atomic.Bool           // whether the monitor is not the first any more
	fakeTime string                // library that moves clocks, or ""

	mu     sync.Mutex
	claims map[string]bool
	ahead  map[string]bool // hosts whose clock is an hour ahead
}

// injection is a fault while it lasts.
type injection struct {
	*Fault
	node, other *cluster.Node
	rng         *rand.Rand
}

// undo ends what a fault did; nil where nothing is left to end.
type undo func(context.Context) error

// errSkip says that there is nothing for this fault to do now.
var errSkip = errors.New("nothing to do")

// isPrimary reports whether clients were last answered by the node.
func (n *nemesis) isPrimary(node *cluster.Node) bool {
	name, _ := n.serving.Load().(string)
	return name == node.Name
}

// targets picks what a planned fault is about and claims it, so that no other
// fault of the burst undoes it; false when all is taken.
func (n *nemesis) targets(p planned) (*injection, func(), bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x := &injection{Fault: &Fault{Kind: p.kind.name}, rng: rand.New(rand.NewPCG(p.dice, 1))}
	if p.kind.on == onMonitor {
		x.node = n.c.Monitor
		x.Role = "monitor"
	}
	if p.kind.on == onNode || p.kind.on == onLink {
		x.node = n.pick(x.rng, p.primary, func(node *cluster.Node) bool { return n.free(p.kind, node.Name) })
		if x.node == nil {
			return nil, nil, false
		}
		x.Role = "standby"
		if n.isPrimary(x.node) {
			x.Role = "primary"
		}
	}
	claims := p.kind.claims("")
	x.Host = "group"
	if x.node != nil {
		x.Host, claims = x.node.Name, p.kind.claims(x.node.Name)
	}
	if p.kind.on == onLink {
		x.other = n.pick(x.rng, false, func(node *cluster.Node) bool { return node != x.node })
		claims = append(claims, "network "+min(x.Host, x.other.Name)+" "+max(x.Host, x.other.Name))
		x.Detail = x.Host + " and " + x.other.Name
	}
	if slices.ContainsFunc(claims, n.taken) {
		return nil, nil, false
	}
	for _, claim := range claims {
		n.claims[claim] = true
	}
	release := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, claim := range claims {
			delete(n.claims, claim)
		}
	}
	return x, release, true
}

// pick chooses among the nodes that fit, the primary or a standby first.
func (n *nemesis) pick(rng *rand.Rand, primary bool, fits func(*cluster.Node) bool) *cluster.Node {
	var second *cluster.Node
	for _, i := range rng.Perm(len(n.nodes)) {
		node := n.nodes[i]
		if !fits(node) {
			continue
		}
		if n.isPrimary(node) == primary {
			return node
		}
		second = node
	}
	return second
}

func (n *nemesis) free(k *kind, name string) bool {
	if k.needs != nil && !k.needs(n, name) {
		return false
	}
	return !slices.ContainsFunc(k.claims(name), n.taken)
}

// taken reports whether a claim, or one that includes it or is included in it,
// is made already: "network" is all that begins so.
func (n *nemesis) taken(claim string) bool {
	for other := range n.claims {
		if other == claim || strings.HasPrefix(claim, other+" ") || strings.HasPrefix(other, claim+" ") && !strings.Contains(claim, " ") {
			return true
		}
	}
	return false
}

// inflict executes one planned fault from its beginning to its end.
func (n *nemesis) inflict(ctx context.Context, p planned, burst int) {
	if !wait(ctx, p.after) {
		return
	}
	x, release, ok := n.targets(p)
	if !ok {
		n.rec.edit(func(r *Report) {
			now := n.rec.now()
			r.Faults = append(r.Faults, &Fault{Burst: burst, Kind: p.kind.name, Host: "group", Begin: now, End: now, Skipped: "everything it could be about is taken"})
		})
		return
	}
	defer release()
	x.Burst, x.Begin = burst, n.rec.now()
	undo, err := p.kind.begin(ctx, n, x)
	if err == nil && undo != nil {
		wait(ctx, p.hold)
		err = undo(context.WithoutCancel(ctx))
	}
	x.End = n.rec.now()
	switch {
	case errors.Is(err, errSkip):
		x.Skipped = err.Error()
	case err != nil:
		x.Result = strings.TrimSpace(x.Result + " " + err.Error())
	}
	n.rec.edit(func(r *Report) { r.Faults = append(r.Faults, x.Fault) })
}

// commandWithin is how long an operator's command may take, those who wait for
// the end of their work included.
const commandWithin = 75 * time.Second

// command gives an operator's command and adds what it answered to the fault.
func (n *nemesis) command(ctx context.Context, x *injection, args ...string) (code int, err error) {
	return n.commandOn(ctx, n.operator, x, append(args, "--monitor", n.c.MonitorURI())...)
}

func (n *nemesis) commandOn(ctx context.Context, h *machine.Host, x *injection, args ...string) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, commandWithin)
	defer cancel()
	began := time.Now()
	r, err := n.c.TryCommandOn(ctx, h, args...)
	if err != nil {
		return -1, fmt.Errorf("autoctl %s did not end: %w", args[0], err)
	}
	said := firstLine(r.Stderr)
	if r.Code == 0 {
		said = "done"
	}
	x.Result = strings.TrimSpace(fmt.Sprintf("%s %s %s: exit code %d after %.1f s (%s);", x.Result, args[0], args[1], r.Code, time.Since(began).Seconds(), said))
	if !expected[r.Code] {
		n.rec.anomaly("exit codes", fmt.Sprintf("autoctl %s: exit code %d", strings.Join(args, " "), r.Code), r.Stdout+r.Stderr)
	}
	return r.Code, nil
}

// expected are the exit codes that a command may have while things are broken.
var expected = map[int]bool{
	0: true, cluster.ExitFailed: true, cluster.ExitRefused: true, cluster.ExitTimeout: true, cluster.ExitNothing: true,
	cluster.ExitUnreachable: true, cluster.ExitNotRunning: true, cluster.ExitPrecondition: true, cluster.ExitDropped: true,
}

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return s[:min(len(s), 300)]
}

// wait waits; false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
