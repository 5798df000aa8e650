package monitorapi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// Protocol is the version of the functions that this package calls.
const Protocol = 1

// Registration is what a keeper says of its node to become, or to go on being, a member of a group.
//
// It is idempotent: the same token (of this host and port, or of this name) continues the node that it once registered.
type Registration struct {
	Formation string   `json:"formation"`
	Kind      fsm.Kind `json:"kind"`
	// Group is the wanted group, or -1 to let the monitor choose.
	Group int `json:"group"`
	// Name is the wanted name; empty lets the monitor choose one.
	Name string `json:"name"`
	Host string `json:"host"`
	Port int    `json:"port"`
	// SystemID and HasData describe an existing data directory.
	SystemID uint64 `json:"system_id"`
	HasData  bool   `json:"has_data"`
	// Priority (0 to 100) and Quorum count for a new node only.
	Priority int  `json:"priority"`
	Quorum   bool `json:"quorum"`
	// Token is the random part of the node's slot name: 8 hexadecimal digits, made once and kept on disk.
	Token string `json:"token"`
	// NodeID is the id of a node that continues; 0 for a new one.
	NodeID fsm.NodeID `json:"node_id"`
	// Database is the formation's database; empty takes the formation's.
	Database string `json:"database"`
	// Cluster is the Citus cluster name of a read replica, which never serves; empty for all other nodes. It never changes.
	Cluster string `json:"cluster"`
	// ProxyPort is where a connection pooler on the node's host takes what other nodes of a Citus formation send to the node while it serves; 0 for none.
	ProxyPort int `json:"proxy_port"`
	// Memory is handed to a replacement monitor, which continues the group, the ids, the epoch and the record from it (S9).
	Memory *fsm.Memory `json:"memory,omitempty"`
}

// Registered is the monitor's answer to a [Registration].
type Registered struct {
	Node  fsm.NodeID `json:"node"`
	Group int        `json:"group"`
	Name  string     `json:"name"`
}

// Hello is what a monitor says of itself.
type Hello struct {
	Protocol    int    `json:"protocol"`
	Software    string `json:"software"`
	Incarnation uint64 `json:"incarnation"`
}

// Change is one thing that happened to a node or group, as it is pushed to those who watch.
type Change struct {
	Time      time.Time  `json:"time"`
	Formation string     `json:"formation"`
	Group     int        `json:"group"`
	Node      fsm.NodeID `json:"node"` // 0 for the whole group
	Name      string     `json:"name"`
	Host      string     `json:"host"`
	Port      int        `json:"port"`
	Reported  fsm.State  `json:"reported"`
	Assigned  fsm.State  `json:"assigned"`
	// Event is the kind of change: "goal" (assigned changed), "state" (reported changed), "health", "registered", "forgotten",
	// or the kind of a group's event.
	Event string `json:"event"`
	// Text is the reason or the news in words; it may be cut to fit a notification.
	Text string `json:"text,omitempty"`
}

// Event is one entry of the event log.
type Event struct {
	ID        int64      `json:"id"`
	Time      time.Time  `json:"time"`
	Formation string     `json:"formation"`
	Group     int        `json:"group"`
	Node      fsm.NodeID `json:"node"`
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	Rule      string     `json:"rule"`
	Reason    string     `json:"reason"`
	Reported  fsm.State  `json:"reported"`
	Assigned  fsm.State  `json:"assigned"`
	Stamp     fsm.Stamp  `json:"stamp"`
}

// EventFilter chooses events. The zero value means the last 20 of everything.
type EventFilter struct {
	// Formation, when not empty, and Group, when Formation is set and Group is not nil, restrict to one formation or group.
	Formation string `json:"formation,omitempty"`
	Group     *int   `json:"group,omitempty"`
	// Node restricts to events that concern one node.
	Node fsm.NodeID `json:"node,omitempty"`
	// Count is how many to return at most, the newest; 0 for 20.
	Count int `json:"count,omitempty"`
	// After returns only events with a greater id: for following.
	After int64 `json:"after,omitempty"`
}

