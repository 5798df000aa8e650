package pgserver

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// Replay is what the recovery of a server shows of itself in the titles of its processes, while nobody can connect and ask. It is the zero value for a server
// that is not in recovery.
type Replay struct {
	// Reading is what the startup process says that it does, Segment the file of the log in it, which was opened last. Empty where titles are not kept
	// (update_process_title).
	Reading, Segment string
	// Asleep says that the startup process waits for something.
	Asleep bool
	// Received is how far a WAL receiver says that it has written; 0 for one that has brought nothing, or none.
	Received fsm.LSN
}

// Moved reports whether recovery has got on since an earlier look, or may be about to: it works, has opened another segment, or was sent more log. A receiver
// whose log has left its sender's is sent the beginning of its segment again and again, which is no more.
func (r Replay) Moved(earlier Replay) bool {
	return !r.Asleep || !earlier.Asleep || r.Reading != earlier.Reading || r.Received > earlier.Received
}

// Replay looks at the server's processes. It costs a look at every process of the host.
func (p *Process) Replay() (Replay, error) {
	pids, err := serverProcesses(p.dataDir)
	if err != nil {
		return Replay{}, fmt.Errorf("look at recovery: %w", err)
	}
	var r Replay
	for _, pid := range pids {
		title, ok := title(pid)
		switch {
		case !ok:
		case strings.HasPrefix(title, "startup"):
			// It wakes up now and then while it waits, to look again.
			r.Reading, r.Asleep = title, processState(pid) == 'S' || strings.HasPrefix(title, "startup waiting for")
			if words := strings.Fields(title); len(words) > 2 { // recovering X, waiting for X
				r.Segment = words[len(words)-1]
			}
		case strings.HasPrefix(title, "walreceiver"):
			_, at, _ := strings.Cut(title, "streaming ")
			r.Received, _ = fsm.ParseLSN(at) // none while it streams nothing yet
		}
	}
	return r, nil
}

// title is what a server process calls itself, without the name of its cluster: "postgres: cluster: startup recovering 000000010000000000000003".
func title(pid int) (string, bool) {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.HasPrefix(cmdline, []byte("postgres: ")) {
		return "", false
	}
	text := string(bytes.TrimRight(cmdline, "\x00 "))
	return strings.TrimSpace(text[strings.LastIndex(text, ": ")+2:]), true
}
