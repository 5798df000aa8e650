package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/controldata"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// noAnswer is the reason for silence of an upstream that takes its time.
const noAnswer = "no answer in time"

// wrongPassword reports whether a server refused a password.
func wrongPassword(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "28P01" // invalid_password
}

// reason returns the innermost useful words of an error from a connection: pgx repeats user and database for each address that it tried.
func reason(err error) string {
	if err == nil {
		return ""
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Message
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok && connect.Unwrap() != nil {
		return connect.Unwrap().Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return noAnswer
	}
	return err.Error()
}

// replication opens a replication connection to a database of the upstream: it takes replication commands and plain SQL.
func (n *Node) replication(ctx context.Context, u fsm.Upstream) (*pgconn.PgConn, error) {
	params := n.conninfo(u, fmt.Sprintf("autoctl_ask_%d", n.memory.Get().Node), "postgres")
	params["replication"] = "database"
	for _, tcp := range []string{"keepalives_idle", "keepalives_interval", "keepalives_count"} {
		delete(params, tcp) // libpq's; an answer here has a deadline anyway
	}
	params["connect_timeout"] = strconv.Itoa(int(askLimit/time.Second) / 4) // per address
	text, err := params.Render()
	if err != nil {
		return nil, fmt.Errorf("connect to the upstream: %w", err)
	}
	// The environment may hold what is meant for the monitor: without a password here, the password file counts.
	conn, err := pgconn.Connect(ctx, text+" password='' target_session_attrs=any")
	if err != nil {
		return nil, fmt.Errorf("connect to the upstream: %w", err)
	}
	return conn, nil
}

// ask asks the upstream for its identity, history, control file, slot and size. end is how far our own log reaches.
func (n *Node) ask(ctx context.Context, u fsm.Upstream, end fsm.LSN) (*fsm.UpstreamFacts, error) {
	conn, err := n.replication(ctx, u)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	id, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("identify the upstream: %w", err)
	}
	f := &fsm.UpstreamFacts{Node: u.Node}
	if f.SystemID, err = strconv.ParseUint(id.SystemID, 10, 64); err != nil {
		return nil, fmt.Errorf("identify the upstream: %w", err)
	}
	if f.Lineage, err = upstreamLineage(ctx, conn, fsm.Timeline(id.Timeline)); err != nil {
		return nil, err
	}
	row, err := query(ctx, conn, `select pg_is_in_recovery()::text, (select timeline_id from pg_control_checkpoint())::text`)
	if err != nil || len(row) != 1 {
		return nil, fmt.Errorf("ask the upstream for its state: %w", err)
	}
	f.Primary = row[0][0] == "false"
	tli, err := strconv.ParseUint(row[0][1], 10, 32)
	if err != nil {
		return nil, fmt.Errorf("ask the upstream for its state: %w", err)
	}
	f.ControlTimeline = fsm.Timeline(tli)
	if f.LostSlot, err = n.lostLog(ctx, conn, f.Lineage, end, fsm.LSN(id.XLogPos)); err != nil {
		return nil, err
	}
	return f, n.askSize(ctx, conn)
}

// lostLog says that the upstream has removed the segment from which we would go on. A slot alone proves nothing: the log may still be there.
func (n *Node) lostLog(ctx context.Context, conn *pgconn.PgConn, l fsm.Lineage, end, newest fsm.LSN) (bool, error) {
	segment := n.segmentSize()
	if end == 0 || segment <= 0 || int64(end)/segment >= int64(newest)/segment {
		return false, nil
	}
	names := make([]string, len(l))
	for i, b := range l {
		names[i] = "'" + segmentName(b.Timeline, end, segment) + "'"
	}
	rows, err := query(ctx, conn, `select count(*)::text from unnest(array[`+strings.Join(names, ",")+`]) s where (pg_stat_file('pg_wal/' || s, true)).size is not null`)
	if err != nil || len(rows) != 1 {
		return false, fmt.Errorf("ask the upstream for its log: %w", err)
	}
	return rows[0][0] == "0", nil
}

