package machine

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// PostgresBin is the directory of PostgreSQL's server programs, of the newest
// version that is installed; without one the test is skipped.
func PostgresBin(t testing.TB) string {
	t.Helper()
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	dirs = slices.DeleteFunc(dirs, func(dir string) bool { return !executable(filepath.Join(dir, "postgres")) })
	if len(dirs) > 0 {
		return slices.MaxFunc(dirs, func(a, b string) int { return version(a) - version(b) })
	}
	if path, err := exec.LookPath("pg_ctl"); err == nil {
		return filepath.Dir(path)
	}
	t.Skip("needs PostgreSQL's server programs: run scripts/prerequisites")
	return ""
}

// FakeTime is the path of libfaketime, which gives programs that are started with
// it another clock; without it the test is skipped.
func FakeTime(t testing.TB) string {
	t.Helper()
	path := FindFakeTime()
	if path == "" {
		t.Skip("needs libfaketime: run scripts/prerequisites")
	}
	return path
}

// FindFakeTime is FakeTime for who can do without: "" where it is not installed.
func FindFakeTime() string {
	paths, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(paths) == 0 {
		return ""
	}
	return paths[0]
}
