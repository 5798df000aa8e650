// Package monitorapi is the client's side of the monitor: what keepers, the command line and tests use to register nodes,
// report, hear goals, ask for changes and read the state.
//
// The monitor speaks SQL: every call is a function of schema autoctl in its database, executed as role autoctl_node, which may
// do nothing else. Every call carries [Protocol], so that a client of another version hears so instead of misreading.
//
// A [Client] is safe for concurrent use, keeps one connection for its calls and opens it anew when it was lost. Errors are
// always [*Error]; they never hold a password (P7).
package monitorapi
