// Package citus holds the rules by which a Citus formation's node metadata follows its topology: what pg_dist_node must say, what is to be changed in it on
// one server, in which order, and what each actor of a move of a group's primary does next. It is pure: facts in, decisions out, nothing but the standard
// library. Package [github.com/autoctl/autoctl/citus/metadata] carries the decisions out on real servers.
//
// The monitor's [Topology] is the truth; pg_dist_node is a cache of it, on every node that plans queries, which since Citus 11 are all. Four rules follow:
//
//   - Every reachable metadata primary is told by itself. An update on the coordinator alone reaches the others only through a daemon, after seconds or a minute.
//   - Node ids never change: placements, jobs and clean-up records refer to them. A change of address is an update of the row with that id.
//   - A change carries the [Epoch] of its group's place, and is written to a table of the server's own in the same transaction. A server that knows a newer epoch
//     refuses the older, so that retries, overlapping reconcilers and an old coordinator that returns do no harm.
//   - The holding of writes is a courtesy to clients, never a safeguard: the votes of the group's members (docs/safety.md) decide who may acknowledge a commit.
package citus
