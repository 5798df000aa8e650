package monitorapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// Code classifies an [Error].
type Code string

// The codes.
const (
	// CodeUnreachable: no answer, connection refused or lost, name not resolved, or the monitor's PostgreSQL starts or stops.
	CodeUnreachable Code = "unreachable"
	// CodeNotMonitor: something answers there and it is no monitor.
	CodeNotMonitor Code = "not_a_monitor"
	// CodeTLS: the URI asks for TLS, and the server has none, or not such that the URI trusts it.
	CodeTLS Code = "no_tls"
	// CodeAuth: the monitor does not let us in: password, certificate or pg_hba.conf.
	CodeAuth Code = "auth"
	// CodeProtocol: the monitor speaks another version.
	CodeProtocol Code = "protocol"
	// CodeRefused: understood, and not done; Text says why.
	CodeRefused Code = "refused"
	// CodeUnknown: no such formation, group, node or command.
	CodeUnknown Code = "unknown"
	// CodeGone: this node was dropped from its formation.
	CodeGone Code = "gone"
	// CodeConflict: a name, address or id is taken.
	CodeConflict Code = "conflict"
	// CodeOtherSystem: the data directory is another cluster's.
	CodeOtherSystem Code = "other_system"
	// CodeInvalid: a value out of range or malformed.
	CodeInvalid Code = "invalid"
	// CodeFailed: the monitor tried, and its database had an error that nobody foresaw.
	CodeFailed Code = "failed"
)

// Error is what every call of a [Client] returns when it fails. It holds no secret.
type Error struct {
	Code Code
	Text string
	// Hint says what to do next; may be empty.
	Hint string
	// Cause is the underlying error, for errors.Is and errors.As; may be nil.
	Cause error
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first [*Error] in err's chain, or "" when there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// sqlCodes maps the SQLSTATEs that the monitor's functions raise; the class "AC" is not used by PostgreSQL.
var sqlCodes = map[string]Code{
	"AC001": CodeProtocol,
	"AC002": CodeUnknown,
	"AC003": CodeConflict,
	"AC004": CodeInvalid,
	"AC005": CodeRefused,
	"AC006": CodeGone,
	"AC007": CodeOtherSystem,
}

// classify turns whatever pgx returned into an *Error; where is host:port, for the text.
func classify(err error, where string) error {
	if err == nil {
		return nil
	}
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return classifySQL(pg, where)
	}
	text := reason(err)
	switch {
	case strings.Contains(text, "server refused TLS"):
		return &Error{Code: CodeTLS, Text: fmt.Sprintf("monitor at %s: server refuses TLS", where),
			Hint: "the sslmode of the monitor's URI asks for TLS: compare it with the monitor's settings", Cause: err}
	case strings.Contains(text, "remote error: tls:"): // the server says so: our certificate does not please it
		return &Error{Code: CodeAuth, Text: fmt.Sprintf("monitor at %s: TLS: %s", where, text), Hint: certificateHint, Cause: err}
	case strings.Contains(text, "tls:") || strings.Contains(text, "x509:"):
		return &Error{Code: CodeTLS, Text: fmt.Sprintf("monitor at %s: TLS: %s", where, text),
			Hint: "check host, sslmode and sslrootcert in the monitor's URI against the monitor's certificate", Cause: err}
	case strings.Contains(text, "password"):
		// pgx says so itself when the server asks for a password and there is none.
		return &Error{Code: CodeAuth, Text: fmt.Sprintf("monitor at %s: no password", where), Hint: passwordHint, Cause: err}
	case alien(err, text):
		return &Error{Code: CodeNotMonitor, Text: fmt.Sprintf("%s does not speak PostgreSQL's protocol: %s", where, text),
			Hint: "check host and port of the monitor's URI", Cause: err}
	}
	return &Error{Code: CodeUnreachable, Text: fmt.Sprintf("reach monitor at %s: %s", where, text),
		Hint: "is the monitor running (autoctl status), and are host and port right?", Cause: err}
}

const certificateHint = "name a client certificate for its role with sslcert= and sslkey= in the monitor's URI, or put it into ~/.postgresql"

const passwordHint = "no password was given, or a wrong one: put the one of the monitor into PGPASSWORD or a password file (~/.pgpass)"

// loginHint tells what to do about a login that was refused; the server's words, which are not translated before it, tell why.
func loginHint(message string) string {
	switch {
	case strings.Contains(message, "pg_hba.conf") && strings.Contains(message, "no encryption"):
		return "the monitor wants TLS: say sslmode=require, or stronger, in its URI"
	case strings.Contains(message, "pg_hba.conf"):
		return "the monitor's pg_hba.conf does not admit this address as this user: check the URI's user and database, and the rules on the monitor's machine"
	case strings.Contains(message, "certificate"):
		return certificateHint
	case strings.Contains(message, "role") && strings.Contains(message, "does not exist"):
		return "a monitor that is still being made has none of its roles yet: wait until its autoctl create monitor or autoctl run says that it is ready; else check the URI's user"
	}
	return passwordHint
}

// strangers are the errors of a server that has no monitor's database, schema or functions.
var strangers = []string{pgerrcode.InvalidCatalogName, pgerrcode.InvalidSchemaName, pgerrcode.UndefinedFunction, pgerrcode.UndefinedTable}

const uriHint = "a monitor prints its URI on its own machine: autoctl show uri --pgdata DIRECTORY"

func classifySQL(pg *pgconn.PgError, where string) error {
	e := &Error{Code: CodeFailed, Text: pg.Message, Hint: pg.Hint, Cause: pg}
	if code, ok := sqlCodes[pg.Code]; ok {
		e.Code = code
		return e
	}
	switch {
	case pg.Code == "28P01" || strings.HasPrefix(pg.Code, "28"):
		e.Code, e.Text = CodeAuth, fmt.Sprintf("monitor at %s: %s", where, pg.Message)
		e.Hint = loginHint(pg.Message)
	case pg.Where == "" && slices.Contains(strangers, pg.Code): // inside one of the monitor's functions it is the monitor that is broken
		e.Code, e.Text = CodeNotMonitor, fmt.Sprintf("the server at %s is not a monitor: %s", where, pg.Message)
		e.Hint = uriHint
	case strings.HasPrefix(pg.Code, "57P"), strings.HasPrefix(pg.Code, "53"), strings.HasPrefix(pg.Code, "08"), pg.Code == "57014":
		e.Code, e.Text = CodeUnreachable, fmt.Sprintf("monitor at %s: %s", where, pg.Message)
	default:
		e.Text = fmt.Sprintf("monitor at %s: %s (SQLSTATE %s)", where, pg.Message, pg.Code)
	}
	return e
}

// alien reports whether the other side talked, but not PostgreSQL's protocol.
func alien(err error, text string) bool {
	var op net.Error
	if errors.As(err, &op) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	return strings.Contains(text, "unknown message type") || strings.Contains(text, "invalid message") ||
		strings.Contains(text, "received unexpected message") || strings.Contains(text, "body length")
}

// reason returns the innermost useful text: pgx's own wrapping repeats user and database for each address that it tried.
func reason(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("host name %q: %s", dns.Name, dns.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		if inner := connect.Unwrap(); inner != nil {
			return inner.Error()
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}
