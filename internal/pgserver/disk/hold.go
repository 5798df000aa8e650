package disk

import (
	"errors"
	"path/filepath"
	"sync"
)

// Hold postpones the syncs of a directory until release, so that changes of several of its files that belong together cost one. Until release has
// returned nil nothing that was changed meanwhile is durable by its name, although the functions that changed it have returned; contents are synced
// as ever. Whoever holds a directory is the only one who changes it, and calls release whatever happens; a second call does nothing.
func Hold(dir string) (release func() error) {
	h := &hold{}
	holds.mu.Lock()
	holds.dirs[dir] = h
	holds.mu.Unlock()
	return sync.OnceValue(func() error {
		holds.mu.Lock()
		delete(holds.dirs, dir)
		holds.mu.Unlock()
		if len(h.after) == 0 {
			return nil
		}
		synced := SyncDir(dir)
		errs := make([]error, len(h.after))
		for i, note := range h.after {
			errs[i] = note(synced)
		}
		return errors.Join(errs...)
	})
}

// holds are the directories that are held.
var holds = struct {
	mu   sync.Mutex
	dirs map[string]*hold
}{dirs: map[string]*hold{}}

// hold collects what is to be noted once the directory is synced.
type hold struct{ after []func(error) error }

// syncName makes the name of a file durable, or its absence, and hands the outcome to note: now, or when its directory is released.
func syncName(path string, note func(error) error) error {
	dir := filepath.Dir(path)
	holds.mu.Lock()
	h := holds.dirs[dir]
	if h != nil {
		h.after = append(h.after, note)
	}
	holds.mu.Unlock()
	if h != nil {
		return nil
	}
	return note(SyncDir(dir))
}
