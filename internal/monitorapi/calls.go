package monitorapi

import (
	"context"

	"github.com/autoctl/autoctl/fsm"
)

// Register makes the node a member of its group, or continues it; see [Registration]. A name or address that belongs to another
// node is [CodeConflict].
func (c *Client) Register(ctx context.Context, r Registration) (Registered, error) {
	var out Registered
	text, err := encode(r)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, &out, "register", text)
}

// Report tells the monitor what the node is and returns the node's present goal; its State is [fsm.StateInit] when there is
// none yet. [CodeUnknown] says that the monitor does not know the node, or knows another one under its id.
func (c *Client) Report(ctx context.Context, r fsm.Report) (fsm.Goal, error) {
	goal := fsm.Goal{Node: r.Node, State: fsm.StateInit}
	text, err := encode(r)
	if err != nil {
		return goal, err
	}
	return goal, c.call(ctx, &goal, "report", text)
}

// Goal returns the node's present goal; its State is [fsm.StateInit] when there is none yet.
func (c *Client) Goal(ctx context.Context, node fsm.NodeID) (fsm.Goal, error) {
	goal := fsm.Goal{Node: node, State: fsm.StateInit}
	return goal, c.call(ctx, &goal, "goal", int64(node))
}

// State returns the state of a formation ("" for all of them) and of one of its groups (-1 for all).
func (c *Client) State(ctx context.Context, formation string, group int) (State, error) {
	var s State
	return s, c.call(ctx, &s, "state", formation, group)
}

// Events returns the chosen events, oldest first.
func (c *Client) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	var out []Event
	text, err := encode(f)
	if err != nil {
		return nil, err
	}
	return out, c.call(ctx, &out, "events", text)
}

// CreateFormation creates a formation; one that exists with the same kind and database is [CodeConflict] as well.
func (c *Client) CreateFormation(ctx context.Context, f Formation) error {
	text, err := encode(f)
	if err != nil {
		return err
	}
	return c.call(ctx, nil, "create_formation", text)
}

// DropFormation drops a formation without nodes; one that has nodes is [CodeRefused].
func (c *Client) DropFormation(ctx context.Context, name string) error {
	return c.call(ctx, nil, "drop_formation", name)
}

// CreateDatabase adds a database to a Citus formation, whose nodes make it; one that it has already is [CodeConflict].
func (c *Client) CreateDatabase(ctx context.Context, formation, database string) error {
	return c.call(ctx, nil, "create_database", formation, database)
}

// DropDatabase takes a database out of a formation and leaves it where it is; the first one is [CodeRefused].
func (c *Client) DropDatabase(ctx context.Context, formation, database string) error {
	return c.call(ctx, nil, "drop_database", formation, database)
}

// Formations lists the formations by name.
func (c *Client) Formations(ctx context.Context) ([]Formation, error) {
	var out []Formation
	return out, c.call(ctx, &out, "formations")
}

// Settings returns the timings in force.
func (c *Client) Settings(ctx context.Context) (fsm.Settings, error) {
	s := fsm.DefaultSettings()
	return s, c.call(ctx, &s, "settings")
}

// SetSettings replaces all timings at once, after checking them together; contradictory ones are [CodeInvalid].
func (c *Client) SetSettings(ctx context.Context, s fsm.Settings) error {
	if err := s.Validate(); err != nil {
		return &Error{Code: CodeInvalid, Text: err.Error(), Hint: "nothing was changed", Cause: err}
	}
	text, err := encode(s)
	if err != nil {
		return err
	}
	return c.call(ctx, nil, "set_settings", text)
}

// Pause stops all automation of a formation; Resume starts it again. Both return whether that changed anything.
func (c *Client) Pause(ctx context.Context, formation string) (bool, error) {
	var changed bool
	return changed, c.call(ctx, &changed, "pause", formation, true)
}

// Resume is the opposite of [Client.Pause].
func (c *Client) Resume(ctx context.Context, formation string) (bool, error) {
	var changed bool
	return changed, c.call(ctx, &changed, "pause", formation, false)
}

// SetNodeMetadata renames a node or moves its address; a name or address that another node has is [CodeConflict].
func (c *Client) SetNodeMetadata(ctx context.Context, node fsm.NodeID, m Metadata) error {
	text, err := encode(m)
	if err != nil {
		return err
	}
	return c.call(ctx, nil, "set_node_metadata", int64(node), text)
}

// NodeByName returns a node of a formation.
func (c *Client) NodeByName(ctx context.Context, formation, name string) (NodeState, error) {
	var n NodeState
	return n, c.call(ctx, &n, "node_by_name", formation, name)
}

// Timelines returns the timelines that were ordered in a group and where its nodes are.
func (c *Client) Timelines(ctx context.Context, formation string, group int) (Timelines, error) {
	var t Timelines
	return t, c.call(ctx, &t, "timelines", formation, group)
}

// ExplainInput returns the group as the decision loop sees it, ages included, and the moment on the monitor's clock: what
// fsm.Explain takes. It changes nothing (P7) and works while the decision loop is down, which Snapshot tells.
func (c *Client) ExplainInput(ctx context.Context, formation string, group int) (Snapshot, error) {
	var s Snapshot
	return s, c.call(ctx, &s, "explain_input", formation, group)
}

// Topology returns where the groups of a formation are served. It changes nothing.
func (c *Client) Topology(ctx context.Context, formation string) (Topology, error) {
	var t Topology
	return t, c.call(ctx, &t, "topology", formation)
}
