package explore

import (
	"fmt"
	"slices"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// Options bound a search and, for tests of the search itself, break a rule on purpose.
type Options struct {
	// Nodes is the size of the group: 1 to 5.
	Nodes int
	// Faults, Commits, Promotions and Commands are how many of each may happen on one path.
	Faults, Commits, Promotions, Commands int
	// Overlap is how many faults and commands together may come before the group is in normal service again; 0 for any number.
	Overlap int
	// Until cuts a search by breadth off; zero for never.
	Until time.Time
	// NumberSync is number_sync_standbys of the group.
	NumberSync int
	// Async are the nodes without replication quorum, a bit each, and Priorities the candidate priorities, 50 where there is none.
	Async      uint8
	Priorities []int
	// Citus has the group be a worker group of a Citus formation, whose planned hand-overs hold its writes while the old primary goes on answering.
	Citus bool
	// Every has the rarer faults happen as well: what is cut in one direction, a keeper or a server frozen alone, a disk that refuses the state file,
	// goals that come late, a monitor that is restored or replaced; and the rarer commands.
	Every bool
	// AllCommands has operators use every command, not only failover, promotion and maintenance.
	AllCommands bool
	// Prompt has every message arrive at once while the link is whole, and timers end only when nothing else can happen: what
	// comes late takes a fault. Without it messages and timers take as long as they like, for nothing.
	Prompt bool
	// Merge joins steps whose order cannot matter to the others, for fewer states.
	Merge bool
	// Ordered has nodes take their steps in a fixed order, one node's first; that a node is late with its steps takes a fault that
	// freezes it. Without it steps of different nodes come in every order, for nothing.
	Ordered bool
	// Heal asks for P3 in every state; it is the larger half of the work.
	Heal bool

	// only, when set, are the faults, their ends and the commands that may happen, and the timers that may end early at the price of a fault.
	only []event

	// script are events, as far as they can happen, with which a search by breadth begins; they take from the budget.
	script []event

	// broken says which rules of the world around Decide and Plan are broken; decide and plan replace the real ones.
	broken broken
	decide func(fsm.Group, fsm.Instant) fsm.Decision
	plan   func(fsm.Goal, fsm.Facts) []fsm.Step
}

// String tells the bounds.
func (o Options) String() string {
	if o.Faults+o.Commands+o.Promotions == 0 {
		return fmt.Sprintf("%d nodes, and what each seed draws", o.Nodes)
	}
	s := fmt.Sprintf("%d nodes, up to %d faults, %d commits, %d promotions, %d commands", o.Nodes, o.Faults, o.Commits, o.Promotions, o.Commands)
	if o.NumberSync > 0 {
		s += fmt.Sprintf(", number_sync_standbys %d", o.NumberSync)
	}
	if o.Citus {
		s += ", of a Citus formation"
	}
	if o.Async != 0 {
		s += fmt.Sprintf(", without quorum %0*b", o.Nodes, o.Async)
	}
	if o.Priorities != nil {
		s += fmt.Sprintf(", priorities %v", o.Priorities)
	}
	if o.Overlap > 0 {
		s += fmt.Sprintf(", at most %d of the faults and commands before the group is in service again", o.Overlap)
	}
	return s
}

// tries reports whether the event may happen, or, of a timer, whether it may come early.
func (o *Options) tries(e event) bool { return o.only == nil || slices.Contains(o.only, e) }

// bounded leaves out what may not happen.
func (o *Options) bounded(list []event) []event {
	if o.only == nil {
		return list
	}
	return slices.DeleteFunc(list, func(e event) bool {
		return !e.kind.free() && !o.tries(e)
	})
}

func (o *Options) defaults() {
	if o.decide == nil {
		o.decide = fsm.Decide
	}
	if o.plan == nil {
		o.plan = fsm.Plan
	}
}
