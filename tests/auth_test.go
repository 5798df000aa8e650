package tests

import (
	"bytes"
	stdcontext "context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// Passwords with everything that is special somewhere on their way: in a
// password file, in a connection string, in SQL, in a shell.
const (
	nodePassword       = `mon:pa ss'w\ord"$1%40`
	replicatorPassword = `repl:pa ss'w\ord"$2&=é`
)

const patience = 40 * time.Second

// pgpass renders a line of a .pgpass file.
func pgpass(role, password string) string {
	return "*:*:*:" + role + ":" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(password) + "\n"
}

// passwordSetup gives every password in another way: to the monitor in a file, to
// n1 in the environment, to the others in .pgpass.
func passwordSetup(tls ...string) cluster.Setup {
	written := map[*cluster.Node]bool{}
	return cluster.Setup{
		Password: nodePassword,
		Flags: func(n *cluster.Node) []string {
			flags := append([]string{"--auth", "scram-sha-256"}, tls...)
			switch {
			case n.Name == "monitor":
				return append(flags, "--password-file", n.WriteFile("secret", nodePassword+"\n", 0o600))
			case n.Name != "n1" && !written[n]:
				written[n] = true
				n.WriteFile(".pgpass", pgpass("autoctl_node", nodePassword)+pgpass("autoctl_replicator", replicatorPassword), 0o600)
			}
			return flags
		},
		Env: func(n *cluster.Node) []string {
			switch n.Name {
			case "monitor":
				return []string{"PGPASSWORD=" + nodePassword}
			case "n1":
				return []string{"PGPASSWORD=" + nodePassword, "AUTOCTL_PASSWORD=" + replicatorPassword}
			}
			return nil
		},
	}
}

// argumentWatch samples the argument lists of all processes of the machine.
type argumentWatch struct {
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	seen map[string]bool
}

func watchArguments() *argumentWatch {
	w := &argumentWatch{stop: make(chan struct{}), seen: map[string]bool{}}
	w.done.Go(func() {
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
			paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			w.mu.Lock()
			for _, path := range paths {
				if args, err := os.ReadFile(path); err == nil {
					w.seen[strings.ReplaceAll(string(args), "\x00", " ")] = true
				}
			}
			w.mu.Unlock()
		}
	})
	return w
}

// end asserts that the programs were seen at work, and none with a secret.
func (w *argumentWatch) end(t *testing.T, programs []string, secrets ...string) {
	t.Helper()
	close(w.stop)
	w.done.Wait()
	for _, p := range programs {
		found := false
		for args := range w.seen {
			first, _, _ := strings.Cut(args, " ")
			found = found || filepath.Base(first) == p
		}
		if !found {
			t.Errorf("%s was never seen at work", p)
		}
	}
	for args := range w.seen {
		for _, s := range secrets {
			if strings.Contains(args, s) {
				t.Errorf("a password is in the arguments of a process: %s", args)
			}
		}
	}
}

// noSecrets asserts that no file below the directories holds a secret, but for
// those that are made for it.
func noSecrets(t *testing.T, dirs []string, secrets ...string) {
	t.Helper()
	keepers := []string{"secret", ".pgpass", "password", "replication.pgpass"}
	read := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			content, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			read++
			for _, s := range secrets {
				if !bytes.Contains(content, []byte(s)) {
					continue
				}
				info, err := os.Stat(path)
				switch {
				case !slices.Contains(keepers, d.Name()):
					t.Errorf("%s holds a password", path)
				case err == nil && info.Mode().Perm()&0o077 != 0:
					t.Errorf("%s holds a password and has mode %04o", path, info.Mode().Perm())
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if read < 100 {
		t.Errorf("only %d files were read", read)
	}
}

// secretFragments are a password, and what quoting leaves of it.
func secretFragments() []string {
	return []string{nodePassword, replicatorPassword, "mon:pa", "repl:pa", `repl\:pa`, `mon\:pa`, "pa ss"}
}

// diverge leaves the node, which is the primary, with a commit that nobody else
// has, and kills everything on its host.
func diverge(t *testing.T, n *cluster.Node) {
	t.Helper()
	for _, row := range n.SQL("select pid from pg_stat_replication where application_name like 'autoctl_standby%'") {
		var pid int
		if _, err := fmt.Sscan(row, &pid); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	n.SQL("select set_config('synchronous_commit', 'local', false), txid_current(), pg_logical_emit_message(true, 'test', 'nobody else has this')")
	n.Crash()
}

// TestAuthPasswords runs a pair with passwords on every connection, encrypted and
// with the authority of every certificate checked: a base backup, streaming,
// a hand-over, a failover and a rewind, and nowhere a password that does not
// belong there.
func TestAuthPasswords(t *testing.T) {
	long(t)
	t.Parallel()
	watch := watchArguments()
	a := newAuthority(t)
	setup := passwordSetup()
	passwords := setup.Flags
	setup.Flags = func(n *cluster.Node) []string { return append(passwords(n), a.server(n, "verify-ca")...) }
	setup.Options = "sslmode=verify-ca&sslrootcert=" + a.File
	c := cluster.NewWith(t, setup)
	n1 := c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	n1.AdmitSuperuser()
	n1.Admit("hostssl all app all scram-sha-256")
	n2 := c.Add("n2")
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Right(patience)
	n1.SQL("create role app login password 'app'")
	n1.SQL("grant all on schema public to app")
	w := c.WriterOf(ledger.Config{URI: fmt.Sprintf("postgresql://app:app@%s:%d,%s:%d/postgres?sslmode=verify-ca&sslrootcert=%s", n1.Addr, n1.Port, n2.Addr, n2.Port, a.File)})

	t.Log("every connection of autoctl's roles asks for the password")
	for _, n := range []*cluster.Node{n1, n2} {
		lines, err := n.HBABlock()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "local ") && !strings.HasSuffix(line, " scram-sha-256") {
				t.Errorf("%s lets in by another way: %s", n.Name, line)
			}
		}
	}
	encrypted(t, c, "verify-ca", n1, n2)
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})

	t.Log("a primary that crashed with a commit of its own is rewound")
	diverge(t, n2)
	c.Writes(w, patience)
	n2.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	c.Right(patience)
	c.Verify(w)

	t.Log("no password is where it does not belong")
	for _, n := range []*cluster.Node{c.Monitor, n1, n2} {
		said := n.Autoctl("config", "get") + n.Autoctl("config", "get", "--output", "json") + n.Autoctl("status")
		said += n.Refused(0, append(n.CreateArgs(), "--pgport", "1")...)
		for _, s := range secretFragments() {
			if strings.Contains(said, s) {
				t.Errorf("%s tells a password:\n%s", n.Name, said)
			}
		}
	}
	noSecrets(t, []string{c.Monitor.Dir, n1.Dir, n2.Dir}, nodePassword, replicatorPassword, `repl\:pa`, `mon\:pa`)
	watch.end(t, []string{"pg_basebackup", "pg_rewind", "postgres"}, secretFragments()...)
}

