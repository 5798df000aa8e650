package machine

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// leftovers is what a server that was killed leaves in the kernel: its next
// start in the same directory would clean up, but there is none. System V
// segments are known by id, POSIX ones by path.
type leftovers struct {
	segments map[string]bool
	files    map[string]bool
}

// note remembers the shared memory of a process that is about to be killed.
func (l *Lab) note(pid int) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return
	}
	l.ipcMu.Lock()
	defer l.ipcMu.Unlock()
	if l.leaked.segments == nil {
		l.leaked = leftovers{segments: map[string]bool{}, files: map[string]bool{}}
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		switch {
		case strings.HasPrefix(f[5], "/SYSV"):
			l.leaked.segments[f[4]] = true // the inode is the segment's id
		case strings.HasPrefix(f[5], "/dev/shm/PostgreSQL."):
			l.leaked.files[f[5]] = true
		}
	}
}

// remove deletes what is still there and used by nobody.
func (l *leftovers) remove() {
	for id := range l.segments {
		if attached, found := attachments(id); found && attached == 0 {
			_ = run("ipcrm", "-m", id)
		}
	}
	for path := range l.files {
		removeDynamic(path)
	}
}

// removeDynamic deletes a server's control segment and the segments listed in
// it, which not every process maps. The layout differs between versions of
// PostgreSQL, so every word that is the name of a segment counts as one.
func removeDynamic(path string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return // A later start of the server has cleaned up.
	}
	for ; len(content) >= 4; content = content[4:] {
		if handle := binary.NativeEndian.Uint32(content); handle != 0 {
			_ = os.Remove(fmt.Sprintf("/dev/shm/PostgreSQL.%d", handle))
		}
	}
	_ = os.Remove(path)
}

// attachments is how many processes have the System V segment mapped.
func attachments(id string) (n int, found bool) {
	table, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 6 && f[1] == id {
			n, err := strconv.Atoi(f[6])
			return n, err == nil
		}
	}
	return 0, false
}

// removeStale clears away what test processes that no longer exist could not:
// one that ran into go test's deadline, or was killed.
func removeStale() {
	spaces, _ := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, path := range append(spaces, dirs...) {
		pid, ok := maker(path)
		if !ok || pid == os.Getpid() || syscall.Kill(pid, 0) == nil {
			continue
		}
		if strings.HasPrefix(path, netnsDir) {
			removeStaleSpace(path)
		} else if info, err := os.Lstat(path); err == nil && info.IsDir() && ownedByUs(info) {
			endStaleServers(path)
			_ = unmountBelow(path)
			_ = os.RemoveAll(path)
		}
	}
}

// maker is the id of the process that made what path names.
func maker(path string) (int, bool) {
	id, _, ok := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
	pid, err := strconv.Atoi(id)
	return pid, ok && err == nil && pid > 1
}

func ownedByUs(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// removeStaleSpace ends what still runs in the namespace and deletes it.
func removeStaleSpace(path string) {
	var st syscall.Stat_t
	if os.Geteuid() != 0 || syscall.Stat(path, &st) != nil {
		return
	}
	h := &Host{lab: &Lab{}, Dir: "/nonexistent"}
	endAll(h, fmt.Sprintf("net:[%d]", st.Ino))
	_ = run("ip", "netns", "delete", filepath.Base(path))
}

// endStaleServers ends what still runs below the directory.
func endStaleServers(dir string) {
	endAll(&Host{lab: &Lab{}, Dir: dir}, "")
}

func endAll(h *Host, space string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() && h.owns(pid, space) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
