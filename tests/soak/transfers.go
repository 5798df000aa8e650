package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// transfers are clients that move money between accounts, and others that add it
// all up, on the primary and on the standbys. Each transfer is also written down
// in a table, in the same transaction.
type transfers struct {
	n      *nemesis
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex
	sent      map[int64]bool // true: acknowledged
	snapshots int
	wrong     []string
}

const (
	accounts = 8
	opening  = 1000
	movers   = 2
)

func startTransfers(ctx context.Context, n *nemesis) (*transfers, error) {
	t := &transfers{n: n, sent: map[int64]bool{}}
	c := &client{n: n}
	defer c.close()
	_, _, err := c.exec(ctx, fmt.Sprintf("create table account (id int primary key, balance bigint not null);"+
		"create table transfer (id bigint primary key, source int not null, target int not null, amount bigint not null);"+
		"insert into account select i, %d from generate_series(1, %d) i", opening, accounts))
	if err != nil {
		return nil, fmt.Errorf("open the accounts: %w", err)
	}
	ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range movers {
		t.wg.Go(func() { t.move(ctx, int64(i+1)<<32) })
	}
	t.wg.Go(func() { t.audit(ctx) })
	return t, nil
}

func (t *transfers) stop() {
	t.cancel()
	t.wg.Wait()
}

// move transfers again and again; each has an id of its own, and is never sent
// twice.
func (t *transfers) move(ctx context.Context, id int64) {
	c := &client{n: t.n}
	defer c.close()
	for wait(ctx, 80*time.Millisecond+time.Duration(rand.Int64N(int64(40*time.Millisecond)))) {
		id++
		a, b := 1+rand.IntN(accounts), 1+rand.IntN(accounts-1)
		if b >= a {
			b++
		}
		amount := rand.IntN(100) - 50
		// The accounts are always locked in the same order.
		if a > b {
			a, b, amount = b, a, -amount
		}
		t.mu.Lock()
		t.sent[id] = false
		t.mu.Unlock()
		_, sent, err := c.exec(ctx, fmt.Sprintf("insert into transfer values (%d, %d, %d, %d);"+
			"update account set balance = balance - %d where id = %d; update account set balance = balance + %d where id = %d",
			id, a, b, amount, amount, a, amount, b))
		t.mu.Lock()
		switch {
		case err == nil:
			t.sent[id] = true
			t.n.answered(c.conn)
		case !sent:
			delete(t.sent, id)
		}
		t.mu.Unlock()
	}
}

// sums compares, in one snapshot, all that there is with what there was, and
// each balance with the transfers that were written down.
const sums = `select coalesce(sum(balance), 0), count(*) filter (where balance <> $1 + coalesce(came, 0) - coalesce(went, 0))
from account
left join (select target, sum(amount) as came from transfer group by 1) as t on target = id
left join (select source, sum(amount) as went from transfer group by 1) as s on source = id`

// audit looks at one node after the other.
func (t *transfers) audit(ctx context.Context) {
	for i := 0; wait(ctx, time.Second); i++ {
		node := t.n.nodes[i%len(t.n.nodes)]
		c := &client{n: t.n}
		total, differ, err := t.snapshot(ctx, c, c.one(node))
		c.close()
		if err != nil {
			continue // A node that answers nothing says nothing wrong.
		}
		t.mu.Lock()
		t.snapshots++
		if total != accounts*opening || differ > 0 {
			t.wrong = append(t.wrong, fmt.Sprintf("%.1f s: on %s the sum is %d, and %d balances differ from what was transferred", t.n.rec.now(), node.Name, total, differ))
		}
		t.mu.Unlock()
	}
}

func (t *transfers) snapshot(ctx context.Context, c *client, uri string) (total, differ int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	if err := c.connect(ctx, uri); err != nil {
		return 0, 0, err
	}
	err = c.conn.QueryRow(ctx, sums, opening).Scan(&total, &differ)
	return total, differ, err
}

func (t *transfers) check(ctx context.Context) (Workload, error) {
	t.mu.Lock()
	acknowledged := map[int64]bool{}
	for id, acked := range t.sent {
		if acked {
			acknowledged[id] = true
		}
	}
	t.mu.Unlock()
	present, err := t.present(ctx)
	if err != nil {
		return Workload{}, fmt.Errorf("read the transfers: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := Workload{Name: "transfers between accounts", Asserted: true, Acknowledged: len(acknowledged), Unknown: len(t.sent) - len(acknowledged)}
	var lost, invented []int64
	for id := range acknowledged {
		if !present[id] {
			lost = append(lost, id)
		}
	}
	for id := range present {
		if _, sent := t.sent[id]; !sent {
			invented = append(invented, id)
		}
	}
	var errs []error
	if len(lost) > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged transfers are lost: %v", len(lost), lost[:min(5, len(lost))]))
	}
	if len(invented) > 0 {
		errs = append(errs, fmt.Errorf("%d transfers that nobody sent: %v", len(invented), invented[:min(5, len(invented))]))
	}
	for _, w := range t.wrong[:min(5, len(t.wrong))] {
		errs = append(errs, errors.New(w))
	}
	sum.Wrong = len(lost) + len(invented) + len(t.wrong)
	sum.Note = fmt.Sprintf("%d snapshots added up, on all nodes", t.snapshots)
	if err := errors.Join(errs...); err != nil {
		sum.Note = err.Error()
	}
	return sum, nil
}

// present reads the transfers that the primary has.
func (t *transfers) present(ctx context.Context) (map[int64]bool, error) {
	for {
		all, err := t.read(ctx)
		if err == nil || ctx.Err() != nil {
			return all, err
		}
		wait(ctx, 100*time.Millisecond)
	}
}

func (t *transfers) read(ctx context.Context) (map[int64]bool, error) {
	c := &client{n: t.n}
	defer c.close()
	if err := c.connect(ctx, c.anyPrimary()); err != nil {
		return nil, err
	}
	rows, err := c.conn.Query(ctx, "select id from transfer")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		all[id] = true
	}
	return all, rows.Err()
}