// State is what show state prints: everything that the monitor knows, for people and programs.
type State struct {
	Monitor    MonitorState     `json:"monitor"`
	Formations []FormationState `json:"formations"`
}

// MonitorState describes the monitor.
type MonitorState struct {
	Software    string    `json:"software"`
	Protocol    int       `json:"protocol"`
	Incarnation uint64    `json:"incarnation"`
	Time        time.Time `json:"time"`
	// DeciderAgeMS is for how long the decision loop has not shown a sign of life, in ms; -1 when it has not since PostgreSQL started.
	DeciderAgeMS int64 `json:"decider_age_ms"`
}

// FormationState describes a formation with its groups.
type FormationState struct {
	Name       string       `json:"name"`
	Kind       fsm.Kind     `json:"kind"`
	Database   string       `json:"database"`
	Databases  []string     `json:"databases,omitempty"` // of a Citus formation, beside Database
	NumberSync int          `json:"number_sync_standbys"`
	Paused     bool         `json:"paused"`
	Groups     []GroupState `json:"groups"`
}

// SystemID is a system identifier. In JSON it is a string: it is above 2^53, which many readers of numbers round.
type SystemID uint64

// MarshalJSON writes the digits as a string.
func (s SystemID) MarshalJSON() ([]byte, error) {
	return []byte(`"` + strconv.FormatUint(uint64(s), 10) + `"`), nil
}

// UnmarshalJSON reads the digits as a string or, from the monitor, as a number.
func (s *SystemID) UnmarshalJSON(data []byte) error {
	v, err := strconv.ParseUint(strings.Trim(string(data), `"`), 10, 64)
	if err != nil {
		return fmt.Errorf("read system identifier: %w", err)
	}
	*s = SystemID(v)
	return nil
}

// GroupState describes a group with its nodes.
type GroupState struct {
	Group       int           `json:"group"`
	SystemID    SystemID      `json:"system_id"`
	Epoch       uint64        `json:"epoch"`
	Sequence    uint64        `json:"sequence"`
	Incarnation uint64        `json:"incarnation"`
	Unproven    bool          `json:"unproven"`
	NumberSync  int           `json:"number_sync_standbys"`
	Election    *fsm.Election `json:"election"`
	Record      fsm.Record    `json:"record"`
	Orders      fsm.Orders    `json:"orders"`
	Nodes       []NodeState   `json:"nodes"`
}

// NodeState describes a node: what it said last, and what it was told.
type NodeState struct {
	NodeID   fsm.NodeID `json:"node_id"`
	Name     string     `json:"name"`
	Group    int        `json:"group"`
	Host     string     `json:"host"`
	Port     int        `json:"port"`
	Slot     string     `json:"slot"` // slot and application name
	Reported fsm.State  `json:"reported_state"`
	Assigned fsm.State  `json:"assigned_state"`
	// Health is what the monitor's own probe found: "good", "bad" or "unknown".
	Health   string       `json:"health"`
	Timeline fsm.Timeline `json:"timeline"`
	LSN      fsm.LSN      `json:"lsn"`
	// Connection is "read-write", "read-only" or "none".
	Connection string `json:"connection"`
	Priority   int    `json:"candidate_priority"`
	Quorum     bool   `json:"replication_quorum"`
	// ProxyPort is that of the node's connection pooler, 0 for none; Cluster the Citus cluster name of a read replica.
	ProxyPort   int              `json:"proxy_port"`
	Cluster     string           `json:"citus_cluster"`
	Server      fsm.ServerStatus `json:"server"`
	Open        bool             `json:"open"`
	Maintenance bool             `json:"maintenance"`
	Dropping    bool             `json:"dropping"`
	// ReportAgeMS is the age of the last report in ms; -1 when there is none since the monitor's PostgreSQL started.
	ReportAgeMS int64 `json:"report_age_ms"`
	// LagBytes is what the serving node says of this standby; -1 when it says nothing.
	LagBytes int64         `json:"lag_bytes"`
	Version  int           `json:"version"`
	Software string        `json:"software"`
	Activity *fsm.Activity `json:"activity,omitempty"`
	Problem  *fsm.Problem  `json:"problem,omitempty"`
}

