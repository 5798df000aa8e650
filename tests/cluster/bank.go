package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autoctl/autoctl/tests/bank"
)

// GroupURI leads to whoever accepts writes of a group's nodes.
func (c *Cluster) GroupURI(group int) string {
	c.t.Helper()
	g := c.GroupOf(group)
	if g == nil {
		c.t.Fatalf("there is no group %d\n%s", group, c.Picture())
	}
	var hosts []string
	for _, n := range g.Nodes {
		hosts = append(hosts, fmt.Sprintf("%s:%d", n.Host, n.Port))
	}
	return fmt.Sprintf("postgresql://%s@%s/%s?sslmode=require&target_session_attrs=read-write", c.Monitor.User(), strings.Join(hosts, ","), CitusDatabase)
}

// Bank starts clients with accounts in the worker groups given, who work through the nodes of each of the groups in vias until the end of the test;
// [Cluster.Audit] checks what they were told.
func (c *Cluster) Bank(groups []int, vias ...int) *bank.Bank {
	c.t.Helper()
	return c.BankOf(bank.Config{Groups: groups}, vias...)
}

// BankOf is Bank with settings of its own.
func (c *Cluster) BankOf(cfg bank.Config, vias ...int) *bank.Bank {
	c.t.Helper()
	cfg.Coordinator, cfg.Dial = c.GroupURI(0), c.Lab.Dial
	for _, g := range vias {
		name := fmt.Sprintf("worker %d", g)
		if g == 0 {
			name = "coordinator"
		}
		cfg.Vias = append(cfg.Vias, bank.Via{Name: name, URI: c.GroupURI(g)})
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	b, err := bank.Open(ctx, cfg)
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.Picture())
	}
	c.t.Cleanup(b.Stop)
	c.Works(b, 30*time.Second)
	return b
}

// Works waits until every client of a bank, or every one that needs none of the groups given, has succeeded with something that it began after the call.
func (c *Cluster) Works(b *bank.Bank, within time.Duration, without ...int) {
	c.t.Helper()
	within *= patience()
	ctx, cancel := context.WithTimeout(c.t.Context(), within)
	defer cancel()
	if err := b.Await(ctx, without...); err != nil {
		c.t.Fatalf("within %v: %v\n%s\n%s%s", within, err, b.Since(), c.Picture(), c.sessions())
	}
}

// sessions lists what the primaries of all groups are doing, for the message of a failure.
func (c *Cluster) sessions() string {
	var b strings.Builder
	for _, f := range c.State().Formations {
		for _, g := range f.Groups {
			for _, n := range g.Nodes {
				if !n.Assigned.Serves() {
					continue
				}
				fmt.Fprintf(&b, "--- sessions of %s\n", n.Name)
				rows, err := c.Node(n.Name).TryCitus(`select pid, state, coalesce(wait_event_type || ':' || wait_event, 'busy'), clock_timestamp() - state_change as since, pg_blocking_pids(pid)::text,
					application_name, left(regexp_replace(query, '\s+', ' ', 'g'), 90)
					from pg_stat_activity where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid() order by state_change`)
				if err != nil {
					fmt.Fprintln(&b, err)
				}
				prepared, err := c.Node(n.Name).TryCitus(`select 'prepared', gid, prepared, owner from pg_prepared_xacts order by prepared`)
				if err != nil {
					fmt.Fprintln(&b, err)
				}
				for _, r := range append(rows, prepared...) {
					fmt.Fprintln(&b, r)
				}
			}
		}
	}
	return b.String()
}

// Audit ends a scenario with a bank: nothing that was acknowledged is missing, no transfer is half done, all copies of the reference table are equal,
// no prepared transaction is left, and every node of the groups knows the same of where each group is served.
func (c *Cluster) Audit(b *bank.Bank, groups ...int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 60*time.Second)
	defer cancel()
	b.Stop()
	c.Agreed(30*time.Second, groups...)
	acknowledged, err := b.Verify(ctx)
	if err != nil {
		c.t.Errorf("%v\n%s", err, c.Picture())
	}
	c.t.Logf("%d operations acknowledged, none missing, no transfer half done", acknowledged)
}

// Agreed waits until the primaries of the groups say the same in pg_dist_node, in the table of epochs and in their own copies of the bank's reference
// table, and none of them has a prepared transaction.
func (c *Cluster) Agreed(within time.Duration, groups ...int) {
	c.t.Helper()
	copies := c.copiesOf("rates")
	c.Await(within, fmt.Sprintf("groups %v agree", groups), func(context.Context) error {
		return errors.Join(
			c.same(groups, `select groupid, nodename, nodeport, isactive from pg_dist_node where noderole = 'primary' order by groupid`),
			c.same(groups, `select group_id, host, port, incarnation, epoch from autoctl.topology order by group_id`),
			c.same(groups, `select * from `+copies+` order by 1`),
			c.none(groups, `select gid from pg_prepared_xacts`))
	})
}

// copiesOf is the name that the copies of a reference table have on each node.
func (c *Cluster) copiesOf(table string) string {
	c.t.Helper()
	p, _ := c.Serving(0)
	return p.Citus("select logicalrelid || '_' || shardid from pg_dist_shard where logicalrelid = $1::regclass", table)[0]
}

// SameCopies asserts that the copies of a reference table are equal on the primaries of the groups.
func (c *Cluster) SameCopies(table string, groups ...int) {
	c.t.Helper()
	if err := c.same(groups, `select * from `+c.copiesOf(table)+` order by 1`); err != nil {
		c.t.Error(err)
	}
}

// same asks every group's primary.
func (c *Cluster) same(groups []int, sql string) error {
	first, of := []string(nil), ""
	for _, g := range groups {
		p, _ := c.Serving(g)
		rows, err := p.TryCitus(sql)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", sql, p.Name, err)
		}
		if of == "" {
			first, of = rows, p.Name
		}
		if !slices.Equal(rows, first) {
			return fmt.Errorf("%s: %v on %s, %v on %s", sql, first, of, rows, p.Name)
		}
	}
	return nil
}

func (c *Cluster) none(groups []int, sql string) error {
	for _, g := range groups {
		p, _ := c.Serving(g)
		rows, err := p.TryCitus(sql)
		if err != nil {
			return fmt.Errorf("%s on %s: %w", sql, p.Name, err)
		}
		if len(rows) > 0 {
			return fmt.Errorf("%s on %s: %v", sql, p.Name, rows)
		}
	}
	return nil
}
