package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// run is a nemesis at work, with the clients that must not notice more than they
// have to.
type run struct {
	n       *nemesis
	inserts []*inserts
	reg     *register
	loads   []workload
	events  []monitorapi.Event
	// reported counts what was wrong with a workload and has been noted.
	reported map[string]int
	checked  time.Time
	ended    float64 // when the clients did
}

// start starts the clients.
func start(t *testing.T, n *nemesis) *run {
	t.Helper()
	r := &run{n: n, reported: map[string]int{}, checked: time.Now()}
	n.learn = r.learn
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var err error
	if r.inserts, err = startInserts(ctx, n); err != nil {
		t.Fatal(err)
	}
	for _, in := range r.inserts {
		r.loads = append(r.loads, in)
	}
	money, err := startTransfers(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if r.reg, err = startRegister(ctx, n); err != nil {
		t.Fatal(err)
	}
	r.loads = append(r.loads, money, r.reg)
	return r
}

func (r *run) stop() {
	var wg sync.WaitGroup
	for _, w := range r.loads {
		wg.Go(w.stop)
	}
	if r.ended == 0 {
		r.ended = r.n.rec.now()
	}
	wg.Wait()
}

// Checks read everything that there is: they come not more often than this.
const checkEvery = 90 * time.Second

// bursts breaks and heals until the time is over.
func (r *run) bursts(ctx context.Context, t *testing.T) {
	t.Helper()
	s := newSchedule(r.n.opt.seed, r.n.opt.only)
	for number := 1; r.n.rec.now() < r.n.opt.duration.Seconds() && ctx.Err() == nil; number++ {
		b, ok := r.burst(ctx, s, number)
		t.Logf("burst %d: %s", number, r.summary(b))
		if !ok {
			return
		}
		wait(ctx, s.quiet())
		r.learn(ctx)
		if time.Since(r.checked) > checkEvery {
			r.check(ctx)
			if err := r.write(false); err != nil {
				t.Error(err)
			}
		}
	}
}

// burst inflicts one plan and waits until the group has recovered from it.
func (r *run) burst(ctx context.Context, s *schedule, number int) (b Burst, ok bool) {
	rec := r.n.rec
	b = Burst{Number: number, Begin: rec.now()}
	var wg sync.WaitGroup
	for _, p := range s.burst() {
		wg.Go(func() { r.n.inflict(ctx, p, number) })
	}
	wg.Wait()
	if err := r.n.heal(ctx); err != nil {
		rec.anomaly("harness", "heal: "+err.Error(), "")
	}
	b.Healed = rec.now()
	b.Whole, ok = r.n.converge(ctx)
	if ok {
		r.n.replaced.Store(false) // all nodes were handed over
		r.serves(ctx)
	}
	rec.edit(func(rep *Report) {
		rep.Bursts = append(rep.Bursts, b)
		var took []*Fault
		for _, f := range rep.Faults {
			if f.Burst == number && f.Skipped == "" {
				took = append(took, f)
			}
		}
		if len(took) == 1 {
			took[0].Alone = true
		}
	})
	return b, ok
}

// servesWithin is how long clients of a group that is whole may be without an
// answer: connections of theirs may still wait for a host that is gone.
const servesWithin = 15 * time.Second

// serves demands that a write is acknowledged.
func (r *run) serves(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, servesWithin, errors.New("timed out"))
	defer cancel()
	if _, err := r.inserts[0].w.AwaitWrite(ctx); err != nil {
		r.n.rec.anomaly("P3", "the group is whole, but: "+err.Error(), r.n.c.Picture())
	}
}

func (r *run) summary(b Burst) string {
	r.n.rec.mu.Lock()
	defer r.n.rec.mu.Unlock()
	var text strings.Builder
	for _, f := range r.n.rec.report.Faults {
		if f.Burst != b.Number {
			continue
		}
		fmt.Fprintf(&text, "%s %s (%s) %.1f s", f.Kind, f.Host, f.Role, f.End-f.Begin)
		if f.Skipped != "" {
			text.WriteString(" skipped")
		}
		text.WriteString(", ")
	}
	if b.Whole == 0 {
		return text.String() + "not whole in time"
	}
	return text.String() + fmt.Sprintf("whole after %.1f s", b.Whole-b.Healed)
}