// TestAuthWrongPasswords gives wrong passwords and none, and reads what is said.
func TestAuthWrongPasswords(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.NewWith(t, passwordSetup("--no-ssl"))
	n1 := c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})

	t.Log("the monitor's")
	for _, env := range []string{"PGPASSWORD=wrong:passw0rd", "PGPASSWORD="} {
		r := c.Monitor.TryWith([]string{env}, "show", "state", "--monitor", c.MonitorURI())
		if r.Code != cluster.ExitAuth {
			t.Errorf("%s: exit code %d", env, r.Code)
		}
		mentions(t, r.Stderr, "show state: monitor at "+c.Monitor.Addr, "password", "autoctl_node", "PGPASSWORD", ".pgpass")
		if strings.Contains(r.Stderr, "wrong:passw0rd") {
			t.Errorf("the password is repeated: %s", r.Stderr)
		}
	}
	n3 := c.Place("n3")
	r := n3.TryWith([]string{"PGPASSWORD=wrong:passw0rd", "AUTOCTL_PASSWORD=" + replicatorPassword, "PGPASSFILE=/nonexistent"}, n3.CreateArgs()...)
	if r.Code != cluster.ExitAuth {
		t.Errorf("create with a wrong password: exit code %d\n%s", r.Code, r.Stderr)
	}
	if _, err := os.Lstat(n3.PGDATA()); err == nil {
		t.Error("create with a wrong password made a data directory")
	}
	mentions(t, r.Stderr, "create postgres in "+n3.PGDATA(), "autoctl_node", "PGPASSWORD")
	if _, err := os.Lstat(filepath.Join(n3.Dir, "config", "autoctl", n3.PGDATA(), "password")); err == nil {
		t.Error("create with a wrong password kept the other one")
	}

	t.Log("a password in the monitor's URI is refused, and not repeated")
	uri := strings.Replace(c.MonitorURI(), "autoctl_node@", "autoctl_node:sEcret@", 1)
	said := c.Monitor.Refused(cluster.ExitUsage, "show", "state", "--monitor", uri)
	mentions(t, said, "--monitor", ".pgpass", "PGPASSWORD")
	if strings.Contains(said, "sEcret") {
		t.Errorf("the password is repeated: %s", said)
	}

	t.Log("that of replication is missing")
	n4 := c.Place("n4")
	args := n4.CreateArgs()
	n4.WriteFile(".pgpass", pgpass("autoctl_node", nodePassword), 0o600)
	said = n4.Refused(cluster.ExitUsage, args...)
	mentions(t, said, "--auth scram-sha-256 needs a password", "--password-file", "AUTOCTL_PASSWORD", "autoctl_replicator")

	t.Log("that of replication is wrong: the node waits, says why, and goes on when it is corrected")
	n4.WriteFile("secret", "wrong:passw0rd", 0o600)
	n4.Create("--password-file", filepath.Join(n4.Dir, "secret"))
	c.Await(patience, "the node says that its password is wrong", func(stdcontext.Context) error {
		info, err := c.TryInfo("n4")
		if err == nil && (info.Problem == nil || !strings.Contains(info.Problem.Text, "password authentication failed for user \"autoctl_replicator\"")) {
			err = fmt.Errorf("its problem is %+v", info.Problem)
		}
		return err
	})
	mentions(t, c.Command("show", "state"), "password authentication failed for user \"autoctl_replicator\"")
	n4.WriteFile("secret", replicatorPassword, 0o600)
	n4.Autoctl("reload")
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n4": cluster.Secondary})
	noSecrets(t, []string{c.Monitor.Dir, n1.Dir, n4.Dir}, "wrong:passw0rd", replicatorPassword, nodePassword)
}
