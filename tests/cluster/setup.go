package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/autoctl/autoctl/tests/machine"
)

// Setup is how the nodes of a cluster let each other, and applications, in. The
// zero value is the plain way: whoever is on the network is trusted, without TLS.
type Setup struct {
	// Flags returns the options of "create" that concern authentication and TLS;
	// nil for the plain ones. The monitor is a node too, named "monitor".
	Flags func(n *Node) []string
	// Env returns what the daemon and the commands of a node have in their
	// environment, as NAME=value.
	Env func(n *Node) []string
	// Options are those of the monitor's URI, as in sslmode=require; empty for
	// sslmode=disable.
	Options string
	// Password is that of autoctl_node.
	Password string
}

func (s Setup) flags(n *Node) []string {
	if s.Flags == nil {
		return []string{"--auth", "trust", "--no-ssl", "--pg-hba-lan"}
	}
	return s.Flags(n)
}

func (s Setup) env(n *Node) []string {
	if s.Env == nil {
		return nil
	}
	return s.Env(n)
}

// AdmitSuperuser adds a line to the user's own part of pg_hba.conf that lets the
// test itself in, as [Node.SQL] does it: for a cluster whose setup does not. Nodes
// that are copied from this one have the line too.
func (n *Node) AdmitSuperuser() {
	n.c.t.Helper()
	n.Admit(fmt.Sprintf("host all %s all trust", n.User()))
}

// Admit puts lines at the top of the user's own part of the node's pg_hba.conf,
// before those that initdb wrote, and has a running server read it. A keeper that
// writes its own part at the same moment may undo that, as with any two editors of
// one file: the lines are put in until they have stayed for a while.
func (n *Node) Admit(lines ...string) {
	n.c.t.Helper()
	n.admit(lines)
	since := time.Now()
	n.c.Await(20*time.Second, "pg_hba.conf keeps its lines", func(context.Context) error {
		content, err := os.ReadFile(filepath.Join(n.PGDATA(), "pg_hba.conf"))
		if err != nil {
			return err
		}
		if !strings.Contains(string(content), strings.Join(lines, "\n")+"\n") {
			n.admit(lines)
			since = time.Now()
		}
		if stayed := time.Since(since); stayed < time.Second {
			return fmt.Errorf("they have stayed for %v", stayed)
		}
		return nil
	})
}

func (n *Node) admit(lines []string) {
	n.c.t.Helper()
	path := filepath.Join(n.PGDATA(), "pg_hba.conf")
	content, err := os.ReadFile(path)
	if err != nil {
		n.c.t.Fatal(err)
	}
	const end = "# END autoctl\n"
	at := strings.Index(string(content), end)
	if at >= 0 {
		at += len(end)
	} else {
		at = 0
	}
	text := string(content[:at]) + strings.Join(lines, "\n") + "\n" + string(content[at:])
	// At once, as good editors do: the keeper rewrites its block of what it reads.
	if err := os.Rename(n.WriteFile("pg_hba.conf.new", text, 0o600), path); err != nil {
		n.c.t.Fatal(err)
	}
	if pid := n.Postmaster(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGHUP)
	}
}

// WriteFile writes a file into the node's home directory, which belongs to the
// user that runs its programs, and returns the path.
func (n *Node) WriteFile(name, content string, mode os.FileMode) string {
	n.c.t.Helper()
	path := filepath.Join(n.Dir, name)
	home, err := os.Stat(n.Dir)
	if err != nil {
		n.c.t.Fatal(err)
	}
	owner := home.Sys().(*syscall.Stat_t)
	own := func(path string) {
		if err := os.Lchown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			n.c.t.Fatal(err)
		}
	}
	if dir := filepath.Dir(path); dir != n.Dir {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			n.c.t.Fatal(err)
		}
		own(dir)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		n.c.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		n.c.t.Fatal(err)
	}
	own(path)
	return path
}

// TryWith is [Node.Try] with more environment, which wins over the setup's.
func (n *Node) TryWith(env []string, args ...string) machine.Result {
	n.c.t.Helper()
	ctx, cancel := context.WithTimeout(n.c.t.Context(), commandTimeout)
	defer cancel()
	r, err := n.Run(ctx, append(n.c.setup.env(n), env...), append([]string{n.c.binary}, args...)...)
	if err != nil {
		n.c.t.Fatalf("%v\n%s", err, n.c.Picture())
	}
	return r
}
