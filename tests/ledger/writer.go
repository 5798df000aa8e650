package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Config says who writes where.
type Config struct {
	// URI names all hosts of the service; target_session_attrs=read-write is
	// added where it says nothing else.
	URI string
	// Dial reaches the hosts; nil for the ordinary network.
	Dial pgconn.DialFunc
	// File is the path of the journal, which must not exist.
	File string
	// Table defaults to "ledger"; every writer needs a table of its own.
	Table string
	// Distributed says that the table may be on another server than the one that is asked: whose timeline it is cannot be told then, and P2 is not checked.
	Distributed bool
	// Clients defaults to 4.
	Clients int
	// Pause is how long a client waits between two writes or two attempts to
	// connect, 5 ms by default.
	Pause time.Duration
	// StatementTimeout (2 s) and ConnectTimeout (1 s, each host) are the client's
	// own: the server is not asked for anything.
	StatementTimeout, ConnectTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Table == "" {
		c.Table = "ledger"
	}
	if c.Clients == 0 {
		c.Clients = 4
	}
	if c.Pause == 0 {
		c.Pause = 5 * time.Millisecond
	}
	if c.StatementTimeout == 0 {
		c.StatementTimeout = 2 * time.Second
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = time.Second
	}
	return c
}

// Writer is a set of clients at work, from Start until Stop.
type Writer struct {
	cfg     Config
	conn    *pgx.ConnConfig
	start   time.Time
	journal *journalFile
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	acks    []time.Duration
	sent    []time.Duration // of the same acknowledgements
	changed chan struct{}   // closed and replaced at every acknowledgement
	lastErr error
	broken  error // the journal failed: nothing is proved any more
	ended   time.Duration
}

// Start makes the table and lets the clients begin, each at a random phase.
func Start(ctx context.Context, cfg Config) (*Writer, error) {
	cfg = cfg.withDefaults()
	conn, err := connConfig(cfg)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, conn: conn, changed: make(chan struct{})}
	if err := w.createTable(ctx); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(cfg.File, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	w.journal, w.start = &journalFile{f: f}, time.Now()
	ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for i := range cfg.Clients {
		w.wg.Go(func() { w.client(ctx, i+1) })
	}
	return w, nil
}

func connConfig(cfg Config) (*pgx.ConnConfig, error) {
	conn, err := pgx.ParseConfig(cfg.URI)
	if err != nil {
		return nil, fmt.Errorf("parse the URI of the service: %w", err)
	}
	conn.ConnectTimeout = cfg.ConnectTimeout
	if conn.ValidateConnect == nil {
		conn.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if cfg.Dial != nil {
		conn.DialFunc = cfg.Dial
	}
	return conn, nil
}

func (w *Writer) createTable(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, w.conn)
	if err != nil {
		return fmt.Errorf("connect to the service: %w", err)
	}
	defer w.close(conn)
	_, err = conn.Exec(ctx, "create table "+pgx.Identifier{w.cfg.Table}.Sanitize()+
		" (client int not null, seq int not null, primary key (client, seq))")
	if err != nil {
		return fmt.Errorf("create the ledger: %w", err)
	}
	return nil
}

// client writes row after row until ctx ends. Whatever goes wrong, it connects
// anew and goes on with a new row.
func (w *Writer) client(ctx context.Context, id int) {
	var conn *pgx.Conn
	var warned bool
	defer func() {
		if conn != nil {
			w.close(conn)
		}
	}()
	cc := w.conn.Copy()
	cc.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		warned = warned || n.SeverityUnlocalized == "WARNING"
	}
	w.pause(ctx, time.Duration(rand.Int64N(int64(20*w.cfg.Pause))))
	for seq := 1; ctx.Err() == nil; {
		if conn == nil {
			c, err := pgx.ConnectConfig(ctx, cc)
			if err != nil {
				w.failed(err)
				w.pause(ctx, w.cfg.Pause)
				continue
			}
			conn = c
		}
		warned = false
		err := w.write(ctx, conn, Row{id, seq}, &warned)
		seq++
		if err != nil {
			w.failed(err)
			w.close(conn)
			conn = nil
		}
		w.pause(ctx, w.cfg.Pause)
	}
}

