package fsm

// Rule is one row of the ordered table that drives [Decide]: the first row that applies fires, and the table is looked at again from the top.
type Rule struct {
	// Name is how events and explain quote the row; Section groups rows for readers.
	Name    string
	Section string
	// When and Then say in words when the row applies and what it does.
	When string
	Then string
	// paused and unproven say that the row applies although automation is paused, or the monitor's memory is not proved.
	paused   bool
	unproven bool
	fire     func(*decider) bool
}

// Rules returns the table, in order.
func Rules() []Rule { return append([]Rule(nil), rules...) }

var rules = []Rule{
	{
		Name: "newer_incarnation", Section: "memory", paused: true, unproven: true, fire: (*decider).newerIncarnation,
		When: "a node has obeyed a monitor of a higher incarnation, or a goal of this one that this monitor never gave",
		Then: "this monitor takes a higher one still, and proves its record anew (S9)",
	},
	{
		Name: "learn_record", Section: "memory", paused: true, unproven: true, fire: (*decider).learn,
		When: "unproven, and a node remembers a newer record",
		Then: "the newest record, timelines and numbers found are taken over",
	},
	{
		Name: "recall", Section: "memory", paused: true, unproven: true, fire: (*decider).recall,
		When: "the record's primary has obeyed nothing of this incarnation, or refuses its goal, and remembers a configuration of its reign that this monitor does not",
		Then: "it is in the record too (S9)",
	},
	{
		Name: "confirm_record", Section: "memory", paused: true, unproven: true, fire: (*decider).confirm,
		When: "unproven, and a node that was heard has no goal of this incarnation, nor a part in an election that an unheard node may have won",
		Then: "it is told to go on as it is, under this incarnation",
	},
	{
		Name: "proved", Section: "memory", paused: true, unproven: true, fire: (*decider).proved,
		When: "unproven, and for every configuration the primary and k members have obeyed this incarnation",
		Then: "the record is current; normal service",
	},
	{
		Name: "retell", Section: "memory", paused: true, fire: (*decider).retell,
		When: "a node has obeyed a goal that this monitor does not remember, and the record is proved without it",
		Then: "it is told its goal anew",
	},
	{
		Name: "identified", Section: "service", paused: true, fire: (*decider).identified,
		When: "the first primary has created its data",
		Then: "the group takes its system identifier, the record its data generation",
	},
	{
		Name: "settled", Section: "service", paused: true, unproven: true, fire: (*decider).settled,
		When: "the primary has settled a configuration",
		Then: "older configurations leave the record",
	},
	{
		Name: "stopped", Section: "service", paused: true, unproven: true, fire: (*decider).noteStopped,
		When: "a node's newest report says that it is stopped as an operator asked, or no longer says so",
		Then: "that is remembered, and a primary stopped so is never failed over by itself (H2)",
	},
	{
		Name: "forget", Section: "service", paused: true, fire: (*decider).forgetDropped,
		When: "a dropped node says that it has left, or is dropped by force and silent, and no configuration names it",
		Then: "it is forgotten",
	},
	{
		Name: "first_primary", Section: "service", fire: (*decider).firstPrimary,
		When: "the group has had no primary, or its last node was dropped",
		Then: "the first node, one that brings data before one that does not, is single: k = 0; not one whose data may be older than that of a node that has left (P1)",
	},
	{
		Name: "held", Section: "election", fire: (*decider).held,
		When: "a hand-over of a Citus worker group, and its writes are held on every node of the formation",
		Then: "the standbys vote, while the old primary goes on answering",
	},
	{
		Name: "log_ended", Section: "election", fire: (*decider).logEnded,
		When: "a planned election, and a standby votes with the shutdown of the old primary as the last record of its log",
		Then: "the votes count from now on, whether or not the old primary has said that it is down",
	},
	{
		Name: "drained", Section: "election", fire: (*decider).drained,
		When: "a planned election, and the old primary is down and says where its log ends",
		Then: "the standbys vote; where only the old primary can cover the record it is demoted, which makes its last word a vote",
	},
	{
		Name: "drain_failed", Section: "election", fire: (*decider).drainFailed,
		When: "a planned election, and the old primary serves again or nobody can take over any more",
		Then: "the election is abandoned under a higher sequence; the old primary goes on (S21)",
	},
	{
		Name: "resumed", Section: "election", fire: (*decider).resumed,
		When: "an election without a candidate, and the primary is back and alone covers the record",
		Then: "the election is abandoned under a higher sequence (S20)",
	},
	{
		Name: "never_started", Section: "election", fire: (*decider).neverStarted,
		When: "the primary of a configuration votes and has not begun the promotion of its epoch",
		Then: "that configuration leaves the record (S4)",
	},
	{
		Name: "join_vote", Section: "election", fire: (*decider).joinVote,
		When: "an election, and a node with data has not been asked yet",
		Then: "it is asked for its vote",
	},
	{
		Name: "choose", Section: "election", fire: (*decider).choose,
		When: "the votes cover every configuration of the record, and nobody who was heard is still expected to vote",
		Then: "the most advanced voter is promoted, priority deciding among equals; the record gets its configuration first (S4, S6)",
	},
	{
		Name: "fast_forwarded", Section: "election", fire: (*decider).fastForwarded,
		When: "the preferred candidate has fetched what it lacked",
		Then: "it is promoted",
	},
	{
		Name: "source_lost", Section: "election", fire: (*decider).sourceLost,
		When: "the source or the candidate of a fast_forward is gone, or its time is up",
		Then: "the votes are taken anew",
	},
	{
		Name: "elected", Section: "election", fire: (*decider).elected,
		When: "the candidate runs outside recovery on its timeline",
		Then: "the election is over",
	},
	{
		Name: "candidate_lost", Section: "election", fire: (*decider).candidateLost,
		When: "the candidate has failed before it served, and others cover the record, its configuration included",
		Then: "the votes are taken anew, the old primary's too",
	},
	{
		Name: "interrupted", Section: "failure", fire: (*decider).interrupted,
		When: "no election, and the record's primary has another goal than to serve: a restored monitor forgot the election",
		Then: "an election",
	},
	{
		Name: "primary_failed", Section: "failure", fire: (*decider).primaryFailed,
		When: "the primary crashed, is silent, does not come up, hangs or its storage does, and nodes heard now cover the record without it",
		Then: "an election",
	},
	{
		Name: "deposed", Section: "failure", fire: (*decider).deposed,
		When: "the primary was dropped, and a node serves still that was primary before it, as only a former monitor knew",
		Then: "it is demoted (P2)",
	},
	{
		Name: "drop", Section: "membership", fire: (*decider).dropNodes,
		When: "a node is to be dropped and no configuration names it",
		Then: "dropped",
	},
	{
		Name: "maintenance", Section: "membership", fire: (*decider).maintain,
		When: "a standby is to be maintained",
		Then: "wait_maintenance while a configuration names it, then maintenance",
	},
	{
		Name: "left", Section: "membership", fire: (*decider).left,
		When: "a standby that is about to stop has left the record",
		Then: "its keeper is told that it may",
	},
	{
		Name: "new_node", Section: "membership", fire: (*decider).newNodes,
		When: "a node has registered and the group has a primary",
		Then: "wait_standby",
	},
	{
		Name: "create_standby", Section: "membership", fire: (*decider).createStandbys,
		When: "a node waits to be created, and the primary admits it",
		Then: "catchingup",
	},
	{
		Name: "follow", Section: "membership", fire: (*decider).follow,
		When: "the group has a primary, and another node neither follows it nor is the operator's",
		Then: "catchingup",
	},
	{
		Name: "members", Section: "membership", fire: (*decider).membership,
		When: "the synchronous set is not what the standbys in step, number_sync_standbys and operators want, and the last change has settled, or nobody is left to settle it",
		Then: "one change: k, or only additions, or only removals (S1)",
	},
	{
		Name: "roles", Section: "membership", fire: (*decider).roles,
		When: "a node's state is not what the record says of it",
		Then: "single, wait_primary or primary for the primary; secondary for members, catchingup for other standbys",
	},
}
