package tests

import (
	stdcontext "context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
)

// ssl waits until the node's server says so.
func ssl(t *testing.T, c *cluster.Cluster, n *cluster.Node, want string) {
	t.Helper()
	c.Await(patience, "ssl of "+n.Name+" is "+want, func(stdcontext.Context) error {
		rows, err := n.TrySQL("show ssl")
		if err == nil && rows[0] != want {
			err = fmt.Errorf("it is %s", rows[0])
		}
		return err
	})
}

// TestTLSEnabledLater turns TLS on in a running service, then brings certificates
// of an authority, then turns it off; no server restarts, and writes go on.
func TestTLSEnabledLater(t *testing.T) {
	long(t)
	t.Parallel()
	c := cluster.NewWith(t, cluster.Setup{
		Options: "sslmode=prefer",
		Flags:   func(*cluster.Node) []string { return []string{"--auth", "trust", "--no-ssl"} },
	})
	n1, n2, w := pair(t, c, "sslmode=prefer")
	all := []*cluster.Node{c.Monitor, n1, n2}
	postmasters := map[string]int{}
	for _, n := range all {
		postmasters[n.Name] = n.Postmaster()
	}
	ssl(t, c, n1, "off")
	ssl(t, c, n2, "off")
	since := c.LastEvent()

	t.Log("the monitor first, then the primary, then the standby")
	mentions(t, c.Monitor.Autoctl("enable", "ssl", "--ssl-self-signed", "--ssl-mode", "require"), "TLS is on", "the running server takes it")
	c.Await(patience, "ssl of the monitor is on", func(stdcontext.Context) error {
		if got := monitorSSL(t, c); got != "on" {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	mentions(t, c.Monitor.Autoctl("show", "uri"), "autoctl?sslmode=require")
	c.Await(patience, "the monitor has heard the primary again", func(stdcontext.Context) error {
		if r := c.TryCommand("perform", "failover"); r.Code != 0 { // over the monitor as it is now
			return errors.New(r.Stderr)
		}
		return nil
	})
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	c.Failover()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	for _, n := range []*cluster.Node{n1, n2} {
		postmasters[n.Name] = n.Postmaster() // a hand-over restarts
	}
	for _, n := range []*cluster.Node{n1, n2} {
		n.Autoctl("enable", "ssl", "--ssl-self-signed", "--ssl-mode", "require")
		ssl(t, c, n, "on")
	}
	encrypted(t, c, "require", n1, n2)

	t.Log("nodes may insist on TLS to the monitor, too")
	strict := strings.Replace(c.MonitorURI(), "prefer", "require", 1)
	for _, n := range []*cluster.Node{n1, n2} {
		n.Autoctl("enable", "monitor", strict)
	}
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("a bad certificate is refused, and changes nothing")
	a := newAuthority(t)
	cert, key := a.issue(n1.Addr, time.Hour, n1.Addr)
	stale, staleKey := a.issue(n1.Addr, -time.Hour, n1.Addr)
	elsewhere, elsewhereKey := a.issue("elsewhere", time.Hour, "elsewhere.example.com")
	before := configuration(t, n1)
	for _, bad := range []struct {
		cert, key string
		mode      os.FileMode
		says      string
	}{
		{cert, staleKey, 0o600, "key does not fit"},
		{stale, staleKey, 0o600, "expired"},
		{elsewhere, elsewhereKey, 0o600, "elsewhere.example.com"},
		{cert, key, 0o644, "0600"},
		{"nonsense", key, 0o600, "PEM"},
	} {
		said := n1.Refused(cluster.ExitConfig, "enable", "ssl", "--ssl-mode", "verify-full", "--ssl-ca-file", a.File,
			"--server-cert", n1.WriteFile("bad.pem", bad.cert, 0o644), "--server-key", n1.WriteFile("bad.key", bad.key, bad.mode))
		mentions(t, said, bad.says, "bad.")
	}
	mentions(t, n1.Refused(cluster.ExitConfig, "enable", "ssl", "--server-cert", filepath.Join(n1.Dir, "bad.pem")), "key is missing", "--server-key")
	n1.Refused(cluster.ExitUsage, "enable", "ssl")
	if after := configuration(t, n1); after != before {
		t.Errorf("the configuration was\n%s\nand is\n%s", before, after)
	}
	encrypted(t, c, "require", n1, n2)

	t.Log("certificates of an authority")
	for _, n := range []*cluster.Node{n1, n2} {
		n.Autoctl(append([]string{"enable", "ssl"}, a.server(n, "verify-full")...)...)
		c.Await(patience, n.Name+" has its own certificate", func(stdcontext.Context) error {
			rows, err := n.TrySQL("show ssl_ca_file")
			if err == nil && rows[0] != a.File {
				err = fmt.Errorf("ssl_ca_file is %s", rows[0])
			}
			return err
		})
	}
	encrypted(t, c, "verify-full", n1, n2)
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("off again: the standby first")
	for _, n := range []*cluster.Node{n2, n1} {
		n.Autoctl("disable", "ssl")
		ssl(t, c, n, "off")
	}
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	for _, n := range all {
		if pid := n.Postmaster(); pid != postmasters[n.Name] {
			t.Errorf("PostgreSQL of %s was restarted: process %d, then %d", n.Name, postmasters[n.Name], pid)
		}
	}
	for _, e := range c.Events(since) {
		if e.Rule == "remove_lost" || strings.Contains(e.Reason, "silent") || strings.Contains(e.Reason, "crashed") {
			t.Errorf("the service was disturbed: %s", e.Reason)
		}
	}
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
}

// configuration is the node's configuration file.
func configuration(t *testing.T, n *cluster.Node) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.Dir, "config", "autoctl", n.PGDATA(), "autoctl.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
