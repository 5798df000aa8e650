// Package machine builds small laboratories of hosts for tests that need
// several machines, and breaks them: a host can be killed, frozen, cut off the
// network, or lose one link, and healed again.
//
// As root every host is a network namespace of its own with an address out of
// 198.18.0.0/15 (RFC 2544, never routed), joined by a bridge in a further
// namespace, so nothing can collide with the machine's own network or with a
// second test run. Otherwise all hosts share the loopback interface and differ
// by their ports; whatever needs links to cut then calls [Lab.NeedLinks], which
// skips the test with the reason.
//
// Processes of a host run as the user postgres when root, each host with a home
// directory of its own. Everything a laboratory made is removed at the end of
// its test, also after a failure and on SIGINT; what a test run that was killed
// left behind is removed by the next one.
//
// The verbs fail the test on errors and must be called from its goroutine.
// Dialling and reading facts about processes is safe from any goroutine.
package machine
