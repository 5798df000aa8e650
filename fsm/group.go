package fsm

// Group is an immutable snapshot of one group: what the monitor has stored and what it has heard. [Decide] never changes it.
type Group struct {
	Formation string `json:"formation"`
	Number    int    `json:"number"`
	Kind      Kind   `json:"kind"`
	Database  string `json:"database"`
	// Databases are those of a Citus formation beside Database, in order of their names.
	Databases []string `json:"databases,omitempty"`
	SystemID  uint64   `json:"system_id"`
	// Incarnation, Epoch and Seq are the parts of the newest stamp given out.
	Incarnation uint64 `json:"incarnation"`
	Epoch       uint64 `json:"epoch"`
	Seq         uint64 `json:"seq"`
	// Record is the group's durability record (design section 5).
	Record Record `json:"record"`
	// Orders are the timelines ever ordered.
	Orders Orders `json:"orders"`
	// NumberSync is number_sync_standbys (N).
	NumberSync int `json:"number_sync"`
	// Paused stops all automation of the formation.
	Paused bool `json:"paused"`
	// Unproven is set when a new incarnation starts: nothing may be weakened or promoted until the record is proved current (S9).
	Unproven bool `json:"unproven"`
	// Election is set while the group has no undisputed primary; nil in normal service.
	Election *Election `json:"election,omitempty"`
	// Unplanned are the instants of recent unplanned failovers, for the rate limit.
	Unplanned []Instant `json:"unplanned,omitempty"`
	// Since is the instant from which ages count: the start of the monitor, or its waking from a suspension.
	Since    Instant  `json:"since"`
	Settings Settings `json:"settings"`
	// Fellows are the nodes of the other groups of a Citus formation, in order of id.
	Fellows []Fellow `json:"fellows,omitempty"`
	// Founded says that the formation has a coordinator: the first worker of a Citus formation waits for one, which decides what the database is called.
	Founded  bool      `json:"founded,omitempty"`
	Nodes    []Node    `json:"nodes"` // in order of id; a dropped and forgotten node is gone
	Commands []Command `json:"commands,omitempty"`
}

// Election is one attempt to find who serves. Seq is the sequence number at which it began: goals that belong to it have a stamp at or above it.
type Election struct {
	Seq   uint64  `json:"seq"`
	Began Instant `json:"began"`
	// Reason is a short name: "primary_crashed", "primary_silent", "primary_hung", "primary_down", "primary_damaged", "storage_hung", "switchover",
	// "maintenance", "drop", "hand_over", "forced".
	Reason string `json:"reason"`
	// Planned says that an operator asked, and the old primary hands over in order.
	Planned bool `json:"planned"`
	// Preferred is the node that an operator named; 0 for none. Excluded must not win (it is being drained for maintenance or dropped); 0 for none.
	Preferred NodeID `json:"preferred,omitempty"`
	Excluded  NodeID `json:"excluded,omitempty"`
	// AllowDataLoss is an operator's consent to elect without covering the record.
	AllowDataLoss bool `json:"allow_data_loss,omitempty"`
	// Phase tells how far the election is; see the constants.
	Phase Phase `json:"phase"`
	// PhaseBegan is when the phase was entered, for deadlines.
	PhaseBegan Instant `json:"phase_began"`
	// Candidate is the chosen node, from the choice on; Source is where it fetches WAL in PhaseFastForward.
	Candidate NodeID `json:"candidate,omitempty"`
	Source    NodeID `json:"source,omitempty"`
	// Command is the operator's command that asked, to be answered at the end; 0 for none.
	Command int64 `json:"command,omitempty"`
	// Hold says that the old primary of a Citus worker group goes on answering, with the group's writes held, until they go to the new one. Preferred is then who
	// holds them.
	Hold bool `json:"hold,omitempty"`
	// Direct says that the most advanced eligible voter is chosen as it is: fast_forward was tried in vain.
	Direct bool `json:"direct,omitempty"`
}

// Phase is the step that an election has reached.
type Phase string

// The phases, in order. PhaseHolding or PhaseDraining is entered only when planned, PhaseFastForward only when the preferred candidate is behind.
const (
	PhaseHolding     Phase = "holding"
	PhaseDraining    Phase = "draining"
	PhaseVoting      Phase = "voting"
	PhaseFastForward Phase = "fast_forward"
	PhasePromoting   Phase = "promoting"
)

