package tests

import (
	stdcontext "context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/machine"
)

// tool is the path of a program of PostgreSQL.
func tool(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(machine.PostgresBin(t), name)
}

// byHand makes a cluster on the node's host as an administrator does it, with
// an option of initdb and more settings in its postgresql.conf, and leaves it
// stopped.
func byHand(t *testing.T, n *cluster.Node, option string, settings ...string) {
	t.Helper()
	n.MustRun(t, tool(t, "initdb"), "--no-sync", "--auth=trust", option, "-D", n.PGDATA())
	conf := filepath.Join(n.PGDATA(), "postgresql.conf")
	f, err := os.OpenFile(conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	settings = append(settings, fmt.Sprintf("port = %d", n.Port), "listen_addresses = '*'")
	if _, err := f.WriteString(strings.Join(settings, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
	hba := filepath.Join(n.PGDATA(), "pg_hba.conf")
	content, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	n.WriteFile("data/pg_hba.conf", string(content)+"# ours\nhost all all all trust\nhost replication all all trust\n", 0o600)
}

// start is what an administrator does to a server by hand.
func start(t *testing.T, n *cluster.Node) {
	t.Helper()
	n.MustRun(t, tool(t, "pg_ctl"), "-D", n.PGDATA(), "-w", "-l", filepath.Join(n.Dir, "log", "byhand.log"), "start")
}

// inventory lists everything in a directory, with sizes and times.
func inventory(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestAdoption takes over a server that runs, with its settings, its slot and its
// data, then a copy of it that an administrator made, and refuses a stranger.
func TestAdoption(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Place("n1")
	sockets := filepath.Join(n1.Dir, "sockets") // where nobody looks for it
	n1.MustRun(t, "mkdir", "-m", "0700", sockets)
	byHand(t, n1, "--data-checksums", "work_mem = '7MB'", "log_min_duration_statement = 1234", "unix_socket_directories = '"+sockets+"'")
	start(t, n1)
	n1.SQL("create table precious as select generate_series(1, 1000) as n")
	n1.SQL("select pg_create_physical_replication_slot('barman', true)")
	postmaster := n1.Postmaster()
	n1.Create()
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	if pid := n1.Postmaster(); pid != postmaster {
		t.Errorf("the server was restarted, and lacked nothing: process %d, then %d", postmaster, pid)
	}
	kept := func(n *cluster.Node) {
		t.Helper()
		if got := n.SQL("select current_setting('work_mem'), current_setting('log_min_duration_statement'), count(*), max(n) from precious"); got[0] != "7MB|1234ms|1000|1000" {
			t.Errorf("%s has %v", n.Name, got)
		}
		mentions(t, rules(t, n), "# ours\nhost all all all trust\n")
	}
	kept(n1)

	t.Log("a copy that was made by hand becomes a standby as it is")
	n2 := c.Place("n2")
	n2.MustRun(t, tool(t, "pg_basebackup"), "-h", n1.Addr, "-p", fmt.Sprint(n1.Port), "-U", n1.User(), "-D", n2.PGDATA(), "-c", "fast", "-X", "stream")
	n2.WriteFile("data/marker", "this directory", 0o600)
	n2.Create()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()
	if _, err := os.Stat(filepath.Join(n2.PGDATA(), "marker")); err != nil {
		t.Errorf("the data were copied again: %v", err)
	}
	kept(n2)

	t.Log("a stranger is refused and left as it is")
	n3 := c.Place("n3")
	byHand(t, n3, "--data-checksums")
	before := inventory(t, n3.PGDATA())
	said := n3.Refused(cluster.ExitPrecondition, n3.CreateArgs()...)
	mentions(t, said, "create postgres in "+n3.PGDATA(), "system identifier", "hint:")
	if strings.Contains(said, "becomes") {
		t.Errorf("it says what it would change:\n%s", said)
	}
	if after := inventory(t, n3.PGDATA()); after != before {
		t.Error("the directory of the stranger was changed")
	}
	if _, err := c.TryInfo("n3"); err == nil {
		t.Error("the stranger is registered")
	}

	t.Log("roles move, and what was there stays there")
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	kept(n1)
	if got := n1.SQL("select slot_name from pg_replication_slots where slot_name = 'barman'"); len(got) != 1 {
		t.Error("the slot of another program is gone")
	}
	c.Verify(w)
}

// TestAdoptionLacking takes over a server that is down and could not replicate:
// what is missing is said, then set.
func TestAdoptionLacking(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Place("n1")
	byHand(t, n1, "--no-instructions", "wal_level = minimal", "max_wal_senders = 0", "synchronous_commit = off", "work_mem = '7MB'")
	said := n1.Try(n1.CreateArgs()...)
	if said.Code != 0 {
		t.Fatalf("create: exit code %d\n%s", said.Code, said.Stderr)
	}
	mentions(t, said.Stdout+said.Stderr, "wal_level is minimal and becomes replica", "max_wal_senders is 0", "synchronous_commit is off and becomes on", "wal_log_hints")
	n1.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	if got := n1.SQL("select current_setting('wal_level'), current_setting('synchronous_commit'), current_setting('work_mem')"); got[0] != "replica|on|7MB" {
		t.Errorf("settings are %v", got)
	}
	c.Add("n2")
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Right(patience)
}

// TestAdoptionDebian takes over a cluster of pg_createcluster, which has its
// configuration in /etc/postgresql.
func TestAdoptionDebian(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: pg_createcluster writes to /etc/postgresql")
	}
	if _, err := os.Stat("/usr/bin/pg_createcluster"); err != nil {
		t.Skip("needs Debian's postgresql-common")
	}
	c := cluster.New(t)
	n1 := c.Place("n1")
	version := filepath.Base(filepath.Dir(machine.PostgresBin(t)))
	name := fmt.Sprintf("autoctl%d", os.Getpid())
	etc := filepath.Join("/etc/postgresql", version, name)
	asRoot(t, "/usr/bin/pg_createcluster", "-u", n1.User(), "-d", n1.PGDATA(), "-p", fmt.Sprint(n1.Port), version, name)
	t.Cleanup(func() {
		_ = os.RemoveAll(etc)
		_ = os.RemoveAll(filepath.Join("/var/log/postgresql", "postgresql-"+version+"-"+name+".log"))
	})
	if err := os.WriteFile(filepath.Join(etc, "conf.d", "mine.conf"), []byte("work_mem = '7MB'\nlisten_addresses = '*'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n1.MustRun(t, "/usr/bin/pg_ctlcluster", "--skip-systemctl-redirect", version, name, "start")
	n1.MustRun(t, tool(t, "psql"), "-X", "-p", fmt.Sprint(n1.Port), "-d", "postgres", "-c", "create table precious as select 42 as n")

	postmaster := n1.Postmaster()
	said := n1.Try(n1.CreateArgs()...)
	mentions(t, said.Stdout+said.Stderr, "copies the configuration from "+filepath.Join(etc, "postgresql.conf"))
	if pid := n1.Postmaster(); said.Code != 0 || pid != postmaster {
		t.Errorf("create without --run: exit code %d; the server's process is %d, was %d\n%s", said.Code, pid, postmaster, said.Stderr)
	}
	n1.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	if got := n1.SQL("select current_setting('work_mem'), current_setting('config_file'), n from precious"); got[0] != "7MB|"+filepath.Join(n1.PGDATA(), "postgresql.conf")+"|42" {
		t.Errorf("n1 has %v", got)
	}
	content, err := os.ReadFile(filepath.Join(etc, "start.conf"))
	if err != nil || !strings.Contains(string(content), "\ndisabled\n") {
		t.Errorf("the distribution would start the cluster, too: %s %v", content, err)
	}
	n2 := c.Add("n2")
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	if got := n2.SQL("show work_mem"); got[0] != "7MB" {
		t.Errorf("work_mem of the copy is %v", got)
	}
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	c.Right(patience)
}

// asRoot runs a program as ourselves.
func asRoot(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestCreateInterrupted kills the create command again and again, anywhere, and
// gives it again, until the node is what it was to become.
func TestCreateInterrupted(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.New(t)
	pause := func(n *cluster.Node, most time.Duration) {
		t.Helper()
		select {
		case <-time.After(time.Duration(rand.Int64N(int64(most)))):
		case <-t.Context().Done():
		}
		n.KillKeeper()
	}
	n1 := c.Place("n1")
	for range 4 {
		n1.Create()
		pause(n1, 1500*time.Millisecond)
	}
	n1.Create()
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	n2 := c.Place("n2")
	for range 6 {
		n2.Create()
		pause(n2, 2500*time.Millisecond)
	}
	n2.Create()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Right(patience)
	if nodes := c.Group().Nodes; len(nodes) != 2 {
		t.Errorf("there are %d nodes", len(nodes))
	}
	c.Await(patience, "nothing is left of interrupted work", func(stdcontext.Context) error {
		for _, n := range []*cluster.Node{n1, n2} {
			left, err := filepath.Glob(n.PGDATA() + "?*")
			if err != nil || len(left) > 0 {
				return fmt.Errorf("%v %w", left, err)
			}
		}
		return nil
	})
	// The last keeper may only just have begun: what its node cannot take over yet is abandoned, and the primary goes on.
	c.Await(patience, "a failover goes through", func(stdcontext.Context) error {
		if said := c.TryCommand("perform", "failover"); said.Code != 0 {
			return fmt.Errorf("exit code %d: %s", said.Code, said.Stderr)
		}
		return nil
	})
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
}
