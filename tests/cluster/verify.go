package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/ledger"
)

// Finish ends a scenario: every node is where it should be, slots, synchronous
// standbys and HBA blocks are exactly right, every node but the primary refuses
// writes, and no acknowledged row is missing.
func (c *Cluster) Finish(w *ledger.Writer, want States) {
	c.t.Helper()
	c.Wait(60*time.Second, want)
	c.Right(20 * time.Second)
	for _, name := range c.order {
		if s, named := want[name]; named && !s.Serves() {
			c.Node(name).RefusesWrites()
		}
	}
	c.Verify(w)
}

// Verify stops the writer and asserts that no acknowledged row is missing, none
// was invented, and no two primaries acknowledged at the same time.
func (c *Cluster) Verify(w *ledger.Writer) ledger.Verdict {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	v, err := w.Verify(ctx, c.ServiceURI())
	if err != nil {
		c.t.Fatalf("%v\n%s", err, c.Picture())
	}
	if err := v.Err(); err != nil {
		c.t.Errorf("%v\n%s", err, c.Picture())
	}
	gap := w.LongestGap(0)
	c.t.Logf("%d writes acknowledged, %d with unknown fate, none missing; longest gap %v", v.Acknowledged, v.Unknown, gap.Length.Round(time.Millisecond))
	return v
}

// Right waits until slots, synchronous standbys and HBA blocks of all running
// nodes are exactly what the group's state asks for.
func (c *Cluster) Right(within time.Duration) {
	c.t.Helper()
	c.Await(within, "slots, synchronous standbys and HBA are right", func(ctx context.Context) error {
		g, err := c.TryGroup()
		if err != nil {
			return err
		}
		if len(g.Record) != 1 || g.Election != nil {
			return fmt.Errorf("the group has not settled: election %v, record %+v", g.Election, g.Record)
		}
		var errs []error
		for _, info := range g.Nodes {
			if n := c.nodes[info.Name]; n != nil && info.Server == fsm.ServerRunning && info.Reported != Maintenance {
				errs = append(errs, c.nodeRight(ctx, n, info, g))
			}
		}
		return errors.Join(errs...)
	})
}

func (c *Cluster) nodeRight(ctx context.Context, n *Node, info monitorapi.NodeState, g monitorapi.GroupState) error {
	var slots []string
	for _, other := range g.Nodes {
		if other.NodeID != info.NodeID {
			slots = append(slots, other.Slot)
		}
	}
	slices.Sort(slots)
	have, err := n.query(ctx, "select slot_name from pg_replication_slots order by slot_name collate \"C\"")
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if diff := cmp.Diff(slots, have); diff != "" && len(slots)+len(have) > 0 {
		return fmt.Errorf("slots of %s (-want +got):\n%s", n.Name, diff)
	}
	names, err := n.query(ctx, "show synchronous_standby_names")
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if err := synchronous(names[0], info, g); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return hbaRight(n, info, g)
}

// ParseSync splits a synchronous_standby_names of the form ANY k (names), which
// is the only one that autoctl writes; the names come sorted. The empty string
// is k = 0.
func ParseSync(s string) (k int, names []string, err error) {
	if s == "" {
		return 0, nil, nil
	}
	m := regexp.MustCompile(`^ANY (\d+) \(([^()]*)\)$`).FindStringSubmatch(s)
	if m == nil {
		return 0, nil, fmt.Errorf("synchronous_standby_names %q is no set of ours", s)
	}
	for name := range strings.SplitSeq(m[2], ",") {
		names = append(names, strings.Trim(strings.TrimSpace(name), `"`))
	}
	slices.Sort(names)
	k, err = strconv.Atoi(m[1])
	return k, names, err
}

// synchronous compares a node's synchronous_standby_names with the record: the
// primary's is the record's configuration, and everybody else's waits for a
// name that nobody has, so that a stray promotion acknowledges nothing (S8).
func synchronous(value string, info monitorapi.NodeState, g monitorapi.GroupState) error {
	k, names, err := ParseSync(value)
	if err != nil {
		return err
	}
	slot := map[fsm.NodeID]string{}
	for _, n := range g.Nodes {
		slot[n.NodeID] = n.Slot
	}
	cfg := g.Record[0]
	if cfg.Primary.Node != info.NodeID {
		if k == 0 {
			return fmt.Errorf("synchronous_standby_names %q of a node that is not the primary can be satisfied", value)
		}
		for _, s := range slot {
			if slices.Contains(names, s) {
				return fmt.Errorf("synchronous_standby_names %q of a node that is not the primary names %s", value, s)
			}
		}
		return nil
	}
	var want []string
	for _, m := range cfg.Members {
		want = append(want, slot[m.Node])
	}
	slices.Sort(want)
	switch {
	case cfg.K == 0 && k == 0:
		return nil
	case k != cfg.K && len(want) >= cfg.K:
		return fmt.Errorf("synchronous_standby_names %q wants %d answers, the record %d", value, k, cfg.K)
	case len(want) >= cfg.K && !slices.Equal(names, want):
		return fmt.Errorf("synchronous_standby_names %q names %v, the record %v", value, names, want)
	case len(want) < cfg.K && k < 1:
		return fmt.Errorf("synchronous_standby_names %q lets commits through that the record holds back", value)
	}
	return nil
}

