package fsm

// Decision is what [Decide] concludes. The caller stores all of it in one transaction, durably, before it tells anybody.
type Decision struct {
	// Group is the group as it now is: goals, record, epoch, sequence, election, attributes; Commands are consumed.
	Group Group `json:"group"`
	// Changed says that Group differs from the snapshot in something that must be stored.
	Changed bool `json:"changed"`
	// Push lists the nodes whose goal changed, to be notified after the commit.
	Push    []NodeID `json:"push,omitempty"`
	Events  []Event  `json:"events,omitempty"`
	Answers []Answer `json:"answers,omitempty"`
	// Forget lists nodes that have left and whose rows may go.
	Forget []NodeID `json:"forget,omitempty"`
	// Wake is when to ask again if nothing happens before; 0 for no need.
	Wake Instant `json:"wake,omitempty"`
	// Refused are the rules that would have improved the group and why they did not fire: what explain prints.
	Refused []Refusal `json:"refused,omitempty"`
}

// Event is one thing that happened, with the rule that caused it and the reason in words.
type Event struct {
	// Kind is a short stable name: "goal", "state", "election", "elected", "record", "settled", "lost", "command", "data_loss", …
	Kind string `json:"kind"`
	// Node is whom it concerns; 0 for the whole group.
	Node NodeID `json:"node,omitempty"`
	// Rule is the name of the row of the rule table that fired.
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	// Assigned is the node's goal state after the event, for Kind "goal".
	Assigned State `json:"assigned,omitempty"`
	Stamp    Stamp `json:"stamp"`
}

// Refusal is a rule that did not fire, what it waits for, and what a human could do.
type Refusal struct {
	Rule string `json:"rule"`
	Node NodeID `json:"node,omitempty"`
	// Waits says what is missing; Hint what would help; Human that only an operator can end it.
	Waits string `json:"waits"`
	Hint  string `json:"hint,omitempty"`
	Human bool   `json:"human,omitempty"`
}
