package citus

// DifferenceKind names how pg_dist_node differs from the topology.
type DifferenceKind string

// The kinds of difference.
const (
	// DifferMissing: the group's primary or a secondary has no row.
	DifferMissing DifferenceKind = "missing"
	// DifferAddress: the row has another address.
	DifferAddress DifferenceKind = "address"
	// DifferInactive: the row's node is not active, or has no metadata.
	DifferInactive DifferenceKind = "inactive"
	// DifferUnwanted: the row belongs to a dropped group, or to a secondary that is no longer wanted.
	DifferUnwanted DifferenceKind = "unwanted"
	// DifferPool: pg_dist_poolinfo says something else.
	DifferPool DifferenceKind = "pool"
	// DifferEpoch: the row is right and the server has not yet been told since which epoch.
	DifferEpoch DifferenceKind = "epoch"
	// DifferNewer: the server was told of a newer epoch; what we hold is old and nothing of that group may be changed with it.
	DifferNewer DifferenceKind = "newer"
	// DifferConflict: the server was told another address under the same epoch. Nothing is changed until a newer epoch says who is right.
	DifferConflict DifferenceKind = "conflict"
	// DifferForeign: a row of a group that nobody told us of. It is shown and left alone.
	DifferForeign DifferenceKind = "foreign"
)

// Difference is one thing in which a server's pg_dist_node differs from the topology, with the reason why it still does, for people.
type Difference struct {
	Kind  DifferenceKind `json:"kind"`
	Group int            `json:"group"`
	Node  NodeID         `json:"node_id,omitempty"`
	Want  string         `json:"want,omitempty"`
	Have  string         `json:"have,omitempty"`
	// Reason says what will change it, or why nothing does.
	Reason string `json:"reason"`
}

// StepKind names a change of one server's metadata.
type StepKind string

// The steps. StepMove, StepPool and StepNote are made on every metadata primary, in one transaction; the others on the coordinator only, each in a transaction of its
// own, because Citus carries them to all metadata nodes itself and refuses while one of them is away or out of step.
const (
	// StepMove is citus_update_node(Node, Address).
	StepMove StepKind = "move"
	// StepNote writes the group's place and epoch to the server's own table, and fails there if that knows a newer epoch.
	StepNote StepKind = "note"
	// StepPool writes pg_dist_poolinfo.
	StepPool StepKind = "pool"
	// StepCoordinator is citus_set_coordinator_host(Address): only for the first registration.
	StepCoordinator StepKind = "register_coordinator"
	// StepAdd is citus_add_node(Address, Group), after a look at who answers there. Like StepCoordinator it writes the group's place in the same transaction.
	StepAdd StepKind = "add"
	// StepActivate is citus_activate_node(Address).
	StepActivate StepKind = "activate"
	// StepAddSecondary is citus_add_secondary_node(Address, primary of Group, Cluster).
	StepAddSecondary StepKind = "add_secondary"
	// StepRemove is citus_remove_node(Address).
	StepRemove StepKind = "remove"
)

// Step is one change of one server's metadata.
type Step struct {
	Kind    StepKind `json:"kind"`
	Group   int      `json:"group"`
	Node    NodeID   `json:"node_id,omitempty"`
	Address Address  `json:"address,omitzero"`
	Cluster string   `json:"cluster,omitempty"`
	Pool    string   `json:"pool,omitempty"`
	// Epoch is that of the group's place.
	Epoch Epoch `json:"epoch"`
}

// Right reports whether a group is where the topology says, as far as these differences of one server go: clients of that server are sent to the right place.
func Right(left []Difference, group int) bool {
	for _, d := range left {
		if d.Group != group {
			continue
		}
		switch d.Kind {
		case DifferMissing, DifferAddress, DifferInactive, DifferNewer, DifferConflict:
			return false
		case DifferUnwanted, DifferPool, DifferEpoch, DifferForeign:
		}
	}
	return true
}
