package local

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/keeper/daemon"
)

// standbySeen is what this server has seen of one standby over time.
type standbySeen struct {
	connected bool
	flush     fsm.LSN
	since     time.Time // since when it is as it is: disconnected, or not moving although there is something to flush; zero when fine
	pid       int       // its walsender, while that streams
	streams   time.Time // since when
	settled   bool      // that was steady at the newest look
}

// steady is how long a walsender must have been seen to stream before it counts as streaming: that of a standby whose log has left ours reaches the end of
// what they share within milliseconds, says that it streams, and is of no use to commits.
const steady = 50 * time.Millisecond

func (s standbySeen) steady(at time.Time) bool { return s.pid != 0 && at.Sub(s.streams) >= steady }

// track follows the standbys of the peers, and says whether one was lost or found. The caller holds mu.
func (n *Node) track(s sight) bool {
	if s.status != fsm.ServerRunning || s.recovery {
		clear(n.seen)
		return false
	}
	news := false
	for _, p := range n.memory.Get().Goal.Peers {
		row, ok := rowOf(s, p)
		was, known := n.seen[p.Node]
		now := standbySeen{connected: ok, flush: row.flush}
		switch {
		case !ok && known && !was.connected:
			now.since = was.since
		case !ok:
			now.since = s.at
		case row.flush < s.position && known && was.connected && was.flush == row.flush:
			now.since = was.since
			if now.since.IsZero() {
				now.since = s.at
			}
		}
		if ok && row.state == "streaming" {
			now.pid, now.streams = row.pid, s.at
			if was.pid == row.pid {
				now.streams = was.streams
			}
		}
		now.settled = now.steady(s.at)
		news = news || known && was.connected != ok || !known && ok || was.settled != now.settled
		n.seen[p.Node] = now
	}
	return news
}

// rowOf finds the connection of a peer: the one that streams under its name through its slot (S11).
func rowOf(s sight, p fsm.Peer) (standbyRow, bool) {
	name := StandbyName(p.Node, p.Token)
	for _, r := range s.standbys {
		if r.name == name && r.active {
			return r, true
		}
	}
	return standbyRow{}, false
}

// Status says what a report needs, from the newest sight. It waits for nothing.
func (n *Node) Status(_ context.Context, goal fsm.Goal) daemon.Status {
	n.mu.Lock()
	// In this order, and all under one lock: a start sets planned before it clears what is asked, and planned holds until the process is seen up.
	mem := n.memory.Get()
	planned, fallen := n.planned.Load(), n.fallen.Load()
	s, data, activity := n.sight, n.data, n.activity
	n.awoke(time.Now(), ms(mem.Goal.Settings.HeartbeatMS))
	commit, life, limits, weak := n.commitAt, n.life, n.limits, n.weakCommits
	switch {
	case n.proc == nil || !n.proc.Running():
		s = sight{at: s.at, status: fsm.ServerStopped, version: s.version}
	case s.at.Before(life.since): // of the time before this process
		s = sight{at: s.at, status: fsm.ServerStarting, version: s.version}
	}
	n.mu.Unlock()
	goal = mem.Effective(goal)
	asked := mem.Asked || planned && s.status != fsm.ServerRunning
	st := daemon.Status{SystemID: data.control().SystemIdentifier, PrimarySeenMS: -1, CommitAgeMS: -1, Limits: limits, Activity: activity, Version: n.config().Binaries.Version.Number()}
	if s.version != 0 {
		st.Version = s.version
	}
	status := s.status
	if status == fsm.ServerStopped || status == "" {
		status = downStatus(kindOf(data), mem, asked)
	}
	if status == fsm.ServerStarting && fallen {
		status = fsm.ServerCrashed // until it is up again
	}
	st.Server = fsm.Server{Status: status, Recovery: s.recovery, Timeline: s.timeline, Asked: asked}
	if status != fsm.ServerRunning {
		st.Server.Timeline = data.control().Timeline
		st.Position = n.restingPosition(goal, mem, data)
		return st
	}
	st.Position = n.position(goal, s)
	if s.recovery {
		st.PrimarySeenMS = n.primarySeen()
		if s.final && !s.at.Before(life.loadedAt) { // what was seen before the files were read proves nothing about the time after (S7)
			final := st.Position
			st.Final, st.Ended = &final, s.ended
		}
		return st
	}
	st.Standbys = n.standbys(goal, s)
	if !commit.IsZero() {
		st.CommitAgeMS = time.Since(commit).Milliseconds()
	}
	st.WeakCommits = weak
	st.Unconfirmed = life.unconfirmed
	st.Open = goal.State.Serves() && !life.gated && (life.admitted || life.vetted)
	return st
}

