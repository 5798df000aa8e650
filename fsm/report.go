package fsm

// Report is what a keeper says of its node. A report that changes nothing material only refreshes the node's age.
type Report struct {
	Node  NodeID `json:"node"`
	Token string `json:"token"`
	// Obeyed is the newest goal that the keeper has persisted; Reached is the newest whose condition held on effective values.
	Obeyed  Stamp `json:"obeyed"`
	Reached Stamp `json:"reached"`
	// State is the state that was reached last; StateInit before any.
	State State `json:"state"`
	// Generation is the node's data generation (S10).
	Generation uint64 `json:"generation"`
	// SystemID is the data directory's system identifier; 0 while there is no data.
	SystemID uint64   `json:"system_id,omitempty"`
	Server   Server   `json:"server"`
	Position Position `json:"position"`
	// Vote is set only while the goal is report_lsn or demoted, it is reached, and no step of an older goal is in flight.
	Vote *Vote `json:"vote,omitempty"`
	// Refuses says that the node was given a goal whose record does not have a configuration that may be in force here ([ErrForgotten]), and no other since.
	Refuses bool `json:"refuses,omitempty"`
	// Settled is the Seq of the newest configuration that is effective and settled on this node (S1, S2).
	Settled uint64 `json:"settled,omitempty"`
	// Open says that clients are admitted: the node serves and the crash gate is lifted.
	Open bool `json:"open,omitempty"`
	// Held is the newest [Goal.Hold] under which the group's writes are held and this node has all that the old primary had then; Routed the newest after which they
	// go to this node.
	Held   uint64 `json:"held,omitempty"`
	Routed uint64 `json:"routed,omitempty"`
	// Unconfirmed is, where the crash gate was opened because patience ran out, the end of the log that the standbys had not confirmed (S16); 0 otherwise,
	// and again from the server's next start.
	Unconfirmed LSN `json:"unconfirmed,omitempty"`
	// Drained is the LSN of the shutdown checkpoint of a node that was stopped cleanly for draining or demotion; 0 otherwise.
	Drained LSN `json:"drained,omitempty"`
	// Standbys are the standbys as the serving node sees them.
	Standbys []Standby `json:"standbys,omitempty"`
	// PrimarySeen is, on a standby, the age in ms of its last proof that the upstream lives (its own probe, or the WAL receiver); -1 for never.
	PrimarySeenMS int64 `json:"primary_seen_ms"`
	// CommitAgeMS is, on a serving node, the age in ms of the last local commit that finished: hung storage makes it grow (S18). -1 elsewhere.
	CommitAgeMS int64 `json:"commit_age_ms"`
	// Promotions are the promotions that this node began on its present data (S3).
	Promotions []Promotion `json:"promotions,omitempty"`
	// Record, Orders: what the node remembers from the goals it obeyed, for a monitor with an old memory (S9).
	Record Record `json:"record,omitempty"`
	Orders Orders `json:"orders,omitempty"`
	// Activity is long work in progress, for people; Problem is what keeps the node from its goal.
	Activity *Activity `json:"activity,omitempty"`
	Problem  *Problem  `json:"problem,omitempty"`
	// Limits are what the node's configuration files ask for, in force since its last start or from its next.
	Limits Limits `json:"limits,omitzero"`
	// WeakCommits are, on a serving node, the roles and databases whose sessions begin with a synchronous_commit below "on" (S15).
	WeakCommits []string `json:"weak_commits,omitempty"`
	// Version is PostgreSQL's version number, such as 150018; Software the keeper's own version.
	Version  int    `json:"version,omitempty"`
	Software string `json:"software,omitempty"`
}

// ServerStatus is the condition of a node's PostgreSQL server.
type ServerStatus string

// The conditions. Crashed is an exit that nobody asked for and after which the server is not up again; Hung is a postmaster
// that lives and does not answer a new connection in time.
const (
	ServerAbsent   ServerStatus = "absent"
	ServerStopped  ServerStatus = "stopped"
	ServerCrashed  ServerStatus = "crashed"
	ServerStarting ServerStatus = "starting"
	ServerRunning  ServerStatus = "running"
	ServerHung     ServerStatus = "hung"
)

// Server is what a keeper knows of its server process.
type Server struct {
	Status ServerStatus `json:"status"`
	// Recovery says that the server runs in recovery (a standby); meaningful while running.
	Recovery bool     `json:"recovery,omitempty"`
	Timeline Timeline `json:"timeline,omitempty"`
	// Asked says that it is being stopped, is down or is not up again yet because somebody asked for that through autoctl: never a failure (H2).
	Asked bool `json:"asked,omitempty"`
}

// Vote is a node's word in an election: it has stopped receiving, and this is how far it got. It counts only in the election
// whose goal it quotes (S5).
type Vote struct {
	Stamp    Stamp    `json:"stamp"`
	Position Position `json:"position"`
	// Ended says that the last record is the shutdown of the server that wrote the log: when that has written nothing since, nothing is missing.
	Ended bool `json:"ended,omitempty"`
}

// Promotion is a promotion that a node began; it is on disk before pg_promote is called (S3).
type Promotion struct {
	Epoch    uint64   `json:"epoch"`
	Timeline Timeline `json:"timeline"`
	// Node is the one that was ordered to make it; 0 in the memory of an earlier version. A node that was dropped and created again on its data has
	// another id since.
	Node NodeID `json:"node,omitempty"`
	// Switch is the LSN of the candidate when it began.
	Switch LSN `json:"switch"`
}

// Standby is one standby connection as the serving node sees it.
type Standby struct {
	Node NodeID `json:"node"`
	// Streaming says that a walsender of the node's slot is in state streaming.
	Streaming bool `json:"streaming"`
	Flush     LSN  `json:"flush"`
	// LagBytes is how much of the serving node's log the standby has not flushed.
	LagBytes int64 `json:"lag_bytes"`
	// LostMS is for how long the standby has been disconnected, or has had WAL to flush without its flush position moving (S17); 0 when fine.
	LostMS int64 `json:"lost_ms,omitempty"`
}

// Activity is long work in progress.
type Activity struct {
	// Kind is one of "basebackup", "rewind", "recovery", "checkpoint", "settle".
	Kind  string `json:"kind"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes; 0 when unknown
	Text  string `json:"text"`
}

// Problem is what keeps a node from its goal, with what to do next.
type Problem struct {
	// Code is a short stable name such as "no_room" or "other_system".
	Code string `json:"code"`
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// ProblemStopping is the code with which a keeper says that it stops its server in order because somebody asked: never a failure (H2).
const ProblemStopping = "stopping"
