package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// proof is what proves a database current: the incarnation, and how many decisions it holds.
type proof struct {
	Incarnation uint64
	Decisions   uint64
}

// ledger is the incarnation file, the copy outside the data directory (S9): before anybody hears of a decision, the file says that
// there are at least so many. A database that holds fewer, or another incarnation, is not the one that spoke last.
//
// The file has two slots that are written in turn, each with a checksum: a write that is torn by a crash leaves the other slot, and
// what the torn one would have said was not published yet.
type ledger struct {
	mu   sync.Mutex
	file *os.File
	last slot
}

type slot struct {
	proof
	// Count grows with every write: the newer slot is the one that counts, also when it says less (after a restore).
	Count uint64
}

const (
	slotSize   = 4096 // so that a torn sector of one slot cannot hurt the other
	slotBytes  = 8 + 3*8 + 4
	slotMagic  = "AUTOCTL1"
	ledgerName = "incarnation"
)

// errNoProof says that there is no file, or none of its slots can be believed.
var errNoProof = errors.New("no proof of how current the monitor's memory is")

// openLedger opens the file and returns its last proof; with errNoProof it is open and empty, and any other error leaves it closed.
func openLedger(dir string) (*ledger, error) {
	path := filepath.Join(dir, ledgerName)
	_, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open incarnation file: %w", err)
	}
	l := &ledger{file: f}
	if missing {
		return l, errNoProof
	}
	for i := range 2 {
		s, ok, err := readSlot(f, i)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("read incarnation file: %w", err)
		}
		if ok && s.Count > l.last.Count {
			l.last = s
		}
	}
	if l.last.Count == 0 {
		return l, errNoProof
	}
	return l, nil
}

func readSlot(f *os.File, i int) (slot, bool, error) {
	b := make([]byte, slotBytes)
	_, err := f.ReadAt(b, int64(i*slotSize))
	if errors.Is(err, io.EOF) {
		return slot{}, false, nil
	}
	if err != nil {
		return slot{}, false, err
	}
	body := b[:slotBytes-4]
	if string(b[:8]) != slotMagic || crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(b[slotBytes-4:]) {
		return slot{}, false, nil
	}
	s := slot{Count: binary.BigEndian.Uint64(b[8:])}
	s.Incarnation = binary.BigEndian.Uint64(b[16:])
	s.Decisions = binary.BigEndian.Uint64(b[24:])
	return s, true, nil
}

// Last returns what the file says; zero when it says nothing.
func (l *ledger) Last() proof {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.proof
}

// Advance makes the file say at least p, durably; at once when it does already.
func (l *ledger) Advance(p proof) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.Incarnation < l.last.Incarnation || p.Incarnation == l.last.Incarnation && p.Decisions <= l.last.Decisions {
		return nil
	}
	return l.write(p)
}

// Reset makes the file say p, durably, even if it said more: for a new incarnation over an older memory.
func (l *ledger) Reset(p proof) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(p)
}

func (l *ledger) write(p proof) error {
	s := slot{proof: p, Count: l.last.Count + 1}
	b := append(make([]byte, 0, slotBytes), slotMagic...)
	b = binary.BigEndian.AppendUint64(b, s.Count)
	b = binary.BigEndian.AppendUint64(b, s.Incarnation)
	b = binary.BigEndian.AppendUint64(b, s.Decisions)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	if _, err := l.file.WriteAt(b, int64(s.Count%2)*slotSize); err != nil {
		return fmt.Errorf("write incarnation file: %w", err)
	}
	if err := unix.Fdatasync(int(l.file.Fd())); err != nil {
		return fmt.Errorf("sync incarnation file: %w", err)
	}
	if l.last.Count == 0 {
		if err := disk.SyncDir(filepath.Dir(l.file.Name())); err != nil {
			return fmt.Errorf("sync incarnation file: %w", err)
		}
	}
	l.last = s
	return nil
}

// Close closes the file.
func (l *ledger) Close() { l.file.Close() }
