package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// connectTimeout bounds how long a command waits for the monitor to answer at all.
const connectTimeout = 5 * time.Second

// callTimeout bounds one question to the monitor.
const callTimeout = 10 * time.Second

// session is a command's connection to the monitor, with the part of the world that it is about.
type session struct {
	*monitorapi.Client
	formation string
	group     int
}

// connect dials the monitor of a target. Its errors are classified; close it when done.
func (t *target) connect(ctx context.Context) (*session, error) {
	t.formation = firstOf(t.formation, os.Getenv("AUTOCTL_FORMATION")) // stronger than the node's own
	uri, err := t.monitorURI()
	if err != nil {
		return nil, err
	}
	formation, err := t.formationName()
	if err != nil {
		return nil, err
	}
	if t.cmd.Flags().Changed("group") && t.group < 0 {
		return nil, fail(classUsage, "", "--group is %d: must be 0 or more", t.group)
	}
	c, err := dial(ctx, uri)
	if err != nil {
		return nil, err
	}
	return &session{Client: c, formation: formation, group: t.group}, nil
}

func dial(ctx context.Context, uri string) (*monitorapi.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return monitorapi.Dial(ctx, uri, monitorapi.Options{Software: version})
}

// state asks for the target's state.
func (s *session) state(ctx context.Context) (monitorapi.State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return s.State(ctx, s.formation, s.group)
}

// oneFormation asks for the state and picks the formation, with all of its groups.
func (s *session) oneFormation(ctx context.Context) (monitorapi.FormationState, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	st, err := s.State(ctx, s.formation, -1) // all groups: who names a wrong one is told the right ones
	if err != nil {
		return monitorapi.FormationState{}, err
	}
	if i := slices.IndexFunc(st.Formations, func(f monitorapi.FormationState) bool { return f.Name == s.formation }); i >= 0 {
		return st.Formations[i], nil
	}
	return monitorapi.FormationState{}, fail(classRefused, `"autoctl show state" lists the nodes, "autoctl create formation" makes a formation`, "there is no formation %q", s.formation)
}

// oneGroup picks the group: the one that was named, or the only one.
func (s *session) oneGroup(ctx context.Context) (monitorapi.GroupState, error) {
	f, err := s.oneFormation(ctx)
	if err != nil {
		return monitorapi.GroupState{}, err
	}
	return s.pick(f)
}

func (s *session) pick(f monitorapi.FormationState) (monitorapi.GroupState, error) {
	var numbers []string
	for _, g := range f.Groups {
		if g.Group == s.group || s.group < 0 && len(f.Groups) == 1 {
			return g, nil
		}
		numbers = append(numbers, fmt.Sprint(g.Group))
	}
	switch {
	case len(f.Groups) == 0:
		return monitorapi.GroupState{}, fail(classRefused, `add a node with "autoctl create postgres"`, "formation %q has no nodes", f.Name)
	case s.group < 0:
		return monitorapi.GroupState{}, fail(classUsage, "choose one with --group: "+strings.Join(numbers, ", "), "formation %q has %d groups", f.Name, len(f.Groups))
	}
	return monitorapi.GroupState{}, fail(classRefused, "groups: "+strings.Join(numbers, ", "), "formation %q has no group %d", f.Name, s.group)
}

// findNode looks a node up by name in the whole formation.
func (s *session) findNode(ctx context.Context, name string) (monitorapi.NodeState, monitorapi.GroupState, error) {
	f, err := s.oneFormation(ctx)
	if err != nil {
		return monitorapi.NodeState{}, monitorapi.GroupState{}, err
	}
	var names []string
	for _, g := range f.Groups {
		for _, n := range g.Nodes {
			if n.Name == name {
				return n, g, nil
			}
			names = append(names, n.Name)
		}
	}
	hint := "nodes: " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return monitorapi.NodeState{}, monitorapi.GroupState{}, fail(classRefused, hint, "formation %q has no node named %q", s.formation, name)
}

// classifyMonitor maps the monitor's errors to classes; nil when err is none of them.
func classifyMonitor(err error) *failure {
	e, ok := errors.AsType[*monitorapi.Error](err)
	if !ok {
		return nil
	}
	f := &failure{err: err, hint: e.Hint}
	switch e.Code {
	case monitorapi.CodeUnreachable, monitorapi.CodeNotMonitor, monitorapi.CodeProtocol, monitorapi.CodeTLS:
		f.class = classUnreachable
	case monitorapi.CodeAuth:
		f.class = classAuth
	case monitorapi.CodeOtherSystem:
		f.class = classPrecondition
	case monitorapi.CodeGone:
		f.class = classDropped
	case monitorapi.CodeInvalid:
		f.class = classUsage
	case monitorapi.CodeRefused, monitorapi.CodeUnknown, monitorapi.CodeConflict:
		f.class = classRefused
	default:
		f.class = classFailed
	}
	return f
}
