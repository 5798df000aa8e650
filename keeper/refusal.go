package keeper

import "fmt"

// Code classifies a [Refusal].
type Code string

// The codes.
const (
	CodeConfig       Code = "config"         // the configuration contradicts itself
	CodeRoot         Code = "root"           // PostgreSQL does not run as root
	CodeHeld         Code = "held"           // another keeper runs here
	CodeState        Code = "state"          // the state file cannot be used
	CodeForeign      Code = "foreign"        // the directory is not PostgreSQL's, or not ours
	CodeOtherVersion Code = "other_version"  // another major version's
	CodeOtherSystem  Code = "other_system"   // another cluster's
	CodeDamaged      Code = "damaged"        // PostgreSQL's, and cannot start
	CodePort         Code = "port"           // somebody listens there
	CodeHost         Code = "host"           // the host name does not resolve
	CodeSetup        Code = "setup"          // the system lacks something
	CodeNoRoom       Code = "no_room"        // no room for a cluster
	CodeGone         Code = "gone"           // the node was dropped
	CodeNotCreated   Code = "not_registered" // create was never finished
)

// Refusal says why nothing was done, and what to do next. Nothing was changed.
type Refusal struct { //nolint:errname // it is the answer to a request; "RefusalError" would say less
	Code  Code
	Text  string
	Hint  string
	Cause error
}

// Error returns the text.
func (r *Refusal) Error() string { return r.Text }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

func refuse(code Code, cause error, hint, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Cause: cause, Hint: hint, Text: fmt.Sprintf(format, args...)}
}
