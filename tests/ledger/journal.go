package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Row identifies what one client sent at one time.
type Row struct{ Client, Seq int }

// Ack is an acknowledgement. Times are since the start of the writer, on the
// monotonic clock.
type Ack struct {
	Row
	// Timeline is the server's WAL timeline when it executed the statement.
	Timeline uint32
	// Server is the address that answered.
	Server string
	// Sent is when the statement was sent, At when its acknowledgement came.
	Sent, At time.Duration
}

// Journal is what was recorded of a run.
type Journal struct {
	// Sent holds every row that may exist.
	Sent map[Row]bool
	// Acks holds the acknowledgements in the order in which they came.
	Acks []Ack
}

// journalFile is the record outside the servers. Lines are written at once and
// whole: the test process may die, the file then holds all it knew.
type journalFile struct {
	mu sync.Mutex
	f  *os.File
}

func (j *journalFile) intent(r Row, at time.Duration) error {
	return j.write("intent %d %d %d\n", r.Client, r.Seq, at)
}

func (j *journalFile) ack(a Ack) error {
	return j.write("ack %d %d %d %d %d %s\n", a.Client, a.Seq, a.Sent, a.At, a.Timeline, a.Server)
}

func (j *journalFile) write(format string, args ...any) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := fmt.Fprintf(j.f, format, args...)
	return err
}

// ReadJournal reads a journal file back.
func ReadJournal(r io.Reader) (Journal, error) {
	j := Journal{Sent: map[Row]bool{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if err := j.add(strings.Fields(lines.Text())); err != nil {
			return Journal{}, fmt.Errorf("journal line %d %q: %w", n, lines.Text(), err)
		}
	}
	return j, lines.Err()
}

// add takes the fields of one line: what it is, then numbers, then for an
// acknowledgement the server.
func (j *Journal) add(fields []string) error {
	counts := map[string]int{"intent": 4, "ack": 7}
	if len(fields) == 0 || len(fields) != counts[fields[0]] {
		return errors.New("not a line of a journal")
	}
	var n [5]int64
	for i := range min(len(fields)-1, len(n)) {
		var err error
		if n[i], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
			return err
		}
	}
	row := Row{int(n[0]), int(n[1])}
	if fields[0] == "intent" {
		j.Sent[row] = true
		return nil
	}
	j.Acks = append(j.Acks, Ack{
		Row: row, Sent: time.Duration(n[2]), At: time.Duration(n[3]), Timeline: uint32(n[4]), Server: fields[6],
	})
	return nil
}
