package soak

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// register is a value under a key, and clients that write, compare and set, and
// read it on the primary. Each write has a value of its own.
//
// A read is confirmed when it commits a record of its own, which has to reach
// the standbys like any write: a former primary that nobody follows cannot
// confirm. A plain read is one without; it may see what a former primary still
// has, or what was never confirmed, and is counted only.
type register struct {
	n      *nemesis
	cancel context.CancelFunc
	wg     sync.WaitGroup
	values atomic.Int64

	mu      sync.Mutex
	ops     []operation
	judged  map[int64]judgement // of keys that nobody uses any more
	stopped bool
}

// kindOf is what an operation does.
type kindOf int

const (
	opWrite kindOf = iota
	opSwap         // compare and set
	opRead
	opPlainRead
)

// operation is one of a history. Times are nanoseconds on one monotonic clock.
type operation struct {
	kind   kindOf
	client int
	key    int64
	// value is what is written or was read, 0 for nothing there; old is what a swap
	// expects.
	value, old int64
	swapped    bool
	call, back int64
	// pending operations have no known end: they may take effect at any later time,
	// or never.
	pending bool
}

const (
	registerClients = 3
	// keyLife is how long a key is used: short histories are checked fast.
	keyLife = 20 * time.Second
)

func startRegister(ctx context.Context, n *nemesis) (*register, error) {
	r := &register{n: n, judged: map[int64]judgement{}}
	c := &client{n: n}
	defer c.close()
	if _, _, err := c.exec(ctx, "create table register (k bigint primary key, v bigint not null)"); err != nil {
		return nil, fmt.Errorf("make the register: %w", err)
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range registerClients {
		r.wg.Go(func() { r.client(ctx, i) })
	}
	return r, nil
}

func (r *register) stop() {
	r.cancel()
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

func (r *register) clock() int64 { return int64(time.Since(r.n.rec.began)) }

// key is the one in use at a time.
func key(at int64) int64 { return at/int64(keyLife) + 1 }

func (r *register) client(ctx context.Context, id int) {
	c := &client{n: r.n}
	defer c.close()
	var seen int64
	for wait(ctx, 60*time.Millisecond+time.Duration(rand.Int64N(int64(60*time.Millisecond)))) {
		op := operation{client: id, kind: []kindOf{opWrite, opSwap, opRead, opRead, opPlainRead}[rand.IntN(5)]}
		// A connection first: an operation begins when there is somebody to ask.
		connecting, cancel := context.WithTimeout(ctx, statementTimeout)
		err := c.connect(connecting, c.anyPrimary())
		cancel()
		if err != nil {
			c.conn = nil
			continue
		}
		op.call = r.clock()
		op.key = key(op.call)
		if op.kind == opWrite || op.kind == opSwap {
			op.value = r.values.Add(1)
		}
		op.old = seen
		if done := r.perform(ctx, c, &op); done {
			r.mu.Lock()
			r.ops = append(r.ops, op)
			r.mu.Unlock()
		}
		if !op.pending {
			seen = op.value
		}
	}
}

// confirm makes a transaction write a record that is replicated like a row.
const confirm = "; select pg_logical_emit_message(true, 'soak', '')"

// perform executes an operation; false when it has neither happened nor told
// anything.
func (r *register) perform(ctx context.Context, c *client, op *operation) bool {
	read := fmt.Sprintf("select v from register where k = %d", op.key)
	sql := map[kindOf]string{
		opWrite:     fmt.Sprintf("insert into register values (%d, %d) on conflict (k) do update set v = excluded.v", op.key, op.value),
		opSwap:      fmt.Sprintf("update register set v = %d where k = %d and v = %d", op.value, op.key, op.old) + confirm,
		opRead:      read + confirm,
		opPlainRead: read,
	}[op.kind]
	results, sent, err := c.exec(ctx, sql)
	op.back = r.clock()
	if err != nil {
		op.pending = true
		return sent && (op.kind == opWrite || op.kind == opSwap)
	}
	if op.kind != opPlainRead {
		r.n.answered(c.conn)
	}
	switch op.kind {
	case opRead, opPlainRead:
		op.value, _ = number(results[0])
	case opSwap:
		op.swapped = results[0].CommandTag.RowsAffected() > 0
	default:
	}
	return true
}

// check judges the history so far; keys that are still in use wait for the next
// time. When the clients have ended, what is there in the end was read as well.
func (r *register) check(ctx context.Context) (Workload, error) {
	now := key(r.clock())
	r.mu.Lock()
	ops, stopped := r.ops, r.stopped
	r.mu.Unlock()
	if stopped {
		last, err := r.last(ctx)
		if err != nil {
			return Workload{}, fmt.Errorf("read the register: %w", err)
		}
		ops = append(slices.Clone(ops), lastReads(ops, last, r.clock())...)
	}
	sum := Workload{Name: "register, linearizable", Asserted: true}
	perKey := map[int64][]operation{}
	for _, op := range ops {
		if op.pending {
			sum.Unknown++
		} else {
			sum.Acknowledged++
		}
		perKey[op.key] = append(perKey[op.key], op)
	}
	plain, undecided := 0, 0
	for _, k := range slices.Sorted(maps.Keys(perKey)) {
		j, known := r.judged[k]
		if stopped || !known && k < now-1 {
			j = judge(perKey[k])
			r.judged[k] = j
		}
		sum.Wrong += count(j.violated)
		plain += count(j.plain)
		undecided += count(j.undecided)
		if j.violated && sum.Note == "" {
			sum.Note, sum.Evidence = fmt.Sprintf("the history of key %d is not linearizable", k), describe(perKey[k])
		}
	}
	if stopped && undecided*10 > len(r.judged) {
		return sum, fmt.Errorf("the search took too long for %d of %d keys of the register: too little is proved", undecided, len(r.judged))
	}
	if sum.Note == "" {
		sum.Note = fmt.Sprintf("%d keys checked, %d undecided; in %d a read that was not confirmed saw what is gone or not confirmed yet", len(r.judged), undecided, plain)
	}
	return sum, nil
}

// records are the histories of all keys, for those who look into an anomaly.
func (r *register) records() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []byte(describe(r.ops))
}

// lastReads are operations that read what is there in the end.
func lastReads(ops []operation, last map[int64]int64, now int64) []operation {
	keys := map[int64]bool{}
	for _, op := range ops {
		keys[op.key] = true
	}
	var reads []operation
	for k := range keys {
		reads = append(reads, operation{kind: opRead, client: registerClients, key: k, value: last[k], call: now, back: now + 1})
	}
	return reads
}

// last is the value of every key on the primary.
func (r *register) last(ctx context.Context) (map[int64]int64, error) {
	for {
		c := &client{n: r.n}
		results, _, err := c.exec(ctx, "select k, v from register"+confirm)
		c.close()
		if err == nil {
			all := map[int64]int64{}
			for _, row := range results[0].Rows {
				k, _ := strconv.ParseInt(string(row[0]), 10, 64)
				all[k], _ = strconv.ParseInt(string(row[1]), 10, 64)
			}
			return all, nil
		}
		if !wait(ctx, 100*time.Millisecond) {
			return nil, err
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
