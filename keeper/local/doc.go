// Package local is the PostgreSQL of one node: it turns what is there into [fsm.Facts] and carries out each [fsm.Step], over package pgserver. It
// takes no decision: what to do is [fsm.Plan]'s, when to do it the daemon's.
//
// A [Node] has three users at once: the executor calls Observe and Do, one at a time; the reporter calls Status, which waits for nothing; and
// goroutines of the node's own, until Close, look at the server at every heartbeat, probe the upstream, commit now and then to see that the
// storage works, and advance slots. What they share is the [Memory], which is durable, and the newest sight of the server, under one mutex.
//
// Everything that waits has a deadline. Every step is idempotent: what was done before a crash is found by looking.
package local