func upstreamLineage(ctx context.Context, conn *pgconn.PgConn, tli fsm.Timeline) (fsm.Lineage, error) {
	if tli == 1 {
		return fsm.Lineage{{Timeline: 1}}, nil
	}
	h, err := pglogrepl.TimelineHistory(ctx, conn, int32(tli))
	if err != nil {
		return nil, fmt.Errorf("fetch the upstream's history: %w", err)
	}
	history, err := controldata.ParseHistory(h.Content)
	if err != nil {
		return nil, fmt.Errorf("fetch the upstream's history: %w", err)
	}
	return history.Lineage(tli), nil
}

// askSize learns what a copy would need. It is asked where the plan asks the upstream at all, which is not often.
func (n *Node) askSize(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := query(ctx, conn, `select oid::text, pg_tablespace_location(oid), coalesce(pg_tablespace_size(oid), 0)::text from pg_tablespace`)
	if err != nil {
		return fmt.Errorf("ask the upstream for its size: %w", err)
	}
	var src source
	for _, r := range rows {
		size, _ := strconv.ParseInt(r[2], 10, 64)
		if r[1] == "" {
			src.bytes += size
			continue
		}
		oid, _ := strconv.ParseUint(r[0], 10, 32)
		src.tablespaces = append(src.tablespaces, pgserver.SourceTablespace{OID: uint32(oid), Location: r[1], Bytes: size})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.source = src
	return nil
}

// query runs one statement by the simple protocol, the only one on a replication connection.
func query(ctx context.Context, conn *pgconn.PgConn, sql string) ([][]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, errors.New("no answer")
	}
	var rows [][]string
	for _, r := range results[0].Rows {
		row := make([]string, len(r))
		for i, v := range r {
			row[i] = string(v)
		}
		rows = append(rows, row)
	}
	return rows, results[0].Err
}

// upstreamSeen is when the upstream last showed that it lives.
type upstreamSeen struct {
	node  fsm.NodeID
	since time.Time // since when that node is watched
	at    time.Time
}

// watchUpstream probes the upstream at every heartbeat: the age of WAL messages alone says nothing on an idle pair (S17).
func (n *Node) watchUpstream(ctx context.Context) {
	every(ctx, n.heartbeat, func(ctx context.Context) {
		u := n.memory.Get().Goal.Upstream
		if u == nil {
			u = n.lastUpstream()
		}
		if u == nil {
			return
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(ctx, ms(n.settings().ProbeTimeoutMS))
		defer cancel()
		r := probe.Probe(ctx, probe.Target{Host: u.Host, Port: u.Port, User: Prober, Database: "postgres"})
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.upstream.node != u.Node {
			n.upstream = upstreamSeen{node: u.Node, since: began}
		}
		if r.Status.Serving() {
			n.upstream.at = time.Now()
		}
		// A probe that is not answered takes its time: what was heard before it is that much older.
		if at := n.sight.heardAt; n.sight.streaming && at.After(n.upstream.since) && at.After(n.upstream.at) {
			n.upstream.at = at
		}
	})
}

// lastUpstream is who was followed before an election: its standbys go on watching it, for it may come back.
func (n *Node) lastUpstream() *fsm.Upstream {
	goal := n.memory.Get().Goal
	if goal.State != fsm.StateReportLSN {
		return nil
	}
	n.mu.Lock()
	node := n.upstream.node
	n.mu.Unlock()
	for _, p := range goal.Peers {
		if p.Node == node {
			return &fsm.Upstream{Node: p.Node, Host: p.Host, Port: p.Port}
		}
	}
	return nil
}

// primarySeen is the age of the last proof that the upstream lives, in ms; -1 for none.
func (n *Node) primarySeen() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.upstream.at.IsZero() {
		return -1
	}
	return time.Since(n.upstream.at).Milliseconds()
}
