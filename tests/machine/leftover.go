package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/autoctl/autoctl/internal/pgserver"
)

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
			_ = pgserver.FreeSharedMemory(path)
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
