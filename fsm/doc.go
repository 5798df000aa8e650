// Package fsm holds every decision that autoctl takes, as pure functions over immutable values.
//
// [Decide] is the monitor's side: a snapshot of one group in; goals for its nodes, the group's durability record, typed
// events with their reasons, answers to operators, and the next instant at which it wants to be asked, out. [Plan] is the
// keeper's side: what a node must be and what it is now in; the ordered steps that remain, or none, out.
//
// The package imports only the standard library, reads no clock, starts nothing and logs nothing: time arrives as an
// [Instant], the world as a [Group] or as [Facts]. That is what lets the explorer in fsm/explore drive the very same
// functions through every interleaving of crashes, partitions and operators that it can reach.
//
// The promises P1 to P7 and the findings S1 to S24 that comments quote are explained in docs/architecture.md and docs/safety.md.
package fsm
