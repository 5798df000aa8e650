package tests

import (
	stdcontext "context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestInputOfMonitors points commands at what is no monitor.
func TestInputOfMonitors(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	silent := listen(t, func(net.Conn) {})
	web := listen(t, func(conn net.Conn) { fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	closed := listen(t, func(conn net.Conn) { _ = conn.Close() })
	for _, wrong := range []struct {
		where string
		says  []string
		limit time.Duration
	}{
		{"127.0.0.1:1", []string{"reach monitor at 127.0.0.1:1", "connection refused", "autoctl status"}, time.Second},
		{"no-such-host.invalid:5432", []string{"no-such-host.invalid"}, 8 * time.Second},
		{fmt.Sprintf("%s:%d", n1.Addr, n1.Port), []string{fmt.Sprint(n1.Port), "is not a monitor"}, time.Second},
		{web, []string{web}, 2 * time.Second},
		{silent, []string{silent}, 8 * time.Second},
		{closed, []string{closed}, 2 * time.Second},
	} {
		if strings.HasPrefix(wrong.where, "127.0.0.1") && c.Lab.HasLinks() {
			continue // another loopback
		}
		uri := "postgres://autoctl_node@" + wrong.where + "/autoctl?sslmode=disable"
		n2 := c.Lab.Host("n2")
		began := time.Now()
		code := cluster.ExitUnreachable
		said := n1.Refused(code, "show", "state", "--monitor", uri)
		if took := time.Since(began); took > wrong.limit+2*time.Second {
			t.Errorf("%s: took %v", wrong.where, took)
		}
		mentions(t, said, append(wrong.says, "show state", "hint:")...)
		args := n1.CreateArgs()
		for i := range args {
			if args[i] == "--monitor" {
				args[i+1] = uri
			}
			if args[i] == "--pgdata" {
				args[i+1] = n2.PGDATA()
			}
			if args[i] == "--pgport" {
				args[i+1] = "1"
			}
		}
		said = n1.Refused(code, args...)
		mentions(t, said, append(wrong.says, "create postgres in "+n2.PGDATA())...)
		if _, err := os.Lstat(n2.PGDATA()); err == nil {
			t.Errorf("%s: there is a data directory", wrong.where)
		}
	}
}

// listen runs a server that answers each connection with talk.
func listen(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talk(conn)
		}
	}()
	return l.Addr().String()
}

// TestInputOfMachines gives create what the machine or the situation does not
// allow, and names as people have them.
func TestInputOfMachines(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Place("n1")
	const name = `Nöde "1"; drop table x; --'`
	n1.Create("--name", name)
	c.Wait(patience, cluster.States{name: cluster.Single})
	mentions(t, c.Command("show", "state"), name)
	mentions(t, c.Command("show", "nodes"), name)
	said := c.RefusedCommand(cluster.ExitNothing, "perform", "promotion", "--name", name)
	mentions(t, said, name)

	t.Log("values out of range")
	n2 := c.Place("n2")
	for _, bad := range []struct {
		flags []string
		says  []string
	}{
		{[]string{"--candidate-priority", "101"}, []string{"--candidate-priority", "0 and 100"}},
		{[]string{"--candidate-priority", "-1"}, []string{"--candidate-priority", "0 and 100"}},
		{[]string{"--candidate-priority", "high"}, []string{"--candidate-priority", "high"}},
		{[]string{"--replication-quorum", "perhaps"}, []string{"--replication-quorum", "perhaps"}},
		{[]string{"--pgport", "70000"}, []string{"--pgport", "65535"}},
		{[]string{"--hostname", "a b"}, []string{"--hostname", "a b"}},
		{[]string{"--auth", "md5"}, []string{"--auth", "scram-sha-256"}},
		{[]string{"--ssl-mode", "maybe"}, []string{"--ssl-mode", "verify-full"}},
		{[]string{"--maximum-backup-rate", "1T"}, []string{"--maximum-backup-rate", "100M"}},
		{[]string{"--ssl-self-signed"}, []string{"--ssl-self-signed", "--no-ssl"}},
	} {
		said := n2.Refused(cluster.ExitUsage, append(n2.CreateArgs(), bad.flags...)...)
		mentions(t, said, bad.says...)
	}
	for bad, says := range map[string]string{"101": "0 and 100", "many": "whole number"} {
		mentions(t, c.RefusedCommand(cluster.ExitUsage, "set", "node", "candidate-priority", "--name", name, bad), "candidate-priority", says)
	}
	if _, err := os.Lstat(n2.PGDATA()); err == nil {
		t.Error("a data directory was made")
	}

	t.Log("a data directory that others can read")
	byHand(t, n2, "--data-checksums")
	if err := os.Chmod(n2.PGDATA(), 0o755); err != nil {
		t.Fatal(err)
	}
	before := inventory(t, n2.PGDATA())
	said = n2.Refused(cluster.ExitPrecondition, n2.CreateArgs()...)
	mentions(t, said, "accessible to other users", "chmod 0700 "+n2.PGDATA())
	if after := inventory(t, n2.PGDATA()); after != before {
		t.Error("the directory was changed")
	}
	if err := os.RemoveAll(n2.PGDATA()); err != nil {
		t.Fatal(err)
	}

	t.Log("nobody to fail over to, for a reason of its own")
	n2.Create("--candidate-priority", "0")
	c.Wait(patience, cluster.States{name: cluster.Primary, "n2": cluster.Secondary})
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "perform", "failover"), "n2", "priority 0")

	if os.Geteuid() != 0 {
		t.Log("not root: neither is root refused, nor is a disk full")
		return
	}
	t.Log("root is refused, and told as whom to run")
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.Lab.Dir(), "autoctl"), "run", "--pgdata", n1.PGDATA())
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(n1.Dir, "config"), "XDG_DATA_HOME="+filepath.Join(n1.Dir, "share"))
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != cluster.ExitPrecondition {
		t.Errorf("root: %v", err)
	}
	mentions(t, string(out), "PostgreSQL does not run as root", "run as: ", n1.User())
	fullDisk(t, c, name)
}

