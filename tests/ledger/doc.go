// Package ledger writes rows into a PostgreSQL service while it is being broken
// and tells afterwards whether an acknowledged one is missing (P1), whether two
// servers acknowledged writes at the same time (P2), and for how long nobody
// could write (P5).
//
// Clients insert unique rows one at a time, the way an application would, by a
// multi-host URI. Every intent is written to a journal file outside the servers
// before the row is sent, every acknowledgement after it came. An answer
// together with a warning (PostgreSQL's "might not have been replicated") is
// not an acknowledgement. A row is never sent twice: one with an unknown fate
// may be there or not.
package ledger