// awoke takes what this process has slept through out of the age of the newest commit: a keeper that was frozen, or its whole host, has tried none
// meanwhile, and nothing says that the storage hangs. The caller holds mu.
func (n *Node) awoke(now time.Time, heartbeat time.Duration) {
	const beats = 4 // as many may be missed by one that is merely slow
	if slept := now.Sub(n.statusAt); !n.statusAt.IsZero() && !n.commitAt.IsZero() && slept > beats*max(heartbeat, ms(fsm.DefaultSettings().HeartbeatMS)) {
		n.commitAt = n.commitAt.Add(slept)
	}
	n.statusAt = now
}

func kindOf(d dataLook) fsm.DataKind {
	if d.dir.Kind == "absent" || d.dir.Kind == "empty" || d.dir.Kind == "" {
		return fsm.DataAbsent
	}
	return fsm.DataReady
}

// restingPosition is how far a stopped directory is known to reach.
func (n *Node) restingPosition(goal fsm.Goal, mem fsm.Memory, d dataLook) fsm.Position {
	c := d.control()
	tli := max(c.Timeline, c.MinRecoveryTimeline)
	return fsm.Position{Epoch: goal.Orders.Epoch(tli), Timeline: tli, LSN: max(c.Checkpoint, c.MinRecoveryEnd, mem.Drained)}
}

// standbys are the peers as this server sees them.
func (n *Node) standbys(goal fsm.Goal, s sight) []fsm.Standby {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []fsm.Standby
	for _, p := range goal.Peers {
		seen, ok := n.seen[p.Node]
		if !ok {
			continue
		}
		row, connected := rowOf(s, p)
		b := fsm.Standby{Node: p.Node, Streaming: connected && row.state == "streaming" && seen.settled, Flush: row.flush}
		if s.position > row.flush {
			b.LagBytes = int64(s.position - row.flush)
		}
		if !seen.since.IsZero() {
			b.LostMS = max(1, time.Since(seen.since).Milliseconds())
		}
		list = append(list, b)
	}
	return list
}

// watchStorage commits now and then on a session of its own, so that hung storage is seen: nothing else of ours waits for the disk (S18).
func (n *Node) watchStorage(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeConn(ctx, conn)
		}
	}()
	pace := func() time.Duration { return max(ms(n.settings().StorageHungAfterMS)/5, time.Second) }
	every(ctx, pace, func(ctx context.Context) {
		s := n.newest()
		if s.status != fsm.ServerRunning || s.recovery {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, ms(n.settings().StorageHungAfterMS))
		defer cancel()
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = n.dial(ctx, "autoctl_commit"); err != nil {
				conn = nil
				return
			}
		}
		if _, err := conn.Exec(ctx, `select pg_logical_emit_message(true, 'autoctl', 'alive')`); err != nil {
			closeConn(ctx, conn)
			conn = nil
			return
		}
		done := time.Now()
		weak, err := pgserver.WeakCommits(ctx, conn)
		n.mu.Lock()
		if n.commitAt = done; err == nil {
			n.weakCommits = weak
		}
		n.mu.Unlock()
	})
}
