package fsm

import (
	"errors"
	"fmt"
	"slices"
)

// Memory is the keeper's state file: outside the data directory, fsynced before the report that depends on it (S8).
type Memory struct {
	Node  NodeID `json:"node"`
	Token string `json:"token"`
	// Goal is the newest goal obeyed; its Stamp is the highest seen.
	Goal Goal `json:"goal"`
	// Reached is the stamp of the newest goal that was reached, State its state.
	Reached Stamp `json:"reached"`
	State   State `json:"state"`
	// Generation is the data generation; it grows before anything replaces or rewinds the data (S10).
	Generation uint64 `json:"generation"`
	// Busy is set, on disk, before a rewind, a copy or a swap begins and cleared when the data is whole again.
	Busy Busy `json:"busy,omitempty"`
	// Rung is the lowest rung of the rejoin ladder that is still worth trying for the present upstream, and Why it went there.
	Rung Rung   `json:"rung,omitempty"`
	Why  string `json:"why,omitempty"`
	// Promotions are those begun on the present data (S3).
	Promotions []Promotion `json:"promotions,omitempty"`
	// Settled is the Seq of the newest configuration settled here; Drained the LSN of a shutdown that was asked for.
	Settled uint64 `json:"settled,omitempty"`
	Drained LSN    `json:"drained,omitempty"`
	// Tried is the highest rung that was carried out, with success, for the present upstream: one that did not help is not repeated.
	Tried Rung `json:"tried,omitempty"`
	// Rewound is from where on the present data is consistent, if it was rewound and has not streamed since: the end of the log of its source then.
	Rewound Position `json:"rewound,omitzero"`
	// Serving is the newest goal obeyed under which this node served: what a drained node resumes by its deadline (S21); nil once it has obeyed
	// one that neither serves nor drains.
	Serving *Goal `json:"serving,omitempty"`
	// Resumed is the stamp of the draining goal that was given up by its deadline; such a goal is planned as Serving.
	Resumed Stamp `json:"resumed,omitzero"`
	// Released says that the node has left its group (StateDropped).
	Released bool `json:"released,omitempty"`
	// Asked says that the present stop of the server was asked through autoctl.
	Asked bool `json:"asked,omitempty"`
}

// Busy names work on the data directory that a crash may have interrupted.
type Busy string

// The kinds of work. BusyInit is initdb, BusyRewind a rewind (the directory may be half-rewound), BusySwap the exchange of a complete copy.
const (
	BusyNone   Busy = ""
	BusyInit   Busy = "init"
	BusyRewind Busy = "rewind"
	BusyCopy   Busy = "copy"
	BusySwap   Busy = "swap"
)

// Rung is a rung of the rejoin ladder.
type Rung string

// The rungs, from the cheapest.
const (
	RungStream Rung = ""
	RungRewind Rung = "rewind"
	RungCopy   Rung = "copy"
)

// ErrOldGoal says that a goal is older than one already obeyed, or differs from one with the same stamp: a monitor with an old memory sent it (S9).
var ErrOldGoal = errors.New("goal is older than the one obeyed")

// ErrForgotten says that a goal's record has forgotten the configuration that this node serves under: a monitor that was restored does not remember it, or took an
// older report for the present word. What was acknowledged under it, no other covers (S9).
var ErrForgotten = errors.New("the record of the goal has forgotten the configuration in force")

// Obey makes goal the one to follow. It refuses, with [ErrOldGoal], a goal whose stamp is lower than the newest obeyed, and one that forgets with [ErrForgotten]; one with an equal stamp
// changes nothing. The caller stores the result durably before it acts on it.
func (m *Memory) Obey(goal Goal) error {
	switch goal.Compare(m.Goal.Stamp) {
	case -1:
		return fmt.Errorf("obey %v after %v: %w", goal.Stamp, m.Goal.Stamp, ErrOldGoal)
	case 0:
		return nil
	}
	if c, forgotten := m.forgotten(goal); forgotten {
		return fmt.Errorf("obey %v, which does not know configuration %d: %w", goal.Stamp, c.Seq, ErrForgotten)
	}
	if !sameUpstream(m.Goal.Upstream, goal.Upstream) {
		m.Rung, m.Tried, m.Why = RungStream, RungStream, ""
	}
	m.Goal = goal
	if m.State == StateDropped && goal.State != StateDropped { // a monitor that was restored takes it back
		m.State, m.Released = StateInit, false
	}
	m.Promotions = named(m.Promotions, goal.Node)
	switch {
	case goal.State.Serves():
		m.Serving = &goal
	case !goal.State.Drains(): // what it served under is somebody else's past, and nothing to go back to
		m.Serving = nil
	}
	return nil
}

// forgotten returns a configuration that may be in force here, and that the record of a goal of the same reign does not have.
func (m *Memory) forgotten(goal Goal) (Configuration, bool) {
	if m.Serving == nil || goal.Configuration == nil {
		return Configuration{}, false
	}
	for _, c := range m.Serving.Record.inForce(m.Settled) {
		if c.Epoch == goal.Configuration.Epoch && c.Primary == goal.Configuration.Primary && !goal.Record.holds(c) {
			return c, true
		}
	}
	return Configuration{}, false
}

