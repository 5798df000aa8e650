package fsm

// Step is one thing that a keeper does next. Each is idempotent: a keeper that crashed anywhere observes and plans anew.
type Step struct {
	Kind StepKind `json:"kind"`
	// Reason says why, for logs and for people.
	Reason string `json:"reason"`
	// Files is what our files must say, for StepConfigure and the starts.
	Files *Files `json:"files,omitempty"`
	// Rung is where StepLadder goes.
	Rung Rung `json:"rung,omitempty"`
	// Ask, on StepWait, says that the upstream's own facts would decide: observe them and plan again.
	Ask bool `json:"ask,omitempty"`
	// Problem is set on StepWait and StepRefuse when a human should see it.
	Problem *Problem `json:"problem,omitempty"`
}

// StepKind names a step.
type StepKind string

// The steps.
const (
	// StepWait does nothing: the plan goes on when a fact changes. A plan that begins with it is not reached.
	StepWait StepKind = "wait"
	// StepRefuse does nothing and never will: the goal cannot be met here without a human.
	StepRefuse StepKind = "refuse"

	StepInitDB       StepKind = "initdb"        // create an empty cluster (BusyInit on disk first)
	StepEndRemains   StepKind = "end_remains"   // end what a dead postmaster left running
	StepConfigure    StepKind = "configure"     // write Files, fsync; reload if a server runs
	StepStart        StepKind = "start"         // start the server over Files (written and fsynced before)
	StepStopFast     StepKind = "stop_fast"     // fast shutdown
	StepStopNow      StepKind = "stop_now"      // immediate shutdown
	StepCheckpoint   StepKind = "checkpoint"    // CHECKPOINT while still serving
	StepEndReceiver  StepKind = "end_receiver"  // SIGTERM to a WAL receiver that outlived the reload (S12)
	StepAwaitEnd     StepKind = "await_end"     // wait until the receiver has ended by itself, with the upstream's shutdown; not for long at a time
	StepEndBlockers  StepKind = "end_blockers"  // end client sessions that hold up replay (S12)
	StepBeginPromote StepKind = "begin_promote" // persist the promotion (epoch, timeline, position) and place the history placeholders (S3)
	StepPromote      StepKind = "promote"       // pg_promote, awaited
	StepSettle       StepKind = "settle"        // settle the goal's configuration (S1, S2), then persist that it is
	StepOpenGate     StepKind = "open_gate"     // admit clients
	StepSlots        StepKind = "slots"         // one slot per peer, none for others, advanced on standbys
	StepRecover      StepKind = "recover"       // contained crash recovery of a stopped, unclean directory before a rewind
	StepRewind       StepKind = "rewind"        // generation + BusyRewind on disk, pg_rewind, files rewritten
	StepCopy         StepKind = "copy"          // base backup into the staging directory
	StepSwap         StepKind = "swap"          // generation + BusySwap on disk, exchange staging and data
	StepLadder       StepKind = "ladder"        // remember that the present rung failed and why; the next plan uses the next one
	StepResume       StepKind = "resume"        // persist that the drain was given up by its deadline; the next plan serves again (S21)
	StepRelease      StepKind = "release"       // dropped: forget the monitor
)

// Files is what our configuration files must say. The keeper renders it; [Wanted] derives it from a goal.
type Files struct {
	// Standby asks for standby.signal: the server comes up, or would come up, read-only.
	Standby bool `json:"standby"`
	// Upstream is whom to stream from; nil for nobody (an empty primary_conninfo).
	Upstream *Upstream `json:"upstream,omitempty"`
	// Configuration is the synchronous set; nil stands for the set that cannot be satisfied (default closed, S8).
	Configuration *Configuration `json:"configuration,omitempty"`
	// Gate asks for the crash gate at the top of pg_hba.conf (S16).
	Gate bool `json:"gate,omitempty"`
	// Peers are admitted for replication and rewind.
	Peers []Peer `json:"peers"`
	// Fellows, and the peers, are admitted to Database and Databases by the nodes of a Citus formation.
	Fellows   []Fellow `json:"fellows,omitempty"`
	Database  string   `json:"database,omitempty"`
	Databases []string `json:"databases,omitempty"`
	// Settings are the timings that become PostgreSQL parameters.
	Settings Settings `json:"settings"`
	// Limits are what a standby must match or exceed.
	Limits Limits `json:"limits,omitzero"`
}
