package pgserver_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestFreeSharedMemory: a killed server's shared memory is freed, a running one's is not, and a later start needs nothing of it.
func TestFreeSharedMemory(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	segment := segmentOf(t, s.DataDir)
	dynamic := s.Query("show dynamic_shared_memory_type") == "posix"
	var handles []string
	if dynamic {
		handles = mapped(t, s.Process.PID())
	}

	must(t, pgserver.FreeSharedMemory(s.DataDir))
	if !segmentExists(t, segment) {
		t.Fatal("a running server lost its segment")
	}
	s.Query("select 1")

	s.Kill()
	if !segmentExists(t, segment) {
		t.Fatal("a killed server's segment is gone: nothing is tested")
	}
	must(t, pgserver.FreeSharedMemory(s.DataDir))
	if segmentExists(t, segment) {
		t.Error("the segment is left")
	}
	if dynamic && len(handles) == 0 {
		t.Error("the server maps no dynamic segment: nothing is tested")
	}
	for _, path := range handles {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	s.Start()
	s.Query("select 1")
}

// segmentOf is the id of the System V segment of a running server, the last word of its lock file's seventh line.
func segmentOf(t *testing.T, dataDir string) string {
	t.Helper()
	content, err := os.ReadFile(dataDir + "/postmaster.pid")
	must(t, err)
	f := strings.Fields(strings.Split(string(content), "\n")[6])
	return f[len(f)-1]
}

func segmentExists(t *testing.T, id string) bool {
	t.Helper()
	table, err := os.ReadFile("/proc/sysvipc/shm")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == id {
			return true
		}
	}
	return false
}

// mapped returns the dynamic segments that a process maps.
func mapped(t *testing.T, pid int) (paths []string) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	must(t, err)
	for line := range strings.Lines(string(maps)) {
		if f := strings.Fields(line); len(f) > 5 && strings.HasPrefix(f[5], "/dev/shm/PostgreSQL.") {
			paths = append(paths, f[5])
		}
	}
	return paths
}
