// Package inprocess runs a monitor and its nodes inside the test process, on
// real PostgreSQL servers and real connections over the loopback interface: the
// shortest way from a change to knowing whether the parts still fit, and where
// the time of a failover goes. The scenarios in package tests run the binary
// instead, each node on a host of its own.
package inprocess
