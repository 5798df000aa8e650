// Package formation keeps the Citus metadata of a formation in step with the monitor's topology, from the keeper of each of its nodes.
//
// The keeper of the coordinator's primary reconciles pg_dist_node on every metadata primary, all the time. The keeper of a worker that has just been promoted
// tells every other node of it by itself, at once and whether or not there is a coordinator. Both do no more than package metadata does for any topology, and
// what they do is safe to do twice, late, and at the same time: each change carries the epoch of its group's place.
package formation
