// Package metadata carries a formation's topology to the servers of a Citus formation: it reads pg_dist_node on each, holds a group's writes, changes addresses,
// registers and removes nodes, and resolves prepared transactions. What is to be changed is decided in package citus.
//
// A [Client] serves one database and keeps no state: it may be used from several goroutines, by several keepers at once, and by one that has just begun. Every call
// has a deadline of its own, and every server is spoken to by itself: one that hangs delays nobody else. The force arguments of Citus' functions are never used:
// they end sessions that wait for a synchronous standby, which commits on the workers what was never replicated.
package metadata