// Node is one node of a group as the monitor knows it.
type Node struct {
	ID       NodeID `json:"id"`
	Name     string `json:"name"`
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Token    string `json:"token"`
	Priority int    `json:"priority"` // candidate priority, 0 to 100; 0 is never elected automatically
	Quorum   bool   `json:"quorum"`   // replication quorum: may be a member
	// Cluster is the Citus cluster name of a read replica, which never serves and is no member; empty for all other nodes.
	Cluster string `json:"cluster,omitempty"`
	// HasData says that the node registered with a data directory of the group's system identifier.
	HasData bool `json:"has_data"`
	// Goal is what the node was last told; its State is StateInit before the first.
	Goal Goal `json:"goal"`
	// Report is what it last said; nil before the first.
	Report *Report `json:"report,omitempty"`
	// Heard is when the last report arrived, Probed when the monitor's own probe last succeeded; -1 for never in this life of the monitor.
	Heard  Instant `json:"heard"`
	Probed Instant `json:"probed"`
	// Up is since when the monitor has known the node's server to run: before that no probe could succeed. 0 when that is not known.
	Up Instant `json:"up,omitempty"`
	// Maintenance and Dropping are what operators want of the node; they hold until undone.
	Maintenance bool `json:"maintenance,omitempty"`
	Dropping    bool `json:"dropping,omitempty"`
	// Forced says that the node may be forgotten without its own word (drop node --force).
	Forced bool `json:"forced,omitempty"`
	// Leaving is the hand_over command of a standby that is about to stop: it leaves the record first. 0 for none.
	Leaving int64 `json:"leaving,omitempty"`
	// Stopped says that the node's last word was that it stopped its server because an operator asked; it outlives the report (H2).
	Stopped bool `json:"stopped,omitempty"`
	// MinGeneration is the lowest data generation that may be used (perform rebuild).
	MinGeneration uint64 `json:"min_generation,omitempty"`
	// Returns counts how often the node was taken back into the record; HoldUntil is the end of its present hold-off.
	Returns   int     `json:"returns,omitempty"`
	HoldUntil Instant `json:"hold_until,omitempty"`
}

// Command is an operator's request, decided by [Decide] like everything else.
type Command struct {
	ID   int64       `json:"id"`
	Kind CommandKind `json:"kind"`
	Node NodeID      `json:"node,omitempty"`
	// Number, Flag: the new value of CommandPriority and CommandNumberSync, or of CommandQuorum.
	Number int  `json:"number,omitempty"`
	Flag   bool `json:"flag,omitempty"`
	// AllowFailover is --allow-failover of enable maintenance; AllowDataLoss is --allow-data-loss; Force is drop node --force.
	AllowFailover bool `json:"allow_failover,omitempty"`
	AllowDataLoss bool `json:"allow_data_loss,omitempty"`
	Force         bool `json:"force,omitempty"`
}

// CommandKind names what an operator asked for.
type CommandKind string

// The commands.
const (
	CommandFailover    CommandKind = "failover"  // perform failover | switchover
	CommandPromotion   CommandKind = "promotion" // perform promotion: to Node
	CommandMaintenance CommandKind = "maintenance"
	CommandReturn      CommandKind = "return" // disable maintenance
	CommandPriority    CommandKind = "priority"
	CommandQuorum      CommandKind = "quorum"
	CommandNumberSync  CommandKind = "number_sync"
	CommandDrop        CommandKind = "drop"
	CommandRebuild     CommandKind = "rebuild"
	CommandHandOver    CommandKind = "hand_over" // a keeper that is being stopped asks to be relieved
)

// Outcome is how a command ended.
type Outcome string

// The outcomes. Accepted means begun: its end is seen in the states; Nothing means that the wish is already so.
const (
	OutcomeAccepted Outcome = "accepted"
	OutcomeDone     Outcome = "done"
	OutcomeNothing  Outcome = "nothing_to_do"
	OutcomeRefused  Outcome = "refused"
)

// Answer is the verdict on one command.
type Answer struct {
	Command int64   `json:"command"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
	Hint    string  `json:"hint,omitempty"`
	// Nodes tells, for a refusal that depends on nodes, why each of them could not do it.
	Nodes map[string]string `json:"nodes,omitempty"`
}
