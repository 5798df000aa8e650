package fsm

import "fmt"

// Goal is what the monitor wants one node to be. It is self-contained: a keeper can finish it with the monitor gone.
type Goal struct {
	Stamp
	Node      NodeID `json:"node"`
	Formation string `json:"formation"`
	Group     int    `json:"group"`
	Kind      Kind   `json:"kind"`
	State     State  `json:"state"`
	// Upstream is whom to follow; set for states that follow, and for report_lsn with AwaitEnd.
	Upstream *Upstream `json:"upstream,omitempty"`
	// AwaitEnd, for report_lsn, lets the node go on receiving from Upstream until that has shut down in order: it votes then, with the whole log. One that
	// does not follow Upstream when it hears of that votes at once.
	AwaitEnd bool `json:"await_end,omitempty"`
	// Configuration is the synchronous set of a node that serves.
	Configuration *Configuration `json:"configuration,omitempty"`
	// Timeline is the timeline of a serving node's reign: one that is not on it yet, and is in recovery, promotes to it.
	Timeline Timeline `json:"timeline,omitempty"`
	// Confirmed says that K members hold the whole log of a node that is to be promoted, by the votes that elected it: what its clients see is not lost, so
	// that it needs no crash gate (S16). So it is where an operator accepted that commits may be lost and fewer than K members are left: nobody is elected
	// without this node then, and who wants to be served now is not kept waiting for nodes that are gone.
	Confirmed bool `json:"confirmed,omitempty"`
	// Record is the group's durability record, told to the node that serves so that a replaced monitor can learn it (S9).
	Record Record `json:"record,omitempty"`
	// Orders maps timelines to epochs (S6) and shows which promotions the group knows.
	Orders Orders `json:"orders,omitempty"`
	// Peers are the other nodes of the group: who may connect, and for whom a slot is kept.
	Peers []Peer `json:"peers"`
	// Fellows are the nodes of the other groups of a Citus formation: who else may connect, since each of its nodes sends queries to the others.
	Fellows []Fellow `json:"fellows,omitempty"`
	// Hold numbers the hand-over of a group of a Citus formation during which the group's writes are held on every node of the formation (design section 9); 0 for none. Under
	// it a node that drains goes on answering, and one that prepares its promotion, or was promoted, holds the writes and sends them on; one that votes leaves that to it.
	Hold uint64 `json:"hold,omitempty"`
	// DeadlineMS is how long a drained node waits for a newer goal before it starts again under its configuration (S21), in ms; 0 for never.
	DeadlineMS int64 `json:"deadline_ms,omitempty"`
	// MinGeneration is the lowest data generation that may be used: data of a lower one is copied anew (perform rebuild).
	MinGeneration uint64 `json:"min_generation,omitempty"`
	// Settings are the group's timings, as far as a keeper needs them.
	Settings Settings `json:"settings"`
	// Database is the formation's database, created by the first primary.
	Database string `json:"database"`
	// Databases are those of a Citus formation beside Database, in order of their names.
	Databases []string `json:"databases,omitempty"`
	// SystemID is the group's system identifier; 0 while no node has been initialised.
	SystemID uint64 `json:"system_id,omitempty"`
	// Limits are those of the primary, for nodes that follow it.
	Limits Limits `json:"limits,omitzero"`
	// Wishes are what operators set, which a keeper only keeps for a replacement monitor; nil from a monitor that does not tell.
	Wishes *Wishes `json:"wishes,omitempty"`
}

// Wishes are what operators want of a node and its group and only the monitor acts on.
type Wishes struct {
	Priority   int  `json:"priority"`
	Quorum     bool `json:"quorum"`
	NumberSync int  `json:"number_sync"`
	Paused     bool `json:"paused"`
}

// Called names another node of the group for people: by its name, or by its id where the goal does not tell that.
func (g Goal) Called(id NodeID) string {
	for _, p := range g.Peers {
		if p.Node == id && p.Name != "" {
			return p.Name
		}
	}
	return fmt.Sprint(int64(id))
}

// Upstream names the server that a node follows.
type Upstream struct {
	Node NodeID `json:"node"`
	Host string `json:"host"`
	Port int    `json:"port"`
	// Timeline is the one that the upstream is on, or will be once it has promoted.
	Timeline Timeline `json:"timeline"`
	// Until, for fast_forward, is the position to reach; zero otherwise.
	Until Position `json:"until,omitzero"`
}

// Peer is another node of the group as its neighbours need to know it.
type Peer struct {
	Node NodeID `json:"node"`
	Name string `json:"name"`
	Host string `json:"host"`
	Port int    `json:"port"`
	// Token is the random part of the node's slot and application name (S11).
	Token string `json:"token"`
	// Kept is the lowest LSN that the peer may still need, for advancing its slot on standbys; 0 when unknown.
	Kept LSN `json:"kept,omitempty"`
}

// Fellow is a node of another group of the formation, as far as pg_hba.conf needs to know it.
type Fellow struct {
	Node  NodeID `json:"node"`
	Group int    `json:"group"`
	Host  string `json:"host"`
	Port  int    `json:"port"`
}

// Kind is a formation's kind.
type Kind string

// The kinds of formation. A pgsql formation has one group, 0; a citus formation has the coordinator in group 0 and workers in groups 1 to N.
const (
	KindPgsql Kind = "pgsql"
	KindCitus Kind = "citus"
)
