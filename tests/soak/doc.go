// Package soak is a nemesis: it runs a group of real nodes for as long as it is
// given, breaks whatever a seed says, several things at once, heals it, and
// demands each time that the group becomes whole again without a human (P3). All
// the while clients write and read in several ways, and what they were told is
// kept outside the servers and held against what the servers have: nothing that
// was acknowledged may be missing (P1), nobody but the primary may acknowledge
// (P2), money is neither made nor lost, and a register behaves as if there were
// only one copy of it.
//
// A run ends with a report for people and one for programs. It begins with a
// negative control, a group that is made to lose commits: a run whose checks do
// not notice that proves nothing and fails.
package soak
