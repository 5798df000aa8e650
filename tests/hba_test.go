package tests

import (
	stdcontext "context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/cluster"
)

// rules is the node's pg_hba.conf.
func rules(t *testing.T, n *cluster.Node) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.PGDATA(), "pg_hba.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestSkipHBA leaves pg_hba.conf to the user, through a copy, a hand-over, a
// crash and a restart.
func TestSkipHBA(t *testing.T) {
	t.Parallel()
	c := cluster.NewWith(t, cluster.Setup{Flags: func(n *cluster.Node) []string {
		if n.Name == "monitor" {
			return []string{"--auth", "trust", "--no-ssl"}
		}
		return []string{"--auth", "trust", "--no-ssl", "--skip-pg-hba"}
	}})
	n1 := c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	if text := rules(t, n1); strings.Contains(text, "autoctl") {
		t.Errorf("something of autoctl's is in pg_hba.conf:\n%s", text)
	}
	n1.AdmitSuperuser()
	n1.Admit("host replication autoctl_replicator all trust", "host postgres autoctl_replicator all trust")
	mine := rules(t, n1)
	n2 := c.Add("n2")
	same := func(when string) {
		t.Helper()
		for _, n := range []*cluster.Node{n1, n2} {
			c.Await(patience, "pg_hba.conf of "+n.Name+" is the user's alone "+when, func(stdcontext.Context) error {
				if text := rules(t, n); text != mine {
					return fmt.Errorf("it is\n%s", text)
				}
				return nil
			})
			if got := strings.TrimSpace(n.Autoctl("config", "get", "auth.skip_pg_hba")); got != "true" {
				t.Errorf("auth.skip_pg_hba of %s is %q %s", n.Name, got, when)
			}
		}
	}
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w := c.Writer()
	same("after the copy")
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	same("after a hand-over")
	before := c.LastEvent()
	n2.KillPostmaster()
	c.Await(patience, "the monitor hears of it", func(stdcontext.Context) error {
		if !slices.ContainsFunc(c.Events(before), func(e monitorapi.Event) bool { return e.Name == "n2" && e.Kind == "server" }) {
			return errors.New("it has not heard that the server of n2 is down")
		}
		return nil
	})
	c.Writes(w, patience)
	c.Await(patience, "both nodes are in service", func(stdcontext.Context) error {
		for _, n := range []string{"n1", "n2"} {
			if info, err := c.TryInfo(n); err != nil || info.Reported != info.Assigned || info.Reported != cluster.Primary && info.Reported != cluster.Secondary {
				return fmt.Errorf("%s: %+v %w", n, info, err)
			}
		}
		return nil
	})
	same("after a crash")
	n1.Stop()
	n1.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Secondary, "n2": cluster.Primary})
	same("after a restart")
	c.Verify(w)
}

// TestHBALan admits applications from the local network where that was asked for,
// and keeps the user's own lines.
func TestHBALan(t *testing.T) {
	t.Parallel()
	c := cluster.New(t)
	n1 := c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	lines, err := n1.HBABlock()
	if err != nil {
		t.Fatal(err)
	}
	mentions(t, strings.Join(lines, "\n"), "host all all samenet trust")
	n1.SQL("create role app login")
	n1.Admit("# mine", "host all app 192.0.2.0/24 reject")
	n1.Stop()
	n1.Restart()
	c.Await(patience, "the daemon answers", func(stdcontext.Context) error {
		if r := n1.Try("status"); r.Code != 0 {
			return errors.New(r.Stderr)
		}
		return nil
	})
	mentions(t, rules(t, n1), "# mine\nhost all app 192.0.2.0/24 reject\n")

	t.Log("it can be taken back while the node runs")
	n1.Autoctl("config", "set", "auth.pg_hba_lan", "false")
	n1.Autoctl("reload")
	c.Await(patience, "the local network is not admitted any more", func(stdcontext.Context) error {
		if text := rules(t, n1); strings.Contains(text, "\nhost all all samenet") {
			return fmt.Errorf("pg_hba.conf is\n%s", text)
		}
		return nil
	})
	mentions(t, rules(t, n1), "# mine\nhost all app 192.0.2.0/24 reject\n")
}