// Formation describes a formation without its groups.
type Formation struct {
	Name       string   `json:"name"`
	Kind       fsm.Kind `json:"kind"`
	Database   string   `json:"database"`
	NumberSync int      `json:"number_sync_standbys"`
	Paused     bool     `json:"paused"`
	Nodes      int      `json:"nodes"`
}

// Timelines is what show timeline prints of one group.
type Timelines struct {
	Formation string         `json:"formation"`
	Group     int            `json:"group"`
	Orders    fsm.Orders     `json:"orders"`
	Nodes     []NodeTimeline `json:"nodes"`
}

// NodeTimeline is where one node's log is.
type NodeTimeline struct {
	NodeID     fsm.NodeID      `json:"node_id"`
	Name       string          `json:"name"`
	Timeline   fsm.Timeline    `json:"timeline"`
	LSN        fsm.LSN         `json:"lsn"`
	Promotions []fsm.Promotion `json:"promotions"`
}

// Metadata are the parts of a node that may be renamed; empty and 0 leave a part as it is.
type Metadata struct {
	Name string `json:"name,omitempty"`
	Host string `json:"host,omitempty"`
	Port int    `json:"port,omitempty"`
}

// Snapshot is a group as the monitor sees it, and the moment, on the monitor's clock, at which it did.
type Snapshot struct {
	Group fsm.Group   `json:"group"`
	Now   fsm.Instant `json:"now"`
	// DeciderAgeMS is as in [State]'s monitor: for how long the decision loop has not shown a sign of life.
	DeciderAgeMS int64 `json:"decider_age_ms"`
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// Topology is where the groups of a formation are served, as the monitor decided it.
type Topology struct {
	Formation string   `json:"formation"`
	Kind      fsm.Kind `json:"kind"`
	Database  string   `json:"database"`
	// Databases are those beside Database, in order of their names.
	Databases []string `json:"databases,omitempty"`
	// Epoch grows with each change of any place.
	Epoch  uint64  `json:"epoch"`
	Groups []Place `json:"groups"` // in order of their numbers; a group that the monitor cannot vouch for is left out
}

// Place is where one group is served.
type Place struct {
	Group int `json:"group"`
	// Incarnation and Epoch order the places of a group: a newer one has a greater pair.
	Incarnation uint64     `json:"incarnation"`
	Epoch       uint64     `json:"epoch"`
	SystemID    SystemID   `json:"system_id"`
	NodeID      fsm.NodeID `json:"node_id"`
	Name        string     `json:"name"`
	Host        string     `json:"host"`
	Port        int        `json:"port"`
	// ProxyPort is that of the connection pooler on the node's host; 0 for none.
	ProxyPort int `json:"proxy_port"`
	// Replicas are the group's read replicas that have been in step once; nil for a group that has never had any.
	Replicas []Replica `json:"replicas"`
	// Handing says that the group is being handed over with its writes held: who holds them sends them on, and until then nobody else is to.
	Handing bool `json:"handing,omitempty"`
	// Open says that the node serves and admits clients, as far as the monitor has heard; Gone, that the group's last node was dropped.
	Open bool `json:"open"`
	Gone bool `json:"gone"`
}

// Replica is a read replica that Citus is to know of.
type Replica struct {
	NodeID  fsm.NodeID `json:"node_id"`
	Name    string     `json:"name"`
	Host    string     `json:"host"`
	Port    int        `json:"port"`
	Cluster string     `json:"cluster"`
}
