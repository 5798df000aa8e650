package inprocess

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

// TestPair_CannotStart: a server that cannot start is explained with what it complained of itself.
func TestPair_CannotStart(t *testing.T) {
	s, _, b := pair(t)
	b.stop(keeper.StopFast)
	config := filepath.Join(b.cfg.PGData, "postgresql.conf")
	f, err := os.OpenFile(config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\nshared_preload_libraries = 'no_such_library'\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b.start()
	s.await("the problem names the cause", 30*time.Second, func(st monitorapi.State) bool {
		for _, n := range st.Formations[0].Groups[0].Nodes {
			if p := n.Problem; n.Name == "b" && p != nil && p.Code == "cannot_start" && strings.Contains(p.Text, "no_such_library") {
				return true
			}
		}
		return false
	})
}
