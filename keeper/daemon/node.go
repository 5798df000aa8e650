package daemon

import (
	"context"

	"github.com/autoctl/autoctl/fsm"
)

// Store is the keeper's durable memory; see package state. When Update returns
// an error nothing has changed.
type Store interface {
	Get() fsm.Memory
	Update(change func(*fsm.Memory)) error
	// Note changes the memory now, and on disk with the next Update.
	Note(change func(*fsm.Memory))
}

// Status is what a report says of the server at one moment.
type Status struct {
	SystemID uint64
	Server   fsm.Server
	Position fsm.Position
	// Final is the position of a server that runs in recovery and cannot receive
	// more: what a vote says. Nil when it is not so.
	Final *fsm.Position
	// Ended says that this position is the end of a log whose writer has shut down.
	Ended         bool
	Standbys      []fsm.Standby
	PrimarySeenMS int64
	CommitAgeMS   int64
	Open          bool
	// Unconfirmed is the end of the log that the standbys had not confirmed when the crash gate was opened without them; 0 where it was not (S16).
	Unconfirmed fsm.LSN
	Activity    *fsm.Activity
	// Limits are what the configuration files ask for.
	Limits fsm.Limits
	// WeakCommits are the roles and databases of a serving node whose sessions begin with a weak synchronous_commit (S15).
	WeakCommits []string
	// Version is PostgreSQL's version number, such as 150018.
	Version int
}

// Node is the PostgreSQL of this host. All methods may be called concurrently,
// but Do only by one goroutine at a time.
type Node interface {
	// Observe collects the facts that a plan for the goal needs.
	Observe(ctx context.Context, goal fsm.Goal) (fsm.Facts, error)
	// Do takes one step to its end. When ctx ends it stops as soon as that is
	// safe; a step that was broken off is idempotent.
	Do(ctx context.Context, goal fsm.Goal, step fsm.Step) error
	// Status says what a report needs. It waits for nothing: what cannot be
	// learned at once is as old as it is.
	Status(ctx context.Context, goal fsm.Goal) Status
	// Changed signals that something material changed by itself: the server
	// exited or came up, a standby was lost, a position became final.
	Changed() <-chan struct{}
}

// Monitor is the keeper's side of the monitor's interface. All methods may be
// called concurrently and reconnect by themselves.
type Monitor interface {
	// Report delivers a report and returns the node's present goal; a goal in
	// state init stands for none.
	Report(ctx context.Context, report fsm.Report) (fsm.Goal, error)
	// Goals listens for goals as they are decided. The channel is closed when
	// the connection is lost or ctx ends.
	Goals(ctx context.Context, node fsm.NodeID) (<-chan fsm.Goal, error)
	// Command asks for a decision and waits for the answer.
	Command(ctx context.Context, formation string, group int, command fsm.Command) (fsm.Answer, error)
}

// Planner is [fsm.Plan].
type Planner func(goal fsm.Goal, facts fsm.Facts) []fsm.Step
