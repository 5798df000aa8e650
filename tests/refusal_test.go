package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestRefusals: what bad input gets on a machine with servers: a clear error, an exit code of its own class, and nothing changed.
// Input that is bad by itself is in cmd/autoctl.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Add("n1")
	c.Wait(soon, cluster.States{"n1": cluster.Single})
	n2 := c.Place("n2")

	t.Log("create, on a machine that does not allow it")
	refusals := []struct {
		name    string
		prepare func()
		flags   []string
		code    int
		says    []string
	}{
		{"directory that is not empty", func() { n2.WriteFile("data/precious", "mine", 0o600) }, nil, cluster.ExitPrecondition, []string{"not empty", "precious"}},
		{"directory of another version", func() { n2.WriteFile("data/PG_VERSION", "9\n", 0o600) }, nil, cluster.ExitPrecondition, []string{"9"}},
		{"host name that does not resolve", nil, []string{"--hostname", "no-such-host.invalid"}, cluster.ExitPrecondition, []string{"no-such-host.invalid", "--hostname"}},
		{"name that is taken", nil, []string{"--name", "n1"}, cluster.ExitRefused, []string{"n1", "--name"}},
		{"name with a control character", nil, []string{"--name", "a\nb"}, cluster.ExitUsage, []string{"control characters"}},
		{"formation that is not there", nil, []string{"--formation", "nowhere"}, cluster.ExitRefused, []string{"nowhere"}},
		{"programs that are not there", nil, []string{"--pgctl", "/nowhere/pg_ctl"}, cluster.ExitPrecondition, []string{"find PostgreSQL programs", "--pgctl"}},
		{"socket directory that is not there", nil, []string{"--pghost", "/nowhere/sockets"}, cluster.ExitPrecondition, []string{"/nowhere/sockets", "--pghost"}},
		{"certificate without a key", nil, []string{"--server-cert", "/nowhere/server.crt", "--no-ssl=false"}, cluster.ExitUsage, nil},
	}
	for _, r := range refusals {
		if r.prepare != nil {
			r.prepare()
		}
		before := files(t, n2.PGDATA())
		said := n2.Refused(r.code, append(n2.CreateArgs(), r.flags...)...)
		for _, word := range r.says {
			if !strings.Contains(said, word) {
				t.Errorf("%s: does not say %q:\n%s", r.name, word, said)
			}
		}
		if after := files(t, n2.PGDATA()); !slices.Equal(before, after) {
			t.Errorf("%s: the data directory held %v and holds %v", r.name, before, after)
		}
		if err := os.RemoveAll(n2.PGDATA()); err != nil {
			t.Fatal(err)
		}
	}

	t.Log("a port in use")
	other := filepath.Join(n1.Dir, "other")
	args := append(n1.CreateArgs(), "--pgdata", other, "--name", "other")
	mentions(t, n1.Refused(cluster.ExitPrecondition, args...), "port "+strconv.Itoa(n1.Port), "--pgport")
	if err := gone(other); err != nil {
		t.Error(err)
	}

	t.Log("a second keeper, and create over a running one")
	second := n1.Refused(cluster.ExitPrecondition, "run", "--pgdata", n1.PGDATA())
	mentions(t, second, "another keeper runs", strconv.Itoa(n1.PID()))
	if strings.Contains(second, "autoctl runs") {
		t.Errorf("what was refused says that it runs:\n%s", second)
	}
	mentions(t, n1.Refused(cluster.ExitPrecondition, n1.CreateArgs()...), "another keeper runs")

	t.Log("nobody to fail over to")
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "perform", "failover"), "refused")
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "perform", "promotion", "--name", "n2"), "no node named", "n1")
	mentions(t, c.RefusedCommand(cluster.ExitRefused, "enable", "maintenance", "--name", "n1"), "n1")

	t.Log("a formation, and groups, that are not there")
	if r := n1.TryWith([]string{"AUTOCTL_FORMATION=nowhere"}, "show", "state", "--pgdata", n1.PGDATA()); r.Code != cluster.ExitRefused || !strings.Contains(r.Stderr, "nowhere") {
		t.Errorf("AUTOCTL_FORMATION: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, command := range []string{"show state", "show nodes", "explain", "perform failover"} {
		mentions(t, c.RefusedCommand(cluster.ExitRefused, append(strings.Fields(command), "--group", "7")...), "no group 7", "groups: ")
	}

	t.Log("settings that contradict each other")
	mentions(t, c.RefusedCommand(cluster.ExitUsage, "set", "formation", "settings", "node_lost_after=600ms"), "node_lost_after", "heartbeat")

	t.Log("a damaged configuration file, and a damaged state file")
	n1.Stop()
	damage(t, filepath.Join(n1.Dir, "config"), "autoctl.yaml", "role: keeper\npostgresql:\n  prt: 1\n")
	mentions(t, n1.Refused(cluster.ExitConfig, "run", "--pgdata", n1.PGDATA()), "postgresql.prt", "did you mean postgresql.port?")
	damage(t, filepath.Join(n1.Dir, "config"), "autoctl.yaml", "")
	damage(t, filepath.Join(n1.Dir, "share"), "state.json", "{}")
	mentions(t, n1.Refused(cluster.ExitConfig, "run", "--pgdata", n1.PGDATA()), "damaged")
	damage(t, filepath.Join(n1.Dir, "share"), "state.json", "")
	n1.Restart()
	c.Wait(soon, cluster.States{"n1": cluster.Single})
}

// files lists a directory, sorted; none where there is none.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// damage replaces the one file of that name below dir by text, and puts the original back when text is empty.
func damage(t *testing.T, dir, name, text string) {
	t.Helper()
	var path string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			path = p
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("find %s below %s: %v", name, dir, err)
	}
	if text == "" {
		if err := os.Rename(path+".good", path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.Rename(path, path+".good"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