// check holds what clients were told against what the primary has.
func (r *run) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var sums []Workload
	for _, w := range r.loads {
		sum, err := w.check(ctx)
		if err != nil {
			r.n.rec.anomaly("harness", err.Error(), r.n.c.Picture())
			continue
		}
		sums = append(sums, sum)
		if sum.Asserted && sum.Wrong > r.reported[sum.Name] {
			r.reported[sum.Name] = sum.Wrong
			r.n.rec.anomaly("P1", sum.Name+": "+sum.Note, sum.Evidence)
		}
	}
	r.n.rec.edit(func(rep *Report) { rep.Workloads = sums })
	r.checked = time.Now()
}

// finish stops the clients and checks everything once more.
func (r *run) finish(ctx context.Context) {
	r.stop()
	r.check(ctx)
	r.learn(ctx)
	if acks, err := r.acks(); err != nil {
		r.n.rec.anomaly("harness", err.Error(), "")
	} else if two := ledger.Check(ledger.Journal{Acks: acks}, nil).TwoWriters; len(two) > 0 {
		r.n.rec.anomaly("P2", fmt.Sprintf("%d writes acknowledged by a former primary after its successor's first: %+v", len(two), two[:min(5, len(two))]), "")
	}
	r.compareNodes(ctx)
}

// acks are the acknowledgements that P1 and P2 are about, of all settings.
func (r *run) acks() ([]ledger.Ack, error) {
	var all []ledger.Ack
	for _, in := range r.inserts {
		if !in.asserted {
			continue
		}
		acks, err := in.acks()
		if err != nil {
			return nil, err
		}
		all = append(all, acks...)
	}
	return all, nil
}

// compareWithin is how long standbys may be behind when nobody writes any more.
const compareWithin = 30 * time.Second

// compareNodes demands that all nodes hold the same rows, which a standby that
// follows another history does not (S3).
func (r *run) compareNodes(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, compareWithin)
	defer cancel()
	for {
		err := r.compare(ctx)
		if err == nil {
			return
		}
		if !wait(ctx, 500*time.Millisecond) {
			r.n.rec.anomaly("S3", "the nodes do not hold the same rows: "+err.Error(), "")
			return
		}
	}
}

func (r *run) compare(ctx context.Context) error {
	for _, node := range r.n.nodes {
		c := &client{n: r.n}
		if err := c.connect(ctx, c.one(node)); err != nil {
			return fmt.Errorf("%s: %w", node.Name, err)
		}
		var there bool
		err := c.conn.QueryRow(ctx, "select to_regclass('"+forked+"') is not null").Scan(&there)
		c.close()
		if err != nil || there {
			return fmt.Errorf("%s: it has what a fork wrote: %v (%w)", node.Name, there, err)
		}
	}
	tables := []string{"account", "transfer", "register"}
	for _, in := range r.inserts {
		tables = append(tables, in.table)
	}
	for _, table := range tables {
		var first string
		for _, node := range r.n.nodes {
			sum, err := r.contents(ctx, node, table)
			if err != nil {
				return fmt.Errorf("%s: %w", node.Name, err)
			}
			if first == "" {
				first = sum
			}
			if sum != first {
				return fmt.Errorf("%s: %s on %s, %s on %s", table, first, r.n.nodes[0].Name, sum, node.Name)
			}
		}
	}
	return nil
}

// contents is how many rows of a table a node has, and a sum over them.
func (r *run) contents(ctx context.Context, node *cluster.Node, table string) (string, error) {
	c := &client{n: r.n}
	defer c.close()
	if err := c.connect(ctx, c.one(node)); err != nil {
		return "", err
	}
	var sum string
	err := c.conn.QueryRow(ctx, "select count(*) || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)), 0) from "+table+" t").Scan(&sum)
	return sum, err
}
