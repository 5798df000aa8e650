package fsm

import "fmt"

// State names what a node is, as a report, or must become, as a goal. The names are those that users of pg_auto_failover know.
type State string

// The states. "Serving" below means that PostgreSQL is read-write and clients are admitted.
const (
	// StateInit is reported only: registered, nothing done yet.
	StateInit State = "init"
	// StateSingle serves alone in its group.
	StateSingle State = "single"
	// StateWaitPrimary serves unprotected (k = 0) and waits for a standby. It is never left for a promotion elsewhere without an operator's consent.
	StateWaitPrimary State = "wait_primary"
	// StatePrimary serves under a configuration with k ≥ 1.
	StatePrimary State = "primary"
	// StateDraining is a planned hand-over: checkpoint while still serving, then a fast stop; reports the shutdown LSN.
	StateDraining State = "draining"
	// StateDemoted is stopped and fenced: it must not come up read-write. A demoted node that stopped cleanly is a voter.
	StateDemoted State = "demoted"
	// StateWaitStandby has no data yet and waits for its turn to be created.
	StateWaitStandby State = "wait_standby"
	// StateCatchingUp follows an upstream and is not yet counted on.
	StateCatchingUp State = "catchingup"
	// StateSecondary follows in step and may be promoted.
	StateSecondary State = "secondary"
	// StateReportLSN runs in recovery without an upstream; its position is final and its report is a vote.
	StateReportLSN State = "report_lsn"
	// StateFastForward is the preferred candidate fetching WAL that another voter has.
	StateFastForward State = "fast_forward"
	// StatePreparePromotion is a chosen candidate that must hold something back first (a Citus group's writes).
	StatePreparePromotion State = "prepare_promotion"
	// StateStopReplication is a promoted candidate that is not open yet; used only where a step lies between promotion and opening.
	StateStopReplication State = "stop_replication"
	// StatePrepareMaintenance is a primary handing over on its way into maintenance; it drains like StateDraining.
	StatePrepareMaintenance State = "prepare_maintenance"
	// StateWaitMaintenance is a standby that leaves the durability record before the operator gets it.
	StateWaitMaintenance State = "wait_maintenance"
	// StateMaintenance is the operator's: the keeper neither starts nor stops PostgreSQL.
	StateMaintenance State = "maintenance"
	// StateDropped is stopped and leaves the group; the monitor forgets the node once it says so.
	StateDropped State = "dropped"
)

// States lists every state in the order in which documentation prints them.
func States() []State {
	return []State{
		StateInit, StateSingle, StateWaitPrimary, StatePrimary, StateDraining, StateDemoted, StateWaitStandby,
		StateCatchingUp, StateSecondary, StateReportLSN, StateFastForward, StatePreparePromotion, StateStopReplication,
		StatePrepareMaintenance, StateWaitMaintenance, StateMaintenance, StateDropped,
	}
}

// ParseState returns the state with that name, or an error that quotes the unknown name.
func ParseState(name string) (State, error) {
	for _, s := range States() {
		if string(s) == name {
			return s, nil
		}
	}
	return "", fmt.Errorf("unknown state %q", name)
}

// Serves reports whether a node in this state accepts writes from clients.
func (s State) Serves() bool {
	return s == StateSingle || s == StateWaitPrimary || s == StatePrimary
}

// Drains reports whether a node with this goal hands its role over: checkpoint, then a fast stop.
func (s State) Drains() bool {
	return s == StateDraining || s == StatePrepareMaintenance
}

// Follows reports whether a node with this goal streams from an upstream.
func (s State) Follows() bool {
	switch s {
	case StateCatchingUp, StateSecondary, StateFastForward, StateWaitMaintenance:
		return true
	default:
		return false
	}
}
