package pgtest

import (
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// ServerUser is the user that tests run as root take on.
const ServerUser = "postgres"

var serverUser struct {
	sync.Mutex
	depth  int
	groups []int
}

// AsServerUser makes the process act as ServerUser until the test ends, if it
// is root; otherwise it does nothing. Directories from t.TempDir belong to that
// user only when it is called first. The real user comes back with the end of
// the last test that asked.
func AsServerUser(t testing.TB) {
	t.Helper()
	serverUser.Lock()
	defer serverUser.Unlock()
	if serverUser.depth == 0 {
		if os.Geteuid() != 0 {
			return
		}
		if err := become(); err != nil {
			t.Skipf("PostgreSQL refuses to run as root, and user %s cannot be taken on: %v", ServerUser, err)
		}
	}
	serverUser.depth++
	t.Cleanup(func() {
		serverUser.Lock()
		defer serverUser.Unlock()
		if serverUser.depth--; serverUser.depth == 0 {
			if err := becomeRoot(); err != nil {
				t.Error(err)
			}
		}
	})
}

// become keeps root as the saved user only: programs that are started get the
// server's user for good.
func become() error {
	u, err := user.Lookup(ServerUser)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	if serverUser.groups, err = syscall.Getgroups(); err != nil {
		return err
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return err
	}
	if err := syscall.Setresgid(gid, gid, 0); err != nil {
		return err
	}
	return syscall.Setresuid(uid, uid, 0)
}

func becomeRoot() error {
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return err
	}
	if err := syscall.Setresgid(0, 0, 0); err != nil {
		return err
	}
	return syscall.Setgroups(serverUser.groups)
}
