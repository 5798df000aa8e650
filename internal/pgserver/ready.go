package pgserver

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// StartError is a server that ended while it was expected to become ready.
type StartError struct {
	Exit Exit
	Log  string // what it wrote last
}

// Error gives the exit and what the server complained of last, else the last
// line of its log.
func (e *StartError) Error() string {
	text := "server " + e.Exit.String() + " before it was ready"
	if line := Complaint(e.Log); line != "" {
		text += ": " + line
	}
	return text
}

// Complaint finds the last fatal error in a log, from its severity on; the line
// behind it only says that the server is shut down. Without one it is the last
// line, and empty for an empty log.
func Complaint(log string) string {
	for _, severity := range []string{"PANIC:  ", "FATAL:  ", "ERROR:  "} {
		if i := strings.LastIndex(log, severity); i >= 0 {
			line, _, _ := strings.Cut(log[i:], "\n")
			return line
		}
	}
	return lastLine(log)
}

// WaitReady waits until the server accepts connections, as a primary or as a
// hot standby, and returns the content of its postmaster.pid. It fails with a
// *StartError when the server ends, and with the context's cause when ctx does.
//
// It looks at postmaster.pid, where the postmaster says so itself, rather than
// connecting: that works while pg_hba.conf lets nobody in, and leaves no trace
// in the log.
func (p *Process) WaitReady(ctx context.Context) (PIDFile, error) {
	return p.waitStatus(ctx, func(status string) bool { return status == "ready" })
}

// WaitRecovering is WaitReady for a standby that does not have to admit
// readers: it also returns once recovery has begun on a server with
// hot_standby off.
func (p *Process) WaitRecovering(ctx context.Context) (PIDFile, error) {
	return p.waitStatus(ctx, func(status string) bool { return status == "ready" || status == "standby" })
}

func (p *Process) waitStatus(ctx context.Context, reached func(string) bool) (PIDFile, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		// A file left over from before names another process.
		f, err := ReadPIDFile(p.dataDir)
		if err == nil && f.PID == p.pid && reached(f.Status) {
			return f, nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return PIDFile{}, &StartError{Exit: p.exit, Log: p.LogTail(4 << 10)}
		case <-ctx.Done():
			return PIDFile{}, fmt.Errorf("await server: %w", context.Cause(ctx))
		}
	}
}
