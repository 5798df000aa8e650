package bank

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Via is a way into the formation: the hosts of a group, of which one accepts writes.
type Via struct{ Name, URI string }

// Config says who works where.
type Config struct {
	// Coordinator leads to the coordinator, for what only it can do.
	Coordinator string
	// Vias are what clients work through; there is a client of every kind through each.
	Vias []Via
	// Groups hold the accounts.
	Groups []int
	// Kinds are what clients do, such as "write in group 1"; all there is where it is empty.
	Kinds []string
	// Dial reaches the hosts; nil for the ordinary network.
	Dial pgconn.DialFunc
	// Pause is how long a client waits between two operations, or two attempts to connect: 40 ms by default.
	Pause time.Duration
	// OperationTimeout (20 s) and ConnectTimeout (3 s, each host) are the client's own: the servers are not asked for anything.
	OperationTimeout, ConnectTimeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.Pause == 0 {
		c.Pause = 40 * time.Millisecond
	}
	if c.OperationTimeout == 0 {
		c.OperationTimeout = 20 * time.Second
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 3 * time.Second
	}
	return c
}

// Bank is a set of clients at work, from Open until Stop.
type Bank struct {
	cfg     Config
	start   time.Time
	clients []*client
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex // guards the mark and what clients record
	mark time.Duration
}

// tables are made once: accounts and what was entered into them lie together, every node has a copy of the rates.
var tables = []string{
	`create table accounts (id int primary key, client int not null, balance int not null default 0, touched int not null default 0)`,
	`select create_distributed_table('accounts', 'id', shard_count => 8)`,
	`create table entries (account int, client int, seq int, primary key (account, client, seq))`,
	`select create_distributed_table('entries', 'account', colocate_with => 'accounts')`,
	`create table rates (client int primary key, seq int not null)`,
	`select create_reference_table('rates')`,
}

// placed are account numbers whose shard lives in a group.
const placed = `select id from generate_series(1, 5000) id join pg_dist_placement p on p.shardid = get_shard_id_for_distribution_column('accounts', id)
	where p.groupid = $1 order by id limit $2`

// Open makes the tables and the accounts, and lets the clients begin.
func Open(ctx context.Context, cfg Config) (*Bank, error) {
	b := &Bank{cfg: cfg.withDefaults(), start: time.Now()}
	for _, via := range b.cfg.Vias {
		for _, k := range kindsOf(b.cfg.Groups) {
			if len(cfg.Kinds) > 0 && !slices.Contains(cfg.Kinds, k.name) {
				continue
			}
			b.clients = append(b.clients, &client{bank: b, id: len(b.clients) + 1, via: via, kind: k, acked: map[int]bool{}})
		}
	}
	conn, err := b.connect(ctx, b.cfg.Coordinator, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to the coordinator: %w", err)
	}
	defer hangUp(conn)
	for _, text := range tables {
		if _, err := conn.Exec(ctx, text); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
	}
	if err := b.openAccounts(ctx, conn); err != nil {
		return nil, err
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b.cancel = cancel
	b.Mark()
	for _, c := range b.clients {
		b.wg.Go(func() { c.work(working) })
	}
	return b, nil
}

// openAccounts gives each client an account in every group.
func (b *Bank) openAccounts(ctx context.Context, conn *pgx.Conn) error {
	for _, g := range b.cfg.Groups {
		rows, err := conn.Query(ctx, placed, g, len(b.clients))
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil {
			return fmt.Errorf("find accounts of group %d: %w", g, err)
		}
		if len(ids) < len(b.clients) {
			return fmt.Errorf("group %d has room for %d accounts of %d", g, len(ids), len(b.clients))
		}
		for i, c := range b.clients {
			c.accounts = append(c.accounts, ids[i])
			if _, err := conn.Exec(ctx, `insert into accounts (id, client) values ($1, $2)`, ids[i], c.id); err != nil {
				return fmt.Errorf("open an account in group %d: %w", g, err)
			}
		}
	}
	for _, c := range b.clients {
		if _, err := conn.Exec(ctx, `insert into rates values ($1, 0)`, c.id); err != nil {
			return fmt.Errorf("write a rate: %w", err)
		}
	}
	return nil
}

// connect opens a session with whoever accepts writes.
func (b *Bank) connect(ctx context.Context, uri string, notice func(*pgconn.Notice)) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(uri)
	if err != nil {
		return nil, fmt.Errorf("parse the URI: %w", err)
	}
	cfg.ConnectTimeout, cfg.ValidateConnect = b.cfg.ConnectTimeout, pgconn.ValidateConnectTargetSessionAttrsReadWrite
	if b.cfg.Dial != nil {
		cfg.DialFunc = b.cfg.Dial
	}
	if notice != nil {
		cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n) }
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// hangUp ends a session without waiting for a server that may be gone.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = conn.Close(ctx)
}

// elapsed is the bank's clock: monotonic, since Open.
func (b *Bank) elapsed() time.Duration { return time.Since(b.start) }

// Await waits until every client, or every one that touches none of the groups given, has succeeded with something that it began after the call.
func (b *Bank) Await(ctx context.Context, without ...int) error {
	from := b.elapsed()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		behind := b.behind(from, without)
		if len(behind) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: nothing succeeds for: %w", context.Cause(ctx), errors.Join(behind...))
		}
	}
}

func (b *Bank) behind(from time.Duration, without []int) []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var behind []error
	for _, c := range b.clients {
		if c.begun < from && !slices.ContainsFunc(without, c.kind.touches) {
			behind = append(behind, fmt.Errorf("%s: %w", c.name(), c.last))
		}
	}
	return behind
}

// Stop ends the clients and waits for them; a second call does nothing.
func (b *Bank) Stop() {
	b.cancel()
	b.wg.Wait()
}
