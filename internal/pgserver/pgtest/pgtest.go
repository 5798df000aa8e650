// Package pgtest gives tests real PostgreSQL servers: each in a temporary
// directory of its own, on a random free port of the loopback interface and a
// Unix socket, killed and removed when the test ends.
//
// PostgreSQL refuses to run as root. Where the test does, the test process
// takes the effective user postgres for as long as a test that called this
// package lasts, so that everything the test creates and starts belongs to
// that user.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// Timeout bounds every single operation of this package.
const Timeout = 60 * time.Second

// Binaries returns the PostgreSQL programs to test with: those that AUTOCTL_TEST_PGCTL names, else those that
// pgserver.FindBinaries finds. The test is skipped, with the reason, where there are none.
func Binaries(t testing.TB) pgserver.Binaries {
	t.Helper()
	AsServerUser(t)
	b, err := findBinaries()
	if err != nil {
		t.Skipf("no PostgreSQL to test with: %v", err)
	}
	return b
}

// BinariesWithCitus is [Binaries] for tests of the extension Citus, which are skipped, with the reason, where it is not installed for that PostgreSQL.
func BinariesWithCitus(t testing.TB) pgserver.Binaries {
	t.Helper()
	b := Binaries(t)
	dir, err := pgserver.ShareDir(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "extension", "citus.control")); err != nil {
		t.Skipf("needs the extension Citus for PostgreSQL %d: %v", b.Version.Major, err)
	}
	return b
}

var findBinaries = sync.OnceValues(func() (pgserver.Binaries, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	return pgserver.FindBinaries(ctx, pgserver.Search{PGCtl: os.Getenv("AUTOCTL_TEST_PGCTL")})
})

// TempDir returns a new directory with a short path (a Unix socket's is limited
// to 107 bytes) that belongs to the servers' user. It is removed when the test
// ends.
func TempDir(t testing.TB) string {
	t.Helper()
	AsServerUser(t)
	dir, err := os.MkdirTemp("/tmp", "ac-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(pgserver.FreeSharedMemory(dir), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// FreePort returns a TCP port of the loopback interface that was free a moment
// ago. It is below the range from which the kernel takes ports for outgoing
// connections, so that none of those gets it meanwhile.
func FreePort(t testing.TB) int {
	t.Helper()
	// A process forked meanwhile would hold the port until its exec.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for range 100 {
		port := 10240 + rand.IntN(32768-10240)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // answered by the kernel at once
		if err == nil {
			_ = l.Close() // nothing was accepted
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

// CopyTemplate creates a data directory from a template that initdb made once
// for all tests of this machine and version: superuser postgres, trust
// everywhere, data checksums. All copies share one system identifier.
func CopyTemplate(t testing.TB, dataDir string) {
	t.Helper()
	b := Binaries(t)
	template, err := template(b)
	if err != nil {
		t.Fatal(err)
	}
	copyDir(t, template, dataDir)
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "cp", "-a", "--reflink=auto", from, to).CombinedOutput()
	if err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

var templateOnce sync.Mutex

// template makes the template unless another test binary has. It stays in the
// directory for temporary files.
func template(b pgserver.Binaries) (path string, err error) {
	templateOnce.Lock()
	defer templateOnce.Unlock()
	path = filepath.Join(os.TempDir(), fmt.Sprintf("autoctl-pgtest-%d-%d", os.Geteuid(), b.Version.Number()))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp(os.TempDir(), "autoctl-pgtest-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	data := filepath.Join(tmp, "data")
	if err := InitDB(ctx, b, data); err != nil {
		return "", err
	}
	err = disk.Rename(data, path)
	if errors.Is(err, os.ErrExist) || errors.Is(err, syscall.ENOTEMPTY) {
		err = nil // another test binary was faster
	}
	return path, err
}

// InitDB creates a cluster as CopyTemplate does, with a system identifier of
// its own.
func InitDB(ctx context.Context, b pgserver.Binaries, dataDir string) error {
	return pgserver.InitDB(ctx, b, pgserver.InitConfig{
		DataDir: dataDir, Superuser: "postgres", AuthLocal: "trust", AuthHost: "trust", NoSync: true,
	})
}
