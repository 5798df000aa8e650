// Package state keeps what a keeper must remember across its own death: one
// small file outside the data directory, because a rewind or a copy would take
// it along (S8), and the lock that makes sure that one keeper owns a data
// directory.
//
// A change is on disk, file and directory fsynced, when [Store.Update] returns
// nil; where it returns an error nothing changed, in memory neither, so that a
// keeper can never act on, or report, what it might forget.
package state