// fullDisk makes a standby on a file system that is too small, then on one that
// is not.
func fullDisk(t *testing.T, c *cluster.Cluster, primary string) {
	t.Helper()
	t.Log("a disk without room for the copy")
	n3 := c.Place("n3")
	small := filepath.Join(n3.Dir, "small")
	n3.MustRun(t, "mkdir", "-m", "0700", small)
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m,mode=0777"); err != nil {
		t.Logf("no small file system can be made: %v", err)
		return
	}
	t.Cleanup(func() {
		n3.Kill()
		_ = syscall.Unmount(small, syscall.MNT_DETACH)
	})
	data := filepath.Join(small, "data")
	create := append(n3.CreateArgs(), "--pgdata", data)
	mentions(t, n3.Refused(cluster.ExitPrecondition, create...), "not enough room", "make room")
	if info, err := c.TryInfo("n3"); err == nil {
		t.Errorf("it is registered all the same: %+v", info)
	}
	size := func(megabytes int) {
		t.Helper()
		if err := syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%dm,mode=0777", megabytes)); err != nil {
			t.Fatal(err)
		}
	}
	size(300)
	n3.Autoctl(create...)
	size(8) // others were faster
	n3.Create("--pgdata", data)
	c.Await(patience, "the node says that it lacks room", func(stdcontext.Context) error {
		info, err := c.TryInfo("n3")
		if err == nil && (info.Problem == nil || info.Problem.Code != "no_room") {
			err = fmt.Errorf("its problem is %+v", info.Problem)
		}
		return err
	})
	mentions(t, c.Command("show", "state"), "make room")
	if _, err := os.Lstat(data); err == nil {
		t.Error("something was copied all the same")
	}
	size(300)
	c.Wait(patience, cluster.States{primary: cluster.Primary, "n3": cluster.Secondary})
}

// TestCreateMonitorUnfinished has a configuration that cannot be written: nothing is
// left running that no daemon looks after.
func TestCreateMonitorUnfinished(t *testing.T) {
	t.Parallel()
	c := cluster.Prepare(t, cluster.Setup{})
	m := c.Monitor
	mentions(t, m.Refused(cluster.ExitPrecondition, "create", "monitor", "--pgdata", m.PGDATA(), "--pgport", fmt.Sprint(m.Port),
		"--hostname", m.Addr, "--auth", "trust", "--no-ssl", "--pghost", "/nowhere/sockets"), "/nowhere/sockets", "--pghost")
	if err := gone(m.PGDATA()); err != nil {
		t.Error(err)
	}
	closed := filepath.Dir(m.WriteFile("closed/file", "", 0o600))
	if err := os.Chmod(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	r := m.TryWith([]string{"XDG_CONFIG_HOME=" + closed}, "create", "monitor", "--pgdata", m.PGDATA(), "--pgport", fmt.Sprint(m.Port),
		"--hostname", m.Addr, "--auth", "trust", "--no-ssl", "--run")
	if r.Code == 0 || !strings.Contains(r.Stderr, "permission denied") {
		t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if _, err := os.Stat(filepath.Join(m.PGDATA(), "PG_VERSION")); err != nil {
		t.Errorf("it did not come that far: %v\n%s", err, r.Stderr)
	}
	if pid := m.Postmaster(); pid != 0 {
		t.Errorf("a server runs, with process id %d", pid)
	}
}
