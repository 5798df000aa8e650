package pgtest

import (
	"os/exec"
	"syscall"
	"testing"
)

// guardScript waits for the end of its standard input, which comes when the
// test process ends in any way, and then ends the server and removes its files.
const guardScript = `cat >/dev/null; pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"; rm -rf "$2"`

// guard sees to it that a server does not outlive a test process that is killed
// or panics, as by the timeout of "go test". An orderly test ends its server
// itself and then the guard.
func guard(t testing.TB, dataDir, dir string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", guardScript, "sh", dataDir, dir) //nolint:noctx // ended below
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // says that it was killed
		_ = stdin.Close()
	})
}
