// Package probe asks whether a PostgreSQL server answers, without logging in:
// it opens a connection of its own, sends a startup packet and classifies the
// first answer. That is an exchange with a process that the postmaster had to
// fork, so a server that answers is really serving new connections.
//
// It leaves as a client that changed its mind would: nothing appears in the
// server's log unless pg_hba.conf rejects the probe or connections are logged.
package probe

import (
	"context"
	"crypto/tls"
	"time"
)

// Status is what a server's answer, or its absence, means.
type Status string

// The statuses.
const (
	// Alive: it asked for authentication, let us in, or refused us for a reason
	// that only a serving server gives (pg_hba.conf, unknown role or database).
	Alive Status = "alive"
	// Full: it serves, but has no connection left for us (53300).
	Full Status = "full"
	// Starting: it is starting up, recovering, or a standby that is not yet
	// consistent or not open to readers (57P03).
	Starting Status = "starting"
	// Stopping: it is shutting down (57P03).
	Stopping Status = "stopping"
	// Refused: the machine answers, nothing listens there.
	Refused Status = "refused"
	// Unreachable: the network or the name service says that there is no way.
	Unreachable Status = "unreachable"
	// Timeout: no answer within the context's time. Result.Connected tells a
	// silent machine from a silent server.
	Timeout Status = "timeout"
	// Broken: the connection ended without an answer, as when the server's
	// process crashed or a proxy has nothing behind it.
	Broken Status = "broken"
	// NotPostgreSQL: something else answered.
	NotPostgreSQL Status = "not PostgreSQL"
)

// Serving says whether new sessions are served, counting a full server (S18).
func (s Status) Serving() bool { return s == Alive || s == Full }

// Target is whom to ask.
type Target struct {
	// Host is a name, an address, or the directory of a Unix socket.
	Host string
	Port int
	// User and Database go into the startup packet. They need not exist where
	// pg_hba.conf asks for a password, and "postgres" is used if empty. A
	// server logs a refusal, so name ones that pg_hba.conf admits.
	User     string
	Database string
	// TLS, when set, is used if the server offers TLS, for servers whose
	// pg_hba.conf has hostssl lines only. nil asks without.
	TLS *tls.Config
}

// Result is one answer.
type Result struct {
	Status    Status
	Connected bool          // a connection was established
	Code      string        // SQLSTATE of an ErrorResponse
	Message   string        // its text, or why there was none
	RTT       time.Duration // from the first packet to the answer
	Err       error         // nil when PostgreSQL answered
}

// Probe asks a server once. It takes no longer than ctx allows, so give it a
// deadline, and it never fails: a failure is a Status.
func Probe(ctx context.Context, t Target) Result {
	start := time.Now()
	r := probe(ctx, t)
	r.RTT = time.Since(start)
	return r
}
