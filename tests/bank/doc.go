// Package bank is a workload for a distributed database that is being broken: clients with accounts in several groups of a Citus formation, who work
// through several of its nodes at once. Some write and read single rows, some work in transactions of several statements, some move money between groups,
// and some change a table of which every node has a copy.
//
// Each client works alone on rows of its own, one operation at a time, with a number that it never uses twice, and records in memory what it sent and what
// was acknowledged. So the end can be told exactly: whatever was acknowledged is there, a transfer is there on both sides or on neither, each balance is
// what the transfers that are there make of it, and all copies are equal. Between two transfers of a client nobody touches its accounts: a sum that is not
// zero then is a commit of which one half is visible, and for how long that lasts is measured.
package bank
