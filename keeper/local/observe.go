package local

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// noticed is a goal and since when something holds under it.
type noticed struct {
	goal  fsm.Stamp
	since time.Time
}

// Observe collects the facts that a plan for the goal needs. It asks the upstream only when the plan says that this would decide.
func (n *Node) Observe(ctx context.Context, goal fsm.Goal) (fsm.Facts, error) {
	s := n.glance(ctx, goal)
	f := fsm.Facts{Memory: n.memory.Get()}
	f.Server.DrainedMS = n.drainedFor(goal, s.status == fsm.ServerStopped)
	goal = f.Memory.Effective(goal)
	var err error
	if f.Data, err = n.dataFacts(ctx, s); err != nil {
		return f, err
	}
	down := s.status == fsm.ServerStopped
	if f.Copy, err = n.copyFacts(ctx, goal, down); err != nil {
		return f, err
	}
	if err := n.serverFacts(ctx, &f, goal, s); err != nil {
		return f, err
	}
	if err := n.fileFacts(ctx, &f, goal); err != nil {
		return f, err
	}
	n.mu.Lock()
	if n.life.loadedAt.After(s.at) {
		f.Server.Final = false // what was seen before the files were read proves nothing about the time after
	}
	n.mu.Unlock()
	// A plan for a vote or a promotion has come to its last steps when these are asked for, and does not want them.
	if promotes := s.final && !goal.State.Follows(); s.status == fsm.ServerRunning && f.Files.Written && !promotes {
		f.Slots = n.slotsRight(ctx, goal, s)
		f.Server.Stale = n.stale(ctx, f.Files.Effective)
		if s.recovery && goal.State == fsm.StateSecondary {
			n.vet(ctx, goal)
		}
	}
	steps := fsm.Plan(goal, f)
	if len(steps) > 0 && steps[0].Ask {
		n.askUpstream(ctx, goal, &f)
		steps = fsm.Plan(goal, f)
	}
	if down && slices.ContainsFunc(steps, func(s fsm.Step) bool { return s.Kind == fsm.StepStart }) {
		f.Server.PortTaken = n.portTaken(ctx)
	}
	return f, nil
}

// serverFacts turns a sight into facts.
func (n *Node) serverFacts(ctx context.Context, f *fsm.Facts, goal fsm.Goal, s sight) error {
	now := time.Now()
	n.mu.Lock()
	s.hungSince, s.stuck = n.sight.hungSince, n.sight.stuck
	life, st, planned := n.life, n.starts, n.planned.Load()
	checked := n.checked
	n.mu.Unlock()
	v := &f.Server
	v.Status = s.status
	if s.status == fsm.ServerStopped {
		v.Status = downStatus(f.Data.Kind, f.Memory, f.Memory.Asked || planned)
		pids, err := pgserver.Remains(n.config().DataDir)
		if err != nil {
			return err
		}
		v.Remains = len(pids) > 0
	}
	if st.goal == goal.Stamp {
		v.Crashes, v.Pause, v.Complaint = st.count, now.Before(st.next), st.complaint
	}
	if s.status == fsm.ServerHung && !s.hungSince.IsZero() {
		v.HungMS = now.Sub(s.hungSince).Milliseconds()
	}
	if !s.stuck.IsZero() {
		v.StuckMS = now.Sub(s.stuck).Milliseconds()
	}
	if s.status != fsm.ServerRunning {
		return nil
	}
	v.Recovery, v.Timeline = s.recovery, s.timeline
	v.Position = n.position(goal, s)
	v.Final, v.Receiver, v.Blocked = s.final, s.receiver != 0, s.blocked()
	v.Checkpointed = checked == goal.Stamp
	v.Ended, v.Guarded = s.ended, life.syncDefined
	if s.recovery {
		v.Streaming = s.streaming && n.streamsFrom(ctx, goal)
	} else {
		v.Confirmed, v.Impatient = n.confirmed(goal, s, life)
	}
	return nil
}

// position is how far the log reaches, with the epoch of its timeline (S6).
func (n *Node) position(goal fsm.Goal, s sight) fsm.Position {
	return fsm.Position{Epoch: goal.Orders.Epoch(s.timeline), Timeline: s.timeline, LSN: s.position}
}

// drainedFor says for how long the server has been down under a goal that drains.
func (n *Node) drainedFor(goal fsm.Goal, down bool) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !down || !goal.State.Drains() {
		n.drain = noticed{}
		return 0
	}
	if n.drain.goal != goal.Stamp {
		n.drain = noticed{goal: goal.Stamp, since: time.Now()}
	}
	return time.Since(n.drain.since).Milliseconds()
}

// confirmed says that k members have flushed the end of the log as it was when the server came up, that k is 0, or, of a closed gate only, that patience
// ran out (S16).
func (n *Node) confirmed(goal fsm.Goal, s sight, life life) (confirmed, impatient bool) {
	c := goal.Configuration
	if c == nil || life.writable.IsZero() {
		return false, false
	}
	// Before its checkpointer has the set a server does not let commits wait (S2).
	if c.K == 0 || life.syncDefined && n.flushed(c, goal.Peers, s.standbys, life.gateEnd) >= c.K {
		return true, false
	}
	patience := ms(goal.Settings.GatePatienceMS)
	impatient = life.gated && patience > 0 && time.Since(life.writable) > patience
	return impatient, impatient
}

// flushed counts the members that have flushed up to at, each by the one connection that holds its slot (S11).
func (n *Node) flushed(c *fsm.Configuration, peers []fsm.Peer, rows []standbyRow, at fsm.LSN) int {
	count := 0
	for _, node := range nodesOf(c) {
		name := StandbyName(node, tokenOf(node, peers))
		for _, r := range rows {
			if r.name == name && r.active && r.state == "streaming" && r.flush >= at {
				count++
				break
			}
		}
	}
	return count
}

// streamsFrom says that the receiver is connected to the goal's upstream, and not still to another.
func (n *Node) streamsFrom(ctx context.Context, goal fsm.Goal) bool {
	if goal.Upstream == nil {
		return false
	}
	var host, slot string
	var port int
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `select coalesce(sender_host, ''), coalesce(sender_port, 0), coalesce(slot_name, '') from pg_stat_wal_receiver`).Scan(&host, &port, &slot)
	})
	return err == nil && host == goal.Upstream.Host && port == goal.Upstream.Port && slot == n.ownName()
}

// stale says that a parameter of ours waits for a restart. That changes only when our files are read, so that one answer is good for as long as they
// stay what they are.
func (n *Node) stale(ctx context.Context, effective bool) bool {
	n.mu.Lock()
	known, pending, print := n.life.staleKnown == n.life.loaded, n.life.stale, n.life.loaded
	n.mu.Unlock()
	if effective && known {
		return pending
	}
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `select case when not exists (select from pg_settings where pending_restart) then false
			else exists (select from pg_file_settings f join pg_settings s using (name) where f.sourcefile like '%/autoctl.conf' and s.pending_restart) end`).Scan(&pending)
	})
	if err != nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if effective && n.life.loaded == print {
		n.life.staleKnown, n.life.stale = print, pending
	}
	return pending
}
