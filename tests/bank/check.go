package bank

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/ledger"
)

// account is what the formation says of one.
type account struct{ ID, Client, Balance, Touched int }

// entry is one row of those that clients wrote.
type entry struct{ Account, Client, Seq int }

// found is all that the formation has at the end.
type found struct {
	accounts []account
	entries  []entry
	rates    map[int]int // by client
}

// Verify stops the clients and compares what they were told with what the formation has, which it asks for again until ctx ends while it gets no answer.
func (b *Bank) Verify(ctx context.Context) (acknowledged int, err error) {
	b.Stop()
	for {
		f, err := b.read(ctx)
		if err == nil {
			return b.check(f)
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("read what is there: %w", err)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func (b *Bank) read(ctx context.Context) (f found, err error) {
	conn, err := b.connect(ctx, b.cfg.Coordinator, nil)
	if err != nil {
		return f, err
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, `select id, client, balance, touched from accounts`)
	if err != nil {
		return f, err
	}
	if f.accounts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[account]); err != nil {
		return f, err
	}
	if rows, err = conn.Query(ctx, `select account, client, seq from entries`); err != nil {
		return f, err
	}
	if f.entries, err = pgx.CollectRows(rows, pgx.RowToStructByPos[entry]); err != nil {
		return f, err
	}
	if rows, err = conn.Query(ctx, `select client, seq from rates`); err != nil {
		return f, err
	}
	f.rates = map[int]int{}
	var id, seq int
	_, err = pgx.ForEachRow(rows, []any{&id, &seq}, func() error { f.rates[id] = seq; return nil })
	return f, err
}

// check compares the journals with what is there.
func (b *Bank) check(f found) (acknowledged int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sides := map[ledger.Row]int{}
	balances, touched := map[int]int{}, map[int]int{}
	for _, e := range f.entries {
		if e.Client < 1 || e.Client > len(b.clients) {
			return 0, fmt.Errorf("an entry of nobody: %+v", e)
		}
		c := b.clients[e.Client-1]
		sides[ledger.Row{Client: e.Client, Seq: e.Seq}]++
		if c.kind.name != "transfer" {
			touched[e.Account]++
			continue
		}
		for amount, id := range c.sides(e.Seq) {
			if id == e.Account {
				balances[id] += amount
			}
		}
	}
	var errs []error
	journal := ledger.Journal{Sent: map[ledger.Row]bool{}}
	var present []ledger.Row
	for r, n := range sides {
		present = append(present, r)
		if want := b.clients[r.Client-1].rows(); n != want {
			errs = append(errs, fmt.Errorf("%s: %d rows of number %d, want %d: half of it is missing", b.clients[r.Client-1].name(), n, r.Seq, want))
		}
	}
	for _, c := range b.clients {
		acknowledged += len(c.acked)
		errs = append(errs, c.note(&journal, f.rates))
	}
	for _, a := range f.accounts {
		errs = append(errs, b.balanced(a, balances[a.ID], touched[a.ID]))
	}
	return acknowledged, errors.Join(append(errs, ledger.Check(journal, present).Err())...)
}

// rows is how many entries an operation of the client makes.
func (c *client) rows() int {
	if c.kind.name == "transfer" {
		return 2
	}
	return 1
}

// note adds the client's record to the journal, or compares its rate with it.
func (c *client) note(j *ledger.Journal, rates map[int]int) error {
	if c.kind.writes {
		for seq := 1; seq <= c.sent; seq++ {
			j.Sent[ledger.Row{Client: c.id, Seq: seq}] = true
			if c.acked[seq] {
				j.Acks = append(j.Acks, ledger.Ack{Row: ledger.Row{Client: c.id, Seq: seq}})
			}
		}
		return nil
	}
	last := 0
	for seq := range c.acked {
		last = max(last, seq)
	}
	if rate := rates[c.id]; c.kind.name == "reference" && (rate < last || rate > c.sent) {
		return fmt.Errorf("%s: the last number acknowledged is %d and the last sent %d, the table says %d", c.name(), last, c.sent, rate)
	}
	return nil
}

// balanced compares an account with the entries that are there.
func (b *Bank) balanced(a account, balance, entries int) error {
	c := b.clients[a.Client-1]
	if a.Balance != balance {
		return fmt.Errorf("%s: account %d has %d, its transfers say %d", c.name(), a.ID, a.Balance, balance)
	}
	if c.kind.both && a.Touched != entries {
		return fmt.Errorf("%s: account %d was touched %d times, and has %d entries", c.name(), a.ID, a.Touched, entries)
	}
	return nil
}
