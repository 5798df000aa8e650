package citus

import "fmt"

// NodeID is pg_dist_node.nodeid: given by Citus when a node is added, per database, and never changed.
type NodeID int32

// The roles and the cluster that a primary always has (pg_dist_node.noderole and nodecluster).
const (
	RolePrimary    = "primary"
	RoleSecondary  = "secondary"
	DefaultCluster = "default"
)

// Row is one row of pg_dist_node.
type Row struct {
	ID    NodeID `json:"node_id"`
	Group int    `json:"group"`
	Address
	Role             string `json:"role"`
	Cluster          string `json:"cluster"`
	HasMetadata      bool   `json:"has_metadata"`
	MetadataSynced   bool   `json:"metadata_synced"` // authoritative on the coordinator only
	Active           bool   `json:"active"`
	ShouldHaveShards bool   `json:"should_have_shards"`
}

// Place is one row of the server's own table of what it was told: where a group's primary is, and since which epoch.
type Place struct {
	Group   int     `json:"group"`
	Primary Address `json:"primary"` // zero for a group that was removed
	Pool    string  `json:"pool,omitempty"`
	Epoch   Epoch   `json:"epoch"`
}

// Actual is what one server knows: its own pg_dist_node, and what we told it.
type Actual struct {
	// Group and SystemID are the server's own: pg_dist_local_group, pg_control_system.
	Group    int    `json:"group"`
	SystemID uint64 `json:"system_id"`
	// Recovery says that the server is a standby: nothing can be told to it.
	Recovery bool    `json:"recovery,omitempty"`
	Rows     []Row   `json:"rows"`
	Places   []Place `json:"places"`
	// Pools are the rows of pg_dist_poolinfo by node id.
	Pools map[NodeID]string `json:"pools,omitempty"`
	// Version is the extension's version as installed in the database, Library the one of the loaded library; they differ between the two steps of an upgrade.
	Version string `json:"version"`
	Library string `json:"library,omitempty"`
}

// Primary returns the row of the group's primary; nil if it is not registered.
func (a Actual) Primary(group int) *Row {
	for i := range a.Rows {
		if a.Rows[i].Group == group && a.Rows[i].Role == RolePrimary {
			return &a.Rows[i]
		}
	}
	return nil
}

// Place returns what the server was told of the group; nil if nothing.
func (a Actual) Place(group int) *Place {
	for i := range a.Places {
		if a.Places[i].Group == group {
			return &a.Places[i]
		}
	}
	return nil
}

// String names a row for people.
func (r Row) String() string { return fmt.Sprintf("node %d (%s) at %s", r.ID, r.Role, r.Address) }
