package fsm

// Facts is what a keeper observes of its node and remembers on disk, at one moment.
type Facts struct {
	Memory Memory      `json:"memory"`
	Data   DataFacts   `json:"data"`
	Copy   CopyFacts   `json:"copy"`
	Server ServerFacts `json:"server"`
	Files  FileFacts   `json:"files"`
	// Upstream is what the keeper learned from the goal's upstream, over a replication connection; nil when it has not asked or got no answer.
	Upstream *UpstreamFacts `json:"upstream,omitempty"`
	// Silent says that the upstream was asked for this observation and gave no answer; see [Step.Ask].
	Silent bool `json:"silent,omitempty"`
	// SilentWhy is what stood in the way, in words; empty when that is unknown.
	SilentWhy string `json:"silent_why,omitempty"`
	// Password says that it did answer, and refused the password of this node.
	Password bool `json:"password,omitempty"`
	// Fresh says that the monitor has confirmed the goal in this run of the keeper, and after the server was last seen down: a server
	// under k = 0 starts only then, because an operator may have forced a promotion elsewhere meanwhile (design section 5).
	Fresh bool `json:"fresh,omitempty"`
	// Slots says that every peer of the goal has its slot and no slot of ours belongs to anybody else.
	Slots bool `json:"slots"`
}

// DataKind classifies a data directory.
type DataKind string

// The kinds.
const (
	DataAbsent  DataKind = "absent" // missing, or an empty directory
	DataReady   DataKind = "ready"
	DataDamaged DataKind = "damaged" // was PostgreSQL's; cannot start (pg_control missing, unreadable)
	DataForeign DataKind = "foreign" // another system identifier, another major version, not PostgreSQL's, or not ours to touch
)

// DataFacts describes the data directory.
type DataFacts struct {
	Kind     DataKind `json:"kind"`
	SystemID uint64   `json:"system_id,omitempty"`
	// Timeline and Checkpoint are pg_control's latest checkpoint; Clean says that it is a shutdown checkpoint of a server that is down.
	Timeline   Timeline `json:"timeline,omitempty"`
	Checkpoint LSN      `json:"checkpoint,omitempty"`
	Clean      bool     `json:"clean,omitempty"`
	// StandbySignal says that standby.signal is there: a start would come up read-only.
	StandbySignal bool `json:"standby_signal,omitempty"`
	// Lineage is the history of the local timeline.
	Lineage Lineage `json:"lineage,omitempty"`
	// Text explains DataDamaged and DataForeign.
	Text string `json:"text,omitempty"`
}

// CopyFacts describes the staging directory beside the data directory.
type CopyFacts struct {
	// Complete says that a copy for the goal's group is there, whole and fsynced, and may be swapped in.
	Complete bool `json:"complete,omitempty"`
	Partial  bool `json:"partial,omitempty"`
	// Room says that there is room for a copy; Needed and Free tell in bytes.
	Room   bool  `json:"room"`
	Needed int64 `json:"needed,omitempty"`
	Free   int64 `json:"free,omitempty"`
}

// ServerFacts describes the server process.
type ServerFacts struct {
	Status ServerStatus `json:"status"`
	// Remains says that processes of a dead postmaster are still there.
	Remains  bool     `json:"remains,omitempty"`
	Recovery bool     `json:"recovery,omitempty"`
	Timeline Timeline `json:"timeline,omitempty"`
	// Position is how far the server's log reaches: the flush position of a primary, the greatest of receive and replay of a standby.
	Position Position `json:"position"`
	// Final says that a standby's position cannot grow: no WAL receiver, and all local WAL was read (S7).
	Final bool `json:"final,omitempty"`
	// Ended says that the last record of a standby's log is the shutdown of the server that wrote it; told only while nothing is received.
	Ended bool `json:"ended,omitempty"`
	// Receiver says that a WAL receiver process exists; Streaming that it streams from the goal's upstream.
	Receiver  bool `json:"receiver,omitempty"`
	Streaming bool `json:"streaming,omitempty"`
	// Blocked says that replay waits for client sessions (S12).
	Blocked bool `json:"blocked,omitempty"`
	// Confirmed says that k members have flushed this server's end of WAL as it was when it came up, or that k is 0, or that patience ran out (crash gate, S16).
	Confirmed bool `json:"confirmed,omitempty"`
	// Impatient says that the last is why, while the gate is closed.
	Impatient bool `json:"impatient,omitempty"`
	// Guarded says that its processes are known to have a synchronous set that is not empty, so that commits wait from the first on (S2).
	Guarded bool `json:"guarded,omitempty"`
	// Stale says that the running server was started with parameters that only a restart can change, and they differ from those wanted.
	Stale bool `json:"stale,omitempty"`
	// Crashes counts starts in a row that failed or ended at once, since the goal changed.
	Crashes int `json:"crashes,omitempty"`
	// Pause says that the pause after a failed start is not over yet; it grows with Crashes.
	Pause bool `json:"pause,omitempty"`
	// Complaint is what the server wrote last before the newest of these ends; empty when that is not known.
	Complaint string `json:"complaint,omitempty"`
	// PortTaken says, in words, that an address that the server is to listen on is another program's; empty while it is free, or nothing is about to start.
	PortTaken string `json:"port_taken,omitempty"`
	// HungMS is for how long the server has been hung, in ms.
	HungMS int64 `json:"hung_ms,omitempty"`
	// StuckMS is for how long a standby has not streamed, while neither its replay nor its receive position moved, in ms. Of a starting server it is for how
	// long its startup process has slept over the same segment and was sent no more log.
	StuckMS int64 `json:"stuck_ms,omitempty"`
	// Checkpointed says that a checkpoint asked for by the present goal has ended.
	Checkpointed bool `json:"checkpointed,omitempty"`
	// DrainedMS is for how long the server has been down under a goal that drains, in ms.
	DrainedMS int64 `json:"drained_ms,omitempty"`
}

// FileFacts compares the files and, where a server runs, its effective values with what [Wanted] says for the goal.
type FileFacts struct {
	// Written says that our files say what the goal wants and are fsynced; Effective that a new session of the running server sees it too (S8).
	Written   bool `json:"written"`
	Effective bool `json:"effective"`
	// Gate says that the crash gate stands in pg_hba.conf and is in force.
	Gate bool `json:"gate,omitempty"`
	// Following is the node that the files name as upstream; 0 for none.
	Following NodeID `json:"following,omitempty"`
}

// UpstreamFacts is what an upstream said of itself.
type UpstreamFacts struct {
	Node     NodeID `json:"node"`
	SystemID uint64 `json:"system_id"`
	// Primary says that it is not in recovery; Lineage is its history; ControlTimeline the timeline of its latest checkpoint (S22).
	Primary         bool     `json:"primary"`
	Lineage         Lineage  `json:"lineage"`
	ControlTimeline Timeline `json:"control_timeline"`
	// LostSlot says that the WAL that would continue ours is gone there, whatever our slot says.
	LostSlot bool `json:"lost_slot,omitempty"`
}
