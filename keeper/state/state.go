package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// FileName is the name of the state file in its directory.
const FileName = "state.json"

// version is the format that this program writes. A change that older programs
// would misread raises it.
const version = 1

// ErrDamaged says that the state file cannot be believed.
var ErrDamaged = errors.New("state file is damaged")

// ErrNewer says that a later version of autoctl wrote the state file.
var ErrNewer = errors.New("state file was written by a newer version of autoctl")

// file is the state file. Sum is the CRC-32C of Memory as it stands in the
// file, without white space.
type file struct {
	Version int             `json:"version"`
	Sum     string          `json:"sum"`
	Memory  json.RawMessage `json:"memory"`
}

// Store is a keeper's memory. It is safe for concurrent use; only one process
// may have it open for writing, which [Acquire] guarantees.
type Store struct {
	path string

	writing sync.Mutex // serialises changes; taken before mu, and held while the disk works

	mu  sync.Mutex // guards mem, for a moment at a time
	mem fsm.Memory
}

// Exists says whether a directory holds a state file, readable or not.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, FileName))
	return err == nil
}

// Open reads the state file of a directory. Without one the memory is empty
// and the first [Store.Update] creates it. Errors wrap [ErrDamaged] or
// [ErrNewer] and say what to do.
func Open(dir string) (*Store, error) {
	s := &Store{path: filepath.Join(dir, FileName)}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	s.mem, err = decode(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	return s, nil
}

// Hint says what a person can do about an error of [Open]; "" if nothing
// special.
func Hint(err error) string {
	switch {
	case errors.Is(err, ErrNewer):
		return "install the version of autoctl that ran here last, or a later one"
	case errors.Is(err, ErrDamaged):
		return "restore the file from a backup of this host, or drop the node on the monitor, move the state directory and the data directory away, and create the node anew: never delete the file and go on, since what it remembers protects commits"
	default:
		return ""
	}
}

func decode(data []byte) (fsm.Memory, error) {
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return fsm.Memory{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if f.Version > version {
		return fsm.Memory{}, fmt.Errorf("%w: format %d, this program knows %d", ErrNewer, f.Version, version)
	}
	sum, err := checksum(f.Memory)
	if err != nil || f.Version < 1 || sum != f.Sum {
		return fsm.Memory{}, fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	var m fsm.Memory
	if err := json.Unmarshal(f.Memory, &m); err != nil {
		return fsm.Memory{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// checksum ignores white space, so that the file may be indented for people.
func checksum(memory []byte) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, memory); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(compact.Bytes(), crc32.MakeTable(crc32.Castagnoli))), nil
}

func encode(m fsm.Memory) ([]byte, error) {
	memory, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	sum, err := checksum(memory)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	data, err := json.MarshalIndent(file{Version: version, Sum: sum, Memory: memory}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return append(data, '\n'), nil
}

// Get returns what the keeper remembers. Callers must not change what its
// slices and pointers lead to.
func (s *Store) Get() fsm.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mem
}

// Update changes the memory, durably, together with what was noted before. When
// it returns an error nothing has changed. change gets a copy whose slices and
// pointers are shared with the present memory: it replaces them, it does not
// write into them.
func (s *Store) Update(change func(*fsm.Memory)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	next := s.Get()
	change(&next)
	return s.write(next)
}

// Note changes the memory at once and on disk with the next Update: for
// what a keeper that has forgotten it finds out again by looking.
func (s *Store) Note(change func(*fsm.Memory)) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.mem)
}

// write makes next the memory, durably. The caller holds writing.
func (s *Store) write(next fsm.Memory) error {
	data, err := encode(next)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if _, err := disk.WriteFile(s.path, data, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem = next
	return nil
}
