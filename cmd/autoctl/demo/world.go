package demo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

const loopback = "127.0.0.1"

// freePorts asks the kernel for ports that are free now. They are let go together, so that all differ.
func freePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	var config net.ListenConfig
	for range n {
		l, err := config.Listen(ctx, "tcp", loopback+":0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// common are the options that all nodes and the monitor share: everything stays on this machine.
func (s *show) common(name string, port int) []string {
	return []string{
		"--pgdata", filepath.Join(s.Dir, name), "--pgport", strconv.Itoa(port), "--pghost", s.sockets(),
		"--hostname", loopback, "--listen", loopback, "--auth", "trust", "--no-ssl", "--run",
	}
}

func (s *show) startMonitor(ctx context.Context, port int) error {
	s.monitor = &process{name: "monitor", dir: s.Dir, data: filepath.Join(s.Dir, "monitor")}
	if err := s.monitor.start(s.Binary, append([]string{"create", "monitor"}, s.common("monitor", port)...)); err != nil {
		return err
	}
	s.uri = fmt.Sprintf("postgres://autoctl_node@%s:%d/autoctl?sslmode=disable", loopback, port)
	s.screen.say("%s", "autoctl create monitor  --run    ("+address(port)+")")
	deadline := time.Now().Add(patience)
	for {
		c, err := s.dial(ctx)
		if err == nil {
			s.client = c
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the monitor does not answer: %w\n%s", err, s.monitor.tail())
		}
		if err := s.monitor.alive(); err != nil {
			return err
		}
		if err := s.pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *show) dial(ctx context.Context) (*monitorapi.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return monitorapi.Dial(ctx, s.uri, monitorapi.Options{})
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// startNode starts one node and waits until the monitor knows it, so that numbers and names go together; the first must serve
// before others can follow.
func (s *show) startNode(ctx context.Context, number, port int) error {
	name := fmt.Sprintf("node%d", number)
	p := &process{name: name, dir: s.Dir, data: filepath.Join(s.Dir, name)}
	args := append([]string{"create", "postgres", "--name", name, "--monitor", s.uri, "--dbname", "demo", "--username", "demo"}, s.common(name, port)...)
	if err := p.start(s.Binary, args); err != nil {
		return err
	}
	s.nodes = append(s.nodes, p)
	s.screen.say("%s", "autoctl create postgres --run    ("+address(port)+", "+name+")")
	return s.await(ctx, name, func(st monitorapi.State) bool {
		return len(nodesOf(st)) == number && servingName(st) != ""
	})
}

// await looks at the state until it is as wanted, and leaves the table as it then is.
func (s *show) await(ctx context.Context, what string, wanted func(monitorapi.State) bool) error {
	began := time.Now()
	for {
		st, err := s.state(ctx)
		if err == nil && wanted(st) {
			s.screen.update(s.Table, st, s.writer)
			return nil
		}
		for _, p := range append([]*process{s.monitor}, s.nodes...) {
			if err := p.alive(); err != nil {
				return err
			}
		}
		if time.Since(began) > patience {
			return fmt.Errorf("waited %s for %s in vain: look at the logs in %s", patience, what, s.Dir)
		}
		if err := s.pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *show) state(ctx context.Context) (monitorapi.State, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return s.client.State(ctx, "", -1)
}

// healthy reports one primary, all others secondary, as assigned.
func (s *show) healthy(st monitorapi.State) bool {
	primaries, secondaries := 0, 0
	for _, n := range nodesOf(st) {
		if n.Reported != n.Assigned {
			return false
		}
		if n.Reported == fsm.StatePrimary {
			primaries++
		}
		if n.Reported == fsm.StateSecondary {
			secondaries++
		}
	}
	return primaries == 1 && secondaries == s.Nodes-1
}

func nodesOf(st monitorapi.State) []monitorapi.NodeState {
	var nodes []monitorapi.NodeState
	for _, f := range st.Formations {
		for _, g := range f.Groups {
			nodes = append(nodes, g.Nodes...)
		}
	}
	return nodes
}

func servingName(st monitorapi.State) string {
	for _, n := range nodesOf(st) {
		if n.Reported.Serves() && n.Assigned.Serves() && n.Open {
			return n.Name
		}
	}
	return ""
}

// primary is the process of the node that serves.
func (s *show) primary(ctx context.Context) (*process, error) {
	st, err := s.state(ctx)
	if err != nil {
		return nil, err
	}
	name := servingName(st)
	for _, p := range s.nodes {
		if p.name == name {
			return p, nil
		}
	}
	return nil, errors.New("no node serves")
}

func (s *show) writeURI(ctx context.Context) string {
	st, err := s.state(ctx)
	if err != nil {
		return ""
	}
	uri, _ := s.URIs(st)
	return uri
}

// command runs autoctl and shows what it prints.
func (s *show) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.Binary, args...)
	cmd.Env = environment(s.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run autoctl: %w", err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		s.screen.say("%s", strings.TrimRight("    "+lines.Text(), " "))
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("autoctl %s: %w: %s", strings.Join(args[:2], " "), err, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// trace collects what happens to the nodes from now on; the returned function prints it.
func (s *show) trace(ctx context.Context) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	changes, err := s.client.Changes(ctx, "")
	if err != nil {
		cancel()
		return nil, err
	}
	began := time.Now()
	done := make(chan struct{})
	last := map[fsm.NodeID]string{}
	go func() {
		defer close(done)
		for c := range changes {
			text := fmt.Sprintf("%s: %s, assigned %s", c.Name, c.Reported, c.Assigned)
			if c.Node == 0 || c.Reported == c.Assigned || last[c.Node] == text {
				continue
			}
			last[c.Node] = text
			s.screen.say("    +%.2f s  %s", time.Since(began).Seconds(), text)
		}
	}()
	return func() { cancel(); <-done }, nil
}

// refresh keeps the table at the bottom of a terminal current.
func (s *show) refresh(ctx context.Context) {
	if !s.Terminal {
		return
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if st, err := s.state(ctx); err == nil {
			s.screen.update(s.Table, st, s.writer)
		}
	}
}
