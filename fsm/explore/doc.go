// Package explore searches the behaviours of one group for broken promises, with the real [fsm.Decide] and [fsm.Plan] in
// command: nothing that a monitor or a keeper decides is modelled, only the world around them.
//
// A [World] is a group of two to five nodes with their logs, files, servers and keepers' memories, one monitor with what
// it has stored and heard, the links between them and the clients' commits. It changes by events: a keeper obeys its goal,
// does the next step of its plan, reports; WAL flows, its receipt is confirmed; a client commits; an operator commands; a
// server, a host, a keeper or the monitor fails or stands still; a link is cut, in one direction or both; a monitor is restored from what it was; a timer
// ends. PostgreSQL's laxness is part of the world:
// while a reload is under way commits are acknowledged under any mixture of the old and the new synchronous set (S1, S2), a
// WAL receiver outlives the setting that it came from (S12), a restarted standby knows less than it holds (S7), timelines
// compare by number (S3).
//
// Time is not modelled, only its effect: what waits for a timer may find it ended at any moment. Safety that held in this
// world does not depend on clocks.
//
// The search asserts P1 (no acknowledged commit, and none that a client has read behind a lifted crash gate, is missing from a server that
// rules afterwards), P2 (no acknowledgement of a
// former ruler that the present one does not hold) and P3 (from every state: heal, let everything run, and the group must
// serve again with all its standbys, without a human).
package explore
