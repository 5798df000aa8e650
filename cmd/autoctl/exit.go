package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// class is why a command ended other than well. Each has an exit code of its own, listed in docs/exit-codes.md.
type class struct {
	code int
	name string
	text string
}

// The classes. Their codes are an interface: scripts and service managers act on them.
var (
	classFailed       = class{1, "failed", "the command was attempted and failed"}
	classUsage        = class{2, "usage", "unknown command or option, or a value out of range; nothing was changed"}
	classConfig       = class{3, "configuration", "a configuration file, state file or certificate is missing, damaged or contradictory; nothing was changed"}
	classRefused      = class{4, "refused", "understood, and refused because of the present situation; nothing was changed"}
	classTimeout      = class{5, "timeout", "accepted, and not finished within --wait: it goes on"}
	classNothing      = class{6, "nothing_to_do", "what was asked for is already so"}
	classUnreachable  = class{7, "monitor_unreachable", "the monitor cannot be reached, is not a monitor, has no TLS or no trusted certificate where its URI asks for it, or speaks another protocol version"}
	classNotRunning   = class{8, "not_running", "there is no daemon running for this data directory"}
	classAuth         = class{9, "authentication", "the server refused the user, the password or the client certificate"}
	classPrecondition = class{10, "precondition", "this machine does not allow it: root, a port or data directory in use, data that is not ours, no room; nothing was changed"}
	classDropped      = class{11, "dropped", "the node was dropped from its formation: do not restart it"}
	classInterrupted  = class{130, "interrupted", "ended by a signal"}
)

// classes lists them in the order of their codes, for documentation and tests.
func classes() []class {
	return []class{classFailed, classUsage, classConfig, classRefused, classTimeout, classNothing, classUnreachable,
		classNotRunning, classAuth, classPrecondition, classDropped, classInterrupted}
}

// failure is an error as an operator reads it: what was attempted, what came back, what to do next.
type failure struct {
	class class
	// op is what was attempted, such as `perform failover in formation "default"`; it may be empty.
	op  string
	err error
	// hint says what to do next; nodes tell, for a refusal that depends on nodes, why each of them could not do it.
	hint  string
	nodes map[string]string
}

func (f *failure) Error() string {
	if f.op == "" {
		return f.err.Error()
	}
	return f.op + ": " + f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// fail builds a failure of class c; format may use %w.
func fail(c class, hint, format string, args ...any) error {
	return &failure{class: c, hint: hint, err: fmt.Errorf(format, args...)}
}

// attempt names what was attempted when err is not nil, keeping class and hint.
func attempt(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	op := fmt.Sprintf(format, args...)
	f := *classify(err)
	if f.op != "" {
		return &failure{class: f.class, op: op, err: err, hint: f.hint, nodes: f.nodes}
	}
	f.op = op
	return &f
}

// classify finds the class of any error.
func classify(err error) *failure {
	if f, ok := err.(*failure); ok { //nolint:errorlint // the outermost: one further in has texts around it, kept below
		return f
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return &failure{class: f.class, hint: f.hint, nodes: f.nodes, err: err}
	}
	if errors.Is(err, context.Canceled) {
		return &failure{class: classInterrupted, err: errors.New("interrupted")}
	}
	if f := classifyMonitor(err); f != nil {
		return f
	}
	if f := classifyLocal(err); f != nil {
		return f
	}
	return &failure{class: classFailed, err: err}
}

// errorJSON is the schema of an error with --output json.
type errorJSON struct {
	Error struct {
		Code    int               `json:"code"`
		Class   string            `json:"class"`
		Attempt string            `json:"attempted,omitempty"`
		Message string            `json:"message"`
		Hint    string            `json:"hint,omitempty"`
		Nodes   map[string]string `json:"nodes,omitempty"`
	} `json:"error"`
}

// report prints err and returns the exit code.
func report(w io.Writer, err error, asJSON bool) int {
	if err == nil {
		return 0
	}
	f := classify(err)
	if asJSON {
		var e errorJSON
		e.Error.Code, e.Error.Class, e.Error.Attempt = f.class.code, f.class.name, f.op
		e.Error.Message, e.Error.Hint, e.Error.Nodes = f.err.Error(), f.hint, f.nodes
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(e) // nothing is left to tell a closed stderr
		return f.class.code
	}
	fmt.Fprintf(w, "autoctl: %s\n", indent(f.Error()))
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		fmt.Fprintf(w, "  %s: %s\n", printable(name), f.nodes[name])
	}
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", indent(f.hint))
	}
	return f.class.code
}

// indent puts the later lines of a joined error under its first.
func indent(s string) string { return strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ") }
