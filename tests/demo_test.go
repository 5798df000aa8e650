package tests

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/autoctl/autoctl/tests/cluster"
)

// TestDemo: the first thing that a newcomer runs shows two failovers, loses nothing, and leaves nothing behind.
func TestDemo(t *testing.T) {
	long(t)
	c := cluster.Prepare(t, cluster.Setup{})
	host := c.Monitor.Host
	dir := filepath.Join(host.Dir, "demo")
	said := c.Monitor.Autoctl("demo", "--once", "--nodes", "2", "--dir", dir)
	mentions(t, said, "a primary with a secondary", "target_session_attrs=read-write", "autoctl perform failover", "kill -9",
		"Writes paused for", "and not one of them is missing", "nothing left behind")
	if _, err := os.Lstat(dir); err == nil {
		t.Errorf("%s is left behind", dir)
	}
	for _, p := range host.Processes() {
		t.Errorf("a process is left behind: %+v", p)
	}
}
