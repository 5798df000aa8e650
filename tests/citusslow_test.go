package tests

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/tests/cluster"
)

// readSlowly has clients read from a worker group through the nodes of other groups, each statement for one and a half seconds and with a pause between two of one transaction, until the
// function that it returns is called; that asserts that they were at it all the time and saw no error.
func readSlowly(t *testing.T, c *cluster.Cluster, group int, vias ...int) (end func()) {
	t.Helper()
	account := accountOf(t, c, group)
	slow := fmt.Sprintf("select balance, pg_sleep(1.5) from accounts where id = %d", account)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, via := range vias {
		cfg, err := pgx.ParseConfig(c.GroupURI(via))
		if err != nil {
			t.Fatal(err)
		}
		cfg.DialFunc = c.Lab.Dial
		for name, transaction := range map[string][]string{
			"statements":   {slow},
			"transactions": {"begin", slow, "select pg_sleep(0.5)", slow, "commit"},
		} {
			clients.Go(func() {
				done, err := readOn(ctx, cfg.Copy(), transaction)
				if err != nil || done == 0 {
					t.Errorf("slow %s through group %d: %d done, %v", name, via, done, err)
				}
				t.Logf("slow %s through group %d: %d done", name, via, done)
			})
		}
	}
	return func() {
		cancel()
		clients.Wait()
	}
}

// readOn executes a transaction again and again until ctx ends, which it notices between two.
func readOn(ctx context.Context, cfg *pgx.ConnConfig, transaction []string) (done int, err error) {
	working := context.WithoutCancel(ctx)
	conn, err := pgx.ConnectConfig(working, cfg)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(working) }()
	for ; ctx.Err() == nil; done++ {
		for _, sql := range transaction {
			statement, cancel := context.WithTimeout(working, 20*time.Second)
			_, err := conn.Exec(statement, sql)
			cancel()
			if err != nil {
				return done, fmt.Errorf("%s: %w", sql, err)
			}
		}
	}
	return done, nil
}

// accountOf is an account that lives in a worker group.
func accountOf(t *testing.T, c *cluster.Cluster, group int) int {
	t.Helper()
	coordinator, _ := c.Serving(0)
	var account int
	rows := coordinator.Citus(fmt.Sprintf(`select min(id) from unnest(array(select id from accounts)) id
		where get_shard_id_for_distribution_column('accounts', id) in (select p.shardid from pg_dist_placement p where p.groupid = %d)`, group))
	if _, err := fmt.Sscanf(rows[0], "%d", &account); err != nil {
		t.Fatalf("no account in group %d: %v", group, rows)
	}
	return account
}