// write sends one row and records its fate.
func (w *Writer) write(ctx context.Context, conn *pgx.Conn, r Row, warned *bool) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.StatementTimeout)
	defer cancel()
	sent := w.Elapsed()
	if err := w.journal.intent(r, sent); err != nil {
		w.fail(err)
		return err
	}
	file, returning := "00000000", " returning pg_walfile_name(pg_current_wal_insert_lsn())"
	if w.cfg.Distributed {
		returning = " returning '00000000'"
	}
	err := conn.QueryRow(ctx, "insert into "+pgx.Identifier{w.cfg.Table}.Sanitize()+" values ($1, $2)"+returning, r.Client, r.Seq).Scan(&file)
	if err != nil {
		return err
	}
	if *warned {
		return errors.New("the server warned that the row might not have been replicated")
	}
	timeline, err := strconv.ParseUint(file[:8], 16, 32)
	if err != nil {
		return fmt.Errorf("timeline of %q: %w", file, err)
	}
	a := Ack{
		Row: r, Timeline: uint32(timeline), Server: conn.PgConn().Conn().RemoteAddr().String(),
		Sent: sent, At: w.Elapsed(),
	}
	if err := w.journal.ack(a); err != nil {
		w.fail(err)
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acks, w.sent = append(w.acks, w.Elapsed()), append(w.sent, sent)
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

// close ends a connection without waiting for a server that may be gone.
func (w *Writer) close(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

func (w *Writer) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (w *Writer) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastErr = err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = errors.Join(w.broken, fmt.Errorf("write the journal: %w", err))
}

// Elapsed is the writer's clock: monotonic, since Start.
func (w *Writer) Elapsed() time.Duration { return time.Since(w.start) }

// AwaitWrite waits until a row that was sent after the call is acknowledged,
// and returns when that was.
func (w *Writer) AwaitWrite(ctx context.Context) (time.Duration, error) {
	from := w.Elapsed()
	for seen := 0; ; {
		w.mu.Lock()
		for ; seen < len(w.acks); seen++ {
			if w.sent[seen] >= from {
				defer w.mu.Unlock()
				return w.acks[seen], nil
			}
		}
		changed, last := w.changed, w.lastErr
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, fmt.Errorf("no write was acknowledged: %w (the last failure was: %w)", context.Cause(ctx), last)
		}
	}
}

// LongestGap is the longest time without an acknowledged write since from,
// which still goes on where nothing was acknowledged until now.
func (w *Writer) LongestGap(from time.Duration) Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.ended
	if to == 0 {
		to = w.Elapsed()
	}
	return longestGap(w.acks, from, to)
}

// Acknowledged counts the acknowledged writes so far.
func (w *Writer) Acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// Stop ends the clients and waits for them; a second call does nothing.
func (w *Writer) Stop() {
	w.mu.Lock()
	if w.ended == 0 {
		w.ended = w.Elapsed()
	}
	w.mu.Unlock()
	w.cancel()
	w.wg.Wait()
	_ = w.journal.f.Close()
}

// Verify stops the clients and compares the journal with what the primary has
// that uri leads to, or the writer's own URI if it is empty: the hosts of a
// service change. It asks again until ctx ends while there is no primary.
func (w *Writer) Verify(ctx context.Context, uri string) (Verdict, error) {
	w.Stop()
	return w.Inspect(ctx, uri)
}

// Inspect is Verify while the clients go on: what was acknowledged before it has
// to be there.
func (w *Writer) Inspect(ctx context.Context, uri string) (Verdict, error) {
	conn := w.conn
	if uri != "" {
		var err error
		if conn, err = connConfig(Config{URI: uri, Dial: w.cfg.Dial, ConnectTimeout: w.cfg.ConnectTimeout}); err != nil {
			return Verdict{}, err
		}
	}
	for {
		v, err := w.compare(ctx, conn)
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return Verdict{}, fmt.Errorf("read the ledger: %w", err)
		}
		w.pause(ctx, 50*time.Millisecond)
	}
}

// compare takes the acknowledgements from before the rows are read, and the
// intents from after.
func (w *Writer) compare(ctx context.Context, cfg *pgx.ConnConfig) (Verdict, error) {
	before, err := w.read()
	if err != nil {
		return Verdict{}, err
	}
	rows, err := w.rows(ctx, cfg)
	if err != nil {
		return Verdict{}, err
	}
	after, err := w.read()
	if err != nil {
		return Verdict{}, err
	}
	return Check(Journal{Sent: after.Sent, Acks: before.Acks}, rows), nil
}

// read reads the journal so far, while nobody writes to it.
func (w *Writer) read() (Journal, error) {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken != nil {
		return Journal{}, broken
	}
	w.journal.mu.Lock()
	defer w.journal.mu.Unlock()
	f, err := os.Open(w.cfg.File)
	if err != nil {
		return Journal{}, err
	}
	defer f.Close()
	return ReadJournal(f)
}

// rows reads the whole ledger from the primary.
func (w *Writer) rows(ctx context.Context, cfg *pgx.ConnConfig) ([]Row, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer w.close(conn)
	rows, err := conn.Query(ctx, "select client, seq from "+pgx.Identifier{w.cfg.Table}.Sanitize())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Row])
}

// Journal copies the journal so far to out, for those who examine a failure.
func (w *Writer) Journal(out io.Writer) error {
	f, err := os.Open(w.cfg.File)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}
