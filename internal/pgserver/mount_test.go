package pgserver_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// mountEnv names the mount point to the test's second self.
const mountEnv = "PGSERVER_TEST_MOUNT"

// A data directory that is a mount point is told apart, and a copy replaces
// what is in it. Mounting takes root and a mount namespace; the servers' user
// then runs the test proper.
func TestS23_CopyOntoAMountPoint(t *testing.T) {
	if mount := os.Getenv(mountEnv); mount != "" {
		copyOntoMountPoint(t, mount)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	dir, err := os.MkdirTemp("/tmp", "ac-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o755))
	self := filepath.Join(dir, "test")
	must(t, copyProgram(self))
	script := `mount -t tmpfs -o mode=700,uid=$(id -u postgres),gid=$(id -g postgres) tmpfs "$1/data" &&
		exec setpriv --reuid=postgres --regid=postgres --init-groups "$1/test" -test.run='^TestS23_CopyOntoAMountPoint$' -test.v`
	cmd := exec.CommandContext(within(t), "unshare", "--mount", "sh", "-c", script, "sh", dir)
	cmd.Env = append(os.Environ(), mountEnv+"="+filepath.Join(dir, "data"))
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func copyProgram(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyOntoMountPoint(t *testing.T, mount string) {
	t.Helper()
	source := pgtest.NewStarted(t, nil)
	source.Exec("create table t as select generate_series(1, 1000) i")
	target := pgtest.New(t, conf.Params{"primary_conninfo": source.Conninfo()})
	entries, err := filepath.Glob(filepath.Join(target.DataDir, "*"))
	must(t, err)
	if out, err := exec.CommandContext(t.Context(), "mv", append([]string{"-t", mount}, entries...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	target.DataDir = mount
	st := stagingFor(t, target.Binaries, mount)
	if !st.Inside {
		t.Fatalf("%+v", st)
	}
	must(t, pgserver.BaseBackup(within(t), source.Binaries, backup(source, target, st)))
	must(t, st.Swap())
	must(t, st.DiscardOld())
	d, err := pgserver.InspectDataDir(within(t), target.Binaries, mount)
	if err != nil || d.Kind != pgserver.DataReady || !d.MountPoint {
		t.Errorf("%+v %v", d, err)
	}
	target.Start()
	if got := target.Query("select count(*) from t"); got != "1000" {
		t.Errorf("%s rows", got)
	}
	target.Stop(pgserver.StopFast)
}
