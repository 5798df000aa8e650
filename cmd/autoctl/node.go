package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper/state"
)

func bindName(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", "", "`name` of the node (default: the node in --pgdata)")
}

// withNode connects and finds the node that a command is about: by name, else the one whose data directory is chosen.
func (t *target) withNode(ctx context.Context, name string, do func(*session, monitorapi.NodeState, monitorapi.GroupState) error) error {
	if name != "" {
		if err := nodeName(name); err != nil {
			return fail(classUsage, "", "--name %w", err)
		}
	}
	return t.withMonitor(ctx, func(s *session) error {
		n, g, err := t.chosenNode(ctx, s, name)
		if err != nil {
			return err
		}
		return do(s, n, g)
	})
}

func (t *target) chosenNode(ctx context.Context, s *session, name string) (monitorapi.NodeState, monitorapi.GroupState, error) {
	if name != "" {
		return s.findNode(ctx, name)
	}
	id, err := t.localNode()
	if err != nil {
		return monitorapi.NodeState{}, monitorapi.GroupState{}, err
	}
	f, err := s.oneFormation(ctx)
	if err != nil {
		return monitorapi.NodeState{}, monitorapi.GroupState{}, err
	}
	for _, g := range f.Groups {
		if n := member(g, id); n != nil {
			return *n, g, nil
		}
	}
	return monitorapi.NodeState{}, monitorapi.GroupState{}, &monitorapi.Error{
		Code: monitorapi.CodeUnknown, Text: fmt.Sprintf("the monitor does not know node %d in formation %q", id, s.formation),
		Hint: "does it belong to another formation? If it was dropped: \"autoctl drop node --destroy --force\" with --pgdata deletes what is left on its machine",
	}
}

// localNode is the id that the monitor gave to the node of the chosen data directory.
func (t *target) localNode() (fsm.NodeID, error) {
	dir, err := t.dataDirectory()
	if err != nil {
		return 0, err
	}
	if dir == "" {
		return 0, fail(classUsage, "give --name, or --pgdata of the node on this machine", "no node is chosen")
	}
	l, _, err := t.local()
	if err != nil {
		return 0, err
	}
	if l.Role != roleKeeper {
		return 0, fail(classUsage, "give --name", "%s is a monitor's, not a node's", dir)
	}
	m, err := memory(dir)
	if err != nil {
		return 0, err
	}
	if m.Node == 0 {
		return 0, fail(classNotRunning, "start it with \"autoctl run\"", "the node in %s has not registered with a monitor yet", dir)
	}
	return m.Node, nil
}

// memory reads a keeper's state file without taking a lock or changing anything (P7).
func memory(pgdata string) (fsm.Memory, error) {
	store, err := state.Open(statePath(pgdata))
	if err != nil {
		return fsm.Memory{}, fail(classConfig, state.Hint(err), "%w", err)
	}
	return store.Get(), nil
}

func isInteractive(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// nodeTitle names a node in a sentence.
func nodeTitle(n monitorapi.NodeState) string {
	return fmt.Sprintf("%s (node %d)", printable(n.Name), n.NodeID)
}