// named says of promotions that an earlier version wrote down, without a node, that this one made them.
func named(all []Promotion, node NodeID) []Promotion {
	for i, p := range all {
		if p.Node == 0 {
			all = slices.Clone(all)
			all[i].Node = node
		}
	}
	return all
}

func sameUpstream(a, b *Upstream) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Node == b.Node && a.Timeline == b.Timeline
}

// Arrive records that the plan for the goal in memory is empty. A drain that was given up counts as its serving goal, not as a drain.
func (m *Memory) Arrive() {
	m.Reached = m.Goal.Stamp
	m.State = m.Effective(m.Goal).State
	if m.State == StateSecondary { // whatever was tried has helped: the next trouble begins with the cheapest rung
		m.Rung, m.Tried, m.Why = RungStream, RungStream, ""
		m.Rewound = Position{} // it streams: it is consistent, and PostgreSQL leaves no history behind that it has replayed
	}
}

// Effective returns the goal that is really planned: the goal itself, or the serving goal that a drained node went back to by its deadline (S21).
func (m Memory) Effective(goal Goal) Goal {
	if !goal.State.Drains() || m.Serving == nil || m.Resumed != goal.Stamp {
		return goal
	}
	back := goal
	back.State = m.Serving.State
	back.Configuration = m.Serving.Configuration
	back.Timeline = m.Serving.Timeline
	return back
}

// BeginInit marks that initdb begins on an empty directory.
func (m *Memory) BeginInit() {
	m.Busy = BusyInit
	m.Generation++
	m.Promotions, m.Rewound = nil, Position{}
}

// BeginRewind marks that the data is about to be rewound: no vote speaks for it any more (S10).
func (m *Memory) BeginRewind() {
	m.Busy = BusyRewind
	m.Generation++
}

// BeginCopy marks that a copy into the staging directory begins; the data itself is not touched yet.
func (m *Memory) BeginCopy() {
	if m.Busy == BusyNone {
		m.Busy = BusyCopy
	}
}

// BeginSwap marks that the complete copy is about to replace the data. Repeating it while a swap is unfinished changes nothing.
func (m *Memory) BeginSwap(goal Goal) {
	if m.Busy == BusySwap {
		return
	}
	m.Busy = BusySwap
	m.Generation = max(m.Generation+1, goal.MinGeneration)
}

// EndWork clears Busy after the work of that kind has succeeded, and returns the ladder to its cheapest rung.
func (m *Memory) EndWork() {
	switch m.Busy {
	case BusyRewind:
		m.Tried = RungRewind
	case BusySwap:
		m.Tried = RungCopy
		m.Promotions, m.Rewound = nil, Position{}
	case BusyCopy: // the copy waits to be swapped in: the rung stays
		m.Busy = BusyNone
		return
	default: // initialised, or nothing to do
	}
	m.Busy, m.Rung, m.Why = BusyNone, RungStream, ""
	m.Drained, m.Settled = 0, 0
}

// BeginPromote records the promotion that goal orders, before pg_promote is called (S3). Repeating it changes nothing.
func (m *Memory) BeginPromote(goal Goal, at LSN) {
	p := promotionOf(goal)
	if !m.Began(p) {
		p.Switch = at
		m.Promotions = append(slices.Clone(m.Promotions), p)
	}
}

// Began reports whether that promotion, by epoch and timeline, was begun on the present data.
func (m Memory) Began(p Promotion) bool {
	return slices.ContainsFunc(m.Promotions, func(q Promotion) bool { return q.Epoch == p.Epoch && q.Timeline == p.Timeline })
}

// promotionOf returns the promotion that a serving goal stands for, without its position.
func promotionOf(goal Goal) Promotion {
	epoch := goal.Orders.Epoch(goal.Timeline)
	if epoch == 0 {
		epoch = goal.Epoch
	}
	return Promotion{Epoch: epoch, Timeline: goal.Timeline, Node: goal.Node}
}

// Climb remembers that the rungs below rung do not help with the present upstream, and why.
func (m *Memory) Climb(rung Rung, why string) {
	m.Rung, m.Why = rung, why
}

// Resume gives up the draining goal by its deadline; see [Memory.Effective].
func (m *Memory) Resume(goal Goal) { m.Resumed = goal.Stamp }

// Settle records that the configuration with that sequence number is settled.
func (m *Memory) Settle(seq uint64) { m.Settled = max(m.Settled, seq) }

// Stopped records the LSN of an asked-for clean shutdown, or 0 when it was not clean. Started undoes it.
func (m *Memory) Stopped(drained LSN) {
	m.Asked, m.Drained = true, drained
}

// Started records that a server start begins.
func (m *Memory) Started() {
	m.Asked, m.Drained = false, 0
}
