package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// TestEditedRules has somebody add lines to pg_hba.conf while the keeper rewrites its own part of it: no line is lost, and the keeper's part is right.
func TestEditedRules(t *testing.T) {
	g := newGroup(t, 1)
	a := g.members[0]
	alone := func() fsm.Goal {
		goal := g.serve(a, 0)
		goal.State, goal.Peers = fsm.StateSingle, nil
		return goal
	}
	g.reach(a, alone())
	path := filepath.Join(a.cfg.DataDir, "pg_hba.conf")
	const lines = 60
	edited := make(chan error, 1)
	go func() {
		for i := range lines {
			err := disk.ErrChanged
			for errors.Is(err, disk.ErrChanged) {
				var was []byte
				if was, err = os.ReadFile(path); err == nil {
					_, err = disk.ReplaceFile(path, was, append(bytes.Clone(was), fmt.Sprintf("# line %d\n", i)...), 0o600)
				}
			}
			if err != nil {
				edited <- err
				return
			}
		}
		edited <- nil
	}()
	for round := 0; ; round++ {
		goal := alone()
		if round%2 == 0 {
			goal.Peers = []fsm.Peer{{Node: 2, Name: "other", Host: "127.0.0.9", Port: 1, Token: "00000002"}}
		}
		g.reach(a, goal)
		select {
		case err := <-edited:
			if err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		break
	}
	g.reach(a, alone())
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range lines {
		if !strings.Contains(string(text), fmt.Sprintf("# line %d\n", i)) {
			t.Errorf("line %d is lost", i)
		}
	}
	if strings.Contains(string(text), "127.0.0.9") {
		t.Error("the keeper's part is not the last one")
	}
}
