// Package monitor is the server side of the monitor: it creates and runs a PostgreSQL of its own, keeps what it knows there, and
// decides for every group with fsm.Decide.
//
// Clients never talk to this process. They call SQL functions of schema autoctl (see internal/monitorapi); those store reports and
// commands and wake the decision loop with NOTIFY. The loop takes the group's row lock, reads, decides, and stores everything in
// one transaction with synchronous_commit on; then it advances the proof in the incarnation file (S9), and only then lets anybody
// hear of it. The process may be killed at any point: PostgreSQL goes on, a new process adopts it, and what was decided but not
// said yet is said then.
//
// Ages are counted on this process's monotonic clock ([fsm.Instant]) from when it saw a node's heartbeat counter move or a probe
// answered; they all restart with the process, with its PostgreSQL, and after a suspension.
package monitor
