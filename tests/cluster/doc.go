// Package cluster builds groups of real PostgreSQL nodes that the real autoctl
// binary keeps, one host a node, for scenarios that read like the story they
// tell. It wraps a [machine.Lab] with autoctl's commands, with waits for states,
// and with assertions that compare whole sets: slots, synchronous standbys, the
// block in pg_hba.conf.
//
// Every method fails the test on an error and must be called from its
// goroutine.
package cluster
