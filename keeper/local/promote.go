package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
)

// promoteTimeout bounds the wait for recovery to end. What it costs is the backlog of replay (S12); a promotion that takes longer goes on, and the
// next step waits again.
const (
	promoteTimeout = 60 * time.Second
	promotePoll    = 3 * time.Millisecond
)

// beginPromote persists the promotion, with where it begins, and only then may pg_promote be called (S3).
func (n *Node) beginPromote(ctx context.Context, goal fsm.Goal) error {
	s := n.recent(ctx)
	if s.status != fsm.ServerRunning || !s.recovery {
		return fmt.Errorf("begin promotion: %w", errStopped)
	}
	return n.memory.Update(func(m *fsm.Memory) { m.BeginPromote(goal, s.position) })
}

// promote makes the goal's timeline: placeholders leave pg_promote no other number. pg_promote's own wait looks ten times a second only.
func (n *Node) promote(ctx context.Context, goal fsm.Goal) error {
	s := n.recent(ctx)
	if s.status != fsm.ServerRunning || !s.recovery {
		return fmt.Errorf("promote: %w", errStopped)
	}
	if err := n.placePlaceholders(goal.Timeline); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, promoteTimeout)
	defer cancel()
	if err := n.exec(ctx, `select pg_promote(false)`); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	if err := n.awaitWritable(ctx, goal); err != nil {
		return err
	}
	n.forgetData()
	s = n.look(ctx)
	if s.timeline != goal.Timeline {
		return fmt.Errorf("promote: the server is on timeline %d, timeline %d was ordered", s.timeline, goal.Timeline)
	}
	if exists(filepath.Join(n.config().DataDir, "standby.signal")) {
		return fmt.Errorf("promote: standby.signal is still there")
	}
	// Everything that the switch needs is on disk; the first checkpoint is what rejoiners wait for (S22), and may take long.
	n.spawn(func(ctx context.Context) {
		if err := n.checkpoint(ctx); err != nil && ctx.Err() == nil {
			n.config().Log.Warn().Err(err).Msg("checkpoint after the promotion")
		}
	})
	return nil
}

// awaitWritable waits until recovery has ended.
func (n *Node) awaitWritable(ctx context.Context, goal fsm.Goal) error {
	tick := time.NewTicker(promotePoll)
	defer tick.Stop()
	p := n.process()
	if p == nil {
		return fmt.Errorf("promote: %w", errStopped)
	}
	for check := time.Now().Add(receiverGrace); ; {
		var recovery bool
		err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `select pg_is_in_recovery()`).Scan(&recovery)
		})
		if err == nil && !recovery {
			return nil
		}
		if time.Now().After(check) { // a client may have come in the way since the plan looked (S12)
			check = time.Now().Add(receiverGrace)
			if s := n.look(ctx); s.recovery && s.blocked() {
				if err := n.endBlockers(ctx); err != nil {
					return err
				}
			}
		}
		select {
		case <-tick.C:
		case <-p.Exited():
			return fmt.Errorf("promote: %w", errStopped)
		case <-ctx.Done():
			return fmt.Errorf("promote to timeline %d: %w", goal.Timeline, context.Cause(ctx))
		}
	}
}

// checkpoint runs CHECKPOINT on a session of its own, for as long as it takes.
func (n *Node) checkpoint(ctx context.Context) error {
	conn, err := n.dial(ctx, "autoctl_checkpoint")
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if _, err := conn.Exec(ctx, `checkpoint`); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// receiverGrace is how long the WAL receiver may outlive a reload that took its upstream away (S12).
const receiverGrace = 200 * time.Millisecond

// endReceiver waits for the receiver to end by itself, and ends it if it does not: it would go on acknowledging.
func (n *Node) endReceiver(ctx context.Context) error {
	deadline := time.Now().Add(receiverGrace)
	tick := time.NewTicker(promotePoll)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	told := false
	for {
		var pid int
		err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `select coalesce((select pid from pg_stat_wal_receiver), 0)`).Scan(&pid)
		})
		if err != nil {
			return fmt.Errorf("look for the WAL receiver: %w", err)
		}
		if pid == 0 {
			return nil
		}
		if !told && time.Now().After(deadline) {
			told = true
			if _, err := n.signalChild(pid, unix.SIGTERM); err != nil {
				return fmt.Errorf("end the WAL receiver: %w", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("end the WAL receiver: %w", context.Cause(ctx))
		}
	}
}

// signalChild signals a child of our postmaster, and says whether there is such a child: PostgreSQL's own functions know backends only, and neither
// the WAL receiver nor the startup process is one.
func (n *Node) signalChild(pid int, sig unix.Signal) (there bool, err error) {
	p := n.process()
	if p == nil {
		return false, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	// The pidfd holds on to the process, so that what is read now stays true of the one that gets the signal.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", p.PID())) {
		return false, nil
	}
	err = unix.PidfdSendSignal(fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	return err == nil, err
}

// endBlockers ends the clients of a standby, which hold up replay and with it the promotion (S12). None of them waits for a standby: there are no
// commits here.
func (n *Node) endBlockers(ctx context.Context) error {
	err := n.exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity
		where backend_type = 'client backend' and pid <> pg_backend_pid() and application_name not like 'autoctl\_%' and pg_is_in_recovery()`)
	if err != nil {
		return fmt.Errorf("end clients that hold up replay: %w", err)
	}
	return nil
}
