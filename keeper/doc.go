// Package keeper makes a machine a database node and runs it.
//
// [Create] finds out what a data directory is, refuses what could never become
// a node before anything changes, and registers the node. [Open] and
// [Service.Run] run it: the loops are package daemon's, PostgreSQL is package
// local's, the memory on disk package state's, and package control is how
// commands on the same machine talk to it.
//
// Configuration files and the command line are not this package's: it takes a
// plain [Config].
package keeper
