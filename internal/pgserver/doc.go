// Package pgserver controls one local PostgreSQL server: it finds PostgreSQL's
// programs, classifies a data directory, creates, copies, swaps and rewinds
// one, starts, adopts and stops the postmaster, and reads effective settings.
//
// It is pure mechanism. It decides nothing, retries nothing and knows nothing
// of goals, formations or peers: whoever calls it does. Nothing here promotes
// or reloads by itself.
//
// The subpackages each hold one idea: conf (configuration files), hba
// (pg_hba.conf), conninfo (connection strings), controldata (pg_control and
// timeline histories), probe (does a server answer), disk (durable files), and
// pgtest (servers for tests).
//
// PostgreSQL refuses to run as root, and so does everything here that runs one
// of its programs. Programs run with LC_ALL=C in a session of their own, so
// that a signal for our process group never reaches them. Secrets reach them by
// PGPASSFILE or PGPASSWORD, never by arguments (promise P7).
//
// Functions are safe for concurrent use on different data directories; on one
// data directory the caller serializes (a keeper holds a lock on it).
package pgserver
