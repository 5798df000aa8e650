// Package tests holds the scenarios: stories of groups of real PostgreSQL nodes
// under autoctl, with something going wrong in each. A writer records what the
// service acknowledged all along, and every story ends by checking that none of
// it is missing, that every node is where it should be and nobody but the
// primary accepts writes, and that slots, synchronous standbys and pg_hba.conf
// are exactly right (P1, P2, P3).
package tests
