package disk

import (
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// known are the files that this process has synced, with their names. A file that was replaced, or written in place, since then is another one.
var known = syncedFiles{files: map[string]identity{}, gone: map[string]identity{}}

type syncedFiles struct {
	mu    sync.Mutex
	files map[string]identity
	gone  map[string]identity // of the directory as it was when the absence of the file was synced
}

// identity changes with whatever changes a file.
type identity struct {
	device, inode   uint64
	size            int64
	written, linked unix.Timespec
}

func identityOf(path string) (identity, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return identity{}, false
	}
	return identity{device: uint64(st.Dev), inode: st.Ino, size: st.Size, written: st.Mtim, linked: st.Ctim}, true //nolint:unconvert // its type differs between platforms
}

// has says that the file at path is durable, with its name, by what this process did.
func (s *syncedFiles) has(path string) bool {
	id, there := identityOf(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	return there && s.files[path] == id
}

// note remembers a file that was synced without an error, and hands the error on.
func (s *syncedFiles) note(path string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
	if err != nil {
		return err
	}
	if id, there := identityOf(path); there {
		s.files[path] = id
	}
	return nil
}

// hasNot says that the absence of a file that is not there is durable: nothing in its directory has changed its name since that was so.
func (s *syncedFiles) hasNot(path string) bool {
	id, there := identityOf(filepath.Dir(path))
	s.mu.Lock()
	defer s.mu.Unlock()
	return there && s.gone[path] == id
}

// noteGone remembers an absence that was synced without an error, and hands the error on.
func (s *syncedFiles) noteGone(path string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, path)
	delete(s.gone, path)
	if err != nil {
		return err
	}
	if id, there := identityOf(filepath.Dir(path)); there {
		s.gone[path] = id
	}
	return nil
}
