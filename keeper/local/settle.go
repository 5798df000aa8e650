package local

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// settling is how far the settling of one configuration is, on the present server process.
type settling struct {
	seq uint64
	// mark is a record written after the reload: a walsender of pids whose flush has reached it has re-read the configuration.
	mark  fsm.LSN
	pids  map[int]bool
	since time.Time
	// end is L: k members of the new set must flush past it.
	end fsm.LSN
}

// settleStint bounds one step, so that the facts are looked at again; reread is how long a walsender has to prove that it has re-read.
const (
	settleStint = time.Second
	reread      = time.Second
	settlePoll  = 5 * time.Millisecond
)

// settle makes sure that nothing releases waiters under an older configuration any more, and that the new one holds everything acknowledged so far
// (S1, S2; design section 5). It goes on where an earlier call left off, and returns nil when its time is over before that is so.
func (n *Node) settle(ctx context.Context, goal fsm.Goal) error {
	c := goal.Configuration
	n.mu.Lock()
	st := n.settling
	n.mu.Unlock()
	if st == nil || st.seq != c.Seq {
		var err error
		if st, err = n.beginSettling(ctx, c); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleStint)
	defer cancel()
	for pace := settlePoll; ; pace = min(pace*5/4, 10*settlePoll) {
		done, open, err := n.settleMore(ctx, goal, st)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case done:
			return n.memory.Update(func(m *fsm.Memory) { m.Settle(c.Seq) })
		case open:
			return nil // the gate can be opened, which is more urgent
		}
		t := time.NewTimer(pace)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// beginSettling proves that the checkpointer has re-read, where the set was empty before, and writes the record that walsenders must confirm.
func (n *Node) beginSettling(ctx context.Context, c *fsm.Configuration) (*settling, error) {
	n.mu.Lock()
	defined := n.life.syncDefined
	n.mu.Unlock()
	if c.K > 0 && !defined {
		// The flag that makes backends wait is the checkpointer's: it is set once a checkpoint asked for after the reload has ended (S2).
		if err := n.checkpoint(ctx); err != nil {
			return nil, err
		}
		n.mu.Lock()
		n.life.syncDefined = true
		n.mu.Unlock()
	}
	st := &settling{seq: c.Seq, since: time.Now(), pids: map[int]bool{}}
	err := n.with(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		// A transactional message is flushed with its commit; synchronous_commit=local is the session's (S1).
		if _, err := conn.Exec(ctx, `select pg_logical_emit_message(true, 'autoctl', 'settle')`); err != nil {
			return err
		}
		return nil
	})
	if err == nil {
		st.mark, err = n.flushedHere(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	rows, err := n.lookStandbys(ctx)
	if err != nil {
		return nil, fmt.Errorf("settle: %w", err)
	}
	for _, r := range rows {
		st.pids[r.pid] = true
	}
	n.mu.Lock()
	n.settling = st
	n.mu.Unlock()
	return st, nil
}

// settleMore takes one look. It says whether the configuration is settled, and whether a closed gate may be opened.
func (n *Node) settleMore(ctx context.Context, goal fsm.Goal, st *settling) (done, open bool, err error) {
	rows, err := n.lookStandbys(ctx)
	if err != nil {
		return false, false, fmt.Errorf("settle: %w", err)
	}
	late := time.Since(st.since) > reread
	for _, r := range rows {
		if !st.pids[r.pid] || r.flush >= st.mark {
			delete(st.pids, r.pid)
			continue
		}
		if late {
			// It does not answer: it must not release anybody by what it has read (S1).
			if err := n.exec(ctx, `select pg_terminate_backend($1)`, r.pid); err != nil {
				return false, false, fmt.Errorf("end a walsender that does not answer: %w", err)
			}
		}
	}
	for pid := range st.pids {
		if !hasPID(rows, pid) {
			delete(st.pids, pid)
		}
	}
	n.mu.Lock()
	life := n.life
	n.mu.Unlock()
	confirmed, _ := n.confirmed(goal, sight{standbys: rows}, life)
	open = life.gated && confirmed
	if len(st.pids) > 0 {
		return false, open, nil
	}
	if st.end == 0 {
		// L is taken after the last proof, not before: up to then a commit could still be released by what an older configuration says.
		if st.end, err = n.flushedHere(ctx); err != nil {
			return false, open, fmt.Errorf("settle: %w", err)
		}
	}
	return n.flushed(goal.Configuration, goal.Peers, rows, st.end) >= toFlush(goal.Configuration), open, nil
}

// toFlush is how many members must hold everything before c counts as settled. With fewer members than k nobody acknowledges under c, and only its
// primary covers it, which has everything: there is nothing to wait for, as with k = 0. Waiting all the same would keep new members out for ever.
func toFlush(c *fsm.Configuration) int {
	if len(c.Members) < c.K {
		return 0
	}
	return c.K
}

// flushedHere is how far this server, outside recovery, has flushed its log.
func (n *Node) flushedHere(ctx context.Context) (fsm.LSN, error) {
	var lsn fsm.LSN
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		var text string
		err := c.QueryRow(ctx, `select pg_current_wal_flush_lsn()::text`).Scan(&text)
		if err == nil {
			lsn, err = fsm.ParseLSN(text)
		}
		return err
	})
	return lsn, err
}

func hasPID(rows []standbyRow, pid int) bool {
	for _, r := range rows {
		if r.pid == pid {
			return true
		}
	}
	return false
}
