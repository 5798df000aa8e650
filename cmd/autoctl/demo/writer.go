package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// clients is how many write at once: writes pause only while none of them gets through.
const clients = 4

// The clients' own patience: what a sensible application sets.
const (
	connectTimeout   = time.Second
	statementTimeout = 2 * time.Second
)

// row identifies one written row.
type row struct{ client, n int64 }

// writer writes rows through the multi-host URI and keeps the ledger: a row is in it only when the server acknowledged it.
type writer struct {
	uri    string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	next [clients]int64 // the last number that each client used

	mu     sync.Mutex
	paused bool
	ledger []row
	last   time.Time
	gaps   []gap
}

// gap is a time without any acknowledged write.
type gap struct{ from, to time.Time }

func newWriter(uri string) *writer { return &writer{uri: uri} }

func (w *writer) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*connectTimeout)
	defer cancel()
	config, err := pgx.ParseConfig(w.uri)
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = connectTimeout
	return pgx.ConnectConfig(ctx, config)
}

func (w *writer) prepare(ctx context.Context) error {
	conn, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `create table if not exists acknowledged (client bigint, n bigint, at timestamptz not null default now(), primary key (client, n))`)
	return err
}

func (w *writer) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.mu.Lock()
	w.last, w.paused = time.Now(), false
	w.mu.Unlock()
	for c := range int64(clients) {
		w.wg.Go(func() { w.client(ctx, c) })
	}
}

// stop ends the clients; calling it again is harmless, and so is start after it.
func (w *writer) stop() {
	w.mu.Lock()
	w.paused = true
	w.mu.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
	w.wg.Wait()
}

// client writes until ctx ends. A row whose outcome is unknown is given up: the next has another number.
func (w *writer) client(ctx context.Context, c int64) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = w.connect(ctx); err != nil {
				conn = nil
				wait(ctx, 10*time.Millisecond)
				continue
			}
		}
		w.next[c]++
		if r := (row{c, w.next[c]}); w.insert(ctx, conn, r) == nil {
			w.acknowledged(r)
			wait(ctx, 5*time.Millisecond) // a demonstration, not a benchmark: leave the machine some air
			continue
		}
		_ = conn.Close(ctx)
		conn = nil
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (w *writer) insert(ctx context.Context, conn *pgx.Conn, r row) error {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, "insert into acknowledged (client, n) values ($1, $2)", r.client, r.n)
	return err
}

func (w *writer) acknowledged(r row) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ledger = append(w.ledger, r)
	if now.Sub(w.last) > 20*time.Millisecond {
		w.gaps = append(w.gaps, gap{w.last, now})
	}
	w.last = now
}

// mark is a moment to measure from.
func (w *writer) mark() time.Time { return time.Now() }

// gapSince is the longest time without an acknowledged write that ended after the mark.
func (w *writer) gapSince(mark time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	longest := time.Duration(0)
	for _, g := range w.gaps {
		if g.to.After(mark) {
			longest = max(longest, g.to.Sub(g.from))
		}
	}
	return longest
}

// writesSince reports whether writes are acknowledged again after a pause that ended after the mark, or never paused.
func (w *writer) writesSince(mark time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.After(mark) && time.Since(w.last) < 100*time.Millisecond
}

// status is the writer's line under the table.
func (w *writer) status() string {
	if w == nil {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%d rows acknowledged", len(w.ledger))
	if pause := time.Since(w.last); pause > 100*time.Millisecond && !w.paused {
		text += fmt.Sprintf(", none for %.1f s", pause.Seconds())
	}
	return text
}

// compare reads all rows back and counts those of the ledger that are not there.
func (w *writer) compare(ctx context.Context) (acknowledged, missing int, err error) {
	conn, err := w.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "select client, n from acknowledged")
	if err != nil {
		return 0, 0, err
	}
	there := map[row]bool{}
	var r row
	if _, err := pgx.ForEachRow(rows, []any{&r.client, &r.n}, func() error { there[r] = true; return nil }); err != nil {
		return 0, 0, err
	}
	for _, r := range w.ledger {
		if !there[r] {
			missing++
		}
	}
	return len(w.ledger), missing, nil
}
