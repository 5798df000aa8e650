// Package daemon is what a keeper does all day: it remembers the newest goal
// that the monitor gave, observes PostgreSQL, plans with fsm.Plan, does one
// step, and observes again, until the goal is reached; beside that, never
// waiting for it, it reports what it sees.
//
// Three goroutines carry it, and none waits for another: the executor (one step
// at a time, woken by events), the reporter (heartbeats, and at once when
// something material changed), and the session (goals pushed by the monitor).
// What they share is the [Store], which is durable before anybody acts on it,
// and a few small fields of the [Daemon] under one mutex.
//
// PostgreSQL and the monitor are behind the interfaces [Node] and [Monitor]:
// here is only the order in which things happen.
package daemon