// HBABlock returns the lines of autoctl's own block in the node's pg_hba.conf.
func (n *Node) HBABlock() ([]string, error) {
	content, err := os.ReadFile(filepath.Join(n.PGDATA(), "pg_hba.conf"))
	if err != nil {
		return nil, err
	}
	_, rest, begun := strings.Cut(string(content), "# BEGIN autoctl\n")
	block, after, ended := strings.Cut(rest, "# END autoctl\n")
	if !begun || !ended {
		return nil, errors.New("pg_hba.conf has no block of autoctl's")
	}
	if strings.Contains(after, "autoctl") {
		return nil, errors.New("pg_hba.conf has something of autoctl's outside the block")
	}
	return slices.Collect(strings.SplitSeq(strings.TrimSuffix(block, "\n"), "\n")), nil
}

var address = regexp.MustCompile(`\b(\d+\.\d+\.\d+\.\d+)/32\b`)

// hbaRight compares the addresses that the block admits with those of the
// group, as whole sets, and asserts that the gate is open.
func hbaRight(n *Node, info monitorapi.NodeState, g monitorapi.GroupState) error {
	lines, err := n.HBABlock()
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	known := map[string]bool{}
	for _, other := range g.Nodes {
		known[other.Host] = true
	}
	admitted := map[string]bool{}
	for _, line := range lines {
		if info.Reported.Serves() && strings.HasSuffix(line, " reject") {
			return fmt.Errorf("the gate of %s is closed: %s", n.Name, line)
		}
		if !strings.Contains(line, "autoctl_replicator") {
			continue
		}
		for _, m := range address.FindAllStringSubmatch(line, -1) {
			admitted[m[1]] = true
			if !known[m[1]] {
				return fmt.Errorf("pg_hba.conf of %s admits %s, which is no node: %s", n.Name, m[1], line)
			}
		}
	}
	for _, other := range g.Nodes {
		if other.NodeID != info.NodeID && !admitted[other.Host] {
			return fmt.Errorf("pg_hba.conf of %s does not admit %s", n.Name, other.Name)
		}
	}
	return nil
}

// RefusesWrites asserts that nothing can be written to the node: no server
// answers, or it answers with SQLSTATE 25006 (read_only_sql_transaction).
func (n *Node) RefusesWrites() {
	n.c.t.Helper()
	_, err := n.query(n.c.t.Context(), "create table autoctl_refuses_writes()")
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case err == nil:
		n.c.t.Fatalf("%s accepted a write\n%s", n.Name, n.c.Picture())
	case errors.As(err, &pg) && (pg.Code == pgerrcode.ReadOnlySQLTransaction || pg.Code == pgerrcode.CannotConnectNow):
	case errors.As(err, &connect):
	default:
		n.c.t.Fatalf("%s neither accepted nor refused a write: %v", n.Name, err)
	}
}

// AcknowledgesNothing asserts that a commit made on the node's own host is not
// acknowledged within the time given: nobody is let in, or it waits for standbys
// that do not answer. The row may be there afterwards, on this node.
func (n *Node) AcknowledgesNothing(during time.Duration) {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), during)
	defer cancel()
	warned := false
	conn, err := n.connectNoticing(ctx, func(notice *pgconn.Notice) {
		warned = warned || notice.SeverityUnlocalized == "WARNING"
	})
	if err != nil {
		return
	}
	defer hangUp(conn)
	// The message is there for the second time, when the table exists.
	const commit = "do $$ begin create table if not exists autoctl_isolated(); perform pg_logical_emit_message(true, 'autoctl', ''); end $$"
	if _, err := conn.Exec(ctx, commit); err == nil && !warned {
		n.c.t.Errorf("%s acknowledged a commit\n%s", n.Name, n.c.Picture())
	}
}

// Timeline is the WAL timeline on which the node's server writes or replays.
func (n *Node) Timeline() int {
	n.c.t.Helper()
	rows := n.SQL("select case when pg_is_in_recovery()" +
		" then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))" +
		" else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end")
	timeline, err := strconv.Atoi(rows[0])
	if err != nil {
		n.c.t.Fatal(err)
	}
	return timeline
}
