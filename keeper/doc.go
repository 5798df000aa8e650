// Package keeper is the daemon of one database node. It remembers the newest
// goal that the monitor gave, observes PostgreSQL, plans with [fsm.Plan], does
// one step, and observes again, until the goal is reached; beside that, never
// waiting for it, it reports what it sees.
//
// Three goroutines carry it, and none waits for another: the executor (one step
// at a time, woken by events), the reporter (heartbeats, and at once when
// something material changed), and the session (goals pushed by the monitor).
// What they share is the [Store], which is durable before anybody acts on it,
// and a few small fields of the [Daemon] under one mutex.
//
// Create, in this package too, decides what a data directory is and registers
// the node. PostgreSQL itself is controlled by subpackage local, through the
// interface [Node]; the state file is subpackage state's, the control socket
// subpackage control's. Configuration files and the command line are not this
// package's: it takes a plain [Config].
package keeper
