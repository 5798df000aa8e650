package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

// life is what is known of one run of the server process: it begins anew with each process.
type life struct {
	since    time.Time
	answered time.Time // when a fresh connection was last answered
	tried    time.Time // when one was first refused an answer since
	up       bool      // it has been ready once
	writable time.Time // when it was first seen outside recovery
	// gateEnd is the end of the log when it was first seen outside recovery: what must be confirmed before clients are admitted (S16).
	gateEnd fsm.LSN
	// unconfirmed is gateEnd where clients were admitted without that.
	unconfirmed fsm.LSN
	// received says that its WAL receiver has been seen to flush (S7).
	received fsm.LSN
	moved    bool
	roles    bool      // roles and database are as they should be
	vetted   bool      // they were seen to be so while it was a standby
	vetTried time.Time // when it was last asked for that
	admitted bool      // they have been so once: clients were let in, and a reload does not turn them away
	gated    bool      // the crash gate stands in the files that it was last made to read
	// syncDefined says that its checkpointer is known to have a synchronous set that is not empty (S2).
	syncDefined bool
	// loaded is the fingerprint of the files that it is known to have read; stale, whether a parameter of those of staleKnown waits for a restart.
	loaded, staleKnown string
	stale              bool
	loadedAt           time.Time // when that became known
}

// starts counts starts in a row that failed or ended soon.
type starts struct {
	goal  fsm.Stamp
	count int
	next  time.Time // no start before
	// complaint is what the last of them wrote before it ended; empty when that is not known.
	complaint string
}

// complaintTail is how many bytes of a server's log are searched for its complaint.
const complaintTail = 16 << 10

// soon is how long a server must run for its end not to count as a failed start.
const soon = 20 * time.Second

// process returns the running server, adopting one that runs already; nil when there is none.
func (n *Node) process() *pgserver.Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		if n.proc.Running() {
			return n.proc
		}
		n.retire()
	}
	if n.starting {
		return nil // start takes what it starts
	}
	p, err := pgserver.Adopt(n.config().DataDir)
	if err != nil {
		return nil
	}
	n.take(p)
	return p
}

// take makes p the server. The caller holds mu.
func (n *Node) take(p *pgserver.Process) {
	now := time.Now()
	rules, err := os.ReadFile(filepath.Join(n.config().DataDir, "pg_hba.conf"))
	n.proc, n.life = p, life{since: now, answered: now, gated: err == nil && hba.Gated(rules)}
	n.asked, n.settling = asked{}, nil
	n.dropQuestions()
	n.spawn(func(ctx context.Context) {
		select {
		case <-p.Exited():
			n.signal()
		case <-ctx.Done():
		}
	})
}

// retire forgets a server that has ended, and counts its end if nobody asked for it. The caller holds mu.
func (n *Node) retire() {
	if !n.memory.Get().Asked {
		n.planned.Store(false) // it ended by itself
		n.config().Log.Warn().Stringer("exit", n.proc.Exit()).Dur("ran", time.Since(n.life.since)).Msg("server ended")
		if time.Since(n.life.since) < soon {
			n.failedStart(pgserver.Complaint(n.proc.LogTail(complaintTail)))
		} else {
			n.starts.count = 1
		}
	}
	_ = n.proc.Close() // it has ended: nothing is left to watch
	n.proc, n.life = nil, life{}
	n.commitAt = time.Time{}
}

// failedStart counts a start and sets the pause before the next: none after the first, then growing up to 30 s. The caller holds mu.
func (n *Node) failedStart(complaint string) {
	goal := n.memory.Get().Goal.Stamp
	if n.starts.goal != goal {
		n.starts = starts{goal: goal}
	}
	n.starts.count++
	n.starts.complaint = complaint
	pause := time.Duration(0)
	if n.starts.count > 1 {
		pause = min(250*time.Millisecond<<min(n.starts.count-2, 10), 30*time.Second)
	}
	n.starts.next = time.Now().Add(pause)
}

// hungAfter is how long new connections may go unanswered before the server counts as hung: twice node_lost_after, for a loaded machine is not a
// dead one.
func (n *Node) hungAfter() time.Duration { return 2 * ms(n.settings().NodeLostAfterMS) }

// handshake asks on a connection of its own, which costs the server a process.
func (n *Node) handshake(ctx context.Context) probe.Result {
	ctx, cancel := context.WithTimeout(ctx, max(ms(n.settings().ProbeTimeoutMS), time.Second))
	defer cancel()
	return probe.Probe(ctx, probe.Target{Host: n.config().SocketDir, Port: n.config().Port, User: n.config().Superuser, Database: "postgres"})
}

// knock opens a fresh connection and says what the server is by its answer. An answer is good for as long as given: each costs the server a
// process, and the executor looks several times in a row while every millisecond of a failover counts.
func (n *Node) knock(ctx context.Context, good time.Duration) fsm.ServerStatus {
	n.mu.Lock()
	fresh := n.proc != nil && n.life.up && time.Since(n.life.answered) < good
	n.mu.Unlock()
	if fresh {
		return fsm.ServerRunning
	}
	r := n.handshake(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return fsm.ServerStopped
	}
	switch {
	case r.Status.Serving():
		n.seenUp()
		return fsm.ServerRunning
	case r.Status == probe.Starting || r.Status == probe.Stopping:
		n.life.answered = time.Now()
		return fsm.ServerStarting
	case time.Since(n.life.answered) > n.hungAfter() && n.life.up:
		return fsm.ServerHung
	case n.life.up:
		return fsm.ServerRunning
	default:
		return fsm.ServerStarting
	}
}

// downStatus names the condition of a node without a server process; asked says that somebody wanted it down, as it was known when the process was
// looked for.
func downStatus(kind fsm.DataKind, mem fsm.Memory, asked bool) fsm.ServerStatus {
	switch {
	case kind == fsm.DataAbsent:
		return fsm.ServerAbsent
	case !asked && mem.Generation > 0 && mem.State != "":
		return fsm.ServerCrashed
	default:
		return fsm.ServerStopped
	}
}

// seenUp notes that the server admits sessions: what was before its start is over. The caller holds mu.
func (n *Node) seenUp() {
	n.life.answered, n.life.up = time.Now(), true
	n.fallen.Store(false)
	n.planned.Store(false)
}

// awaitReady waits until the server is up, at most for limit; a server that is still recovering then is no error.
func (n *Node) awaitReady(ctx context.Context, p *pgserver.Process, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := p.WaitReady(ctx)
	if _, ended := errors.AsType[*pgserver.StartError](err); ended {
		return err
	}
	if err == nil {
		n.mu.Lock()
		n.seenUp()
		n.mu.Unlock()
	}
	return nil
}
