// Package demo is the show that "autoctl demo" gives: a monitor and some nodes on this machine, a writer that keeps a ledger
// of acknowledged rows, a planned failover, the death of a primary, and the count of what is missing afterwards.
//
// It uses autoctl as a user would: the daemons are processes of the same binary, each in a process group of its own, and
// nothing here reaches into them. What it started it ends, PostgreSQL by asking the keepers; and it looks whether that is so.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// Options say what to show.
type Options struct {
	// Binary is the autoctl to run.
	Binary string
	// Dir holds everything; empty for a temporary directory. Nodes is how many PostgreSQL nodes there are, from 2.
	Dir   string
	Nodes int
	// Once ends the show by itself; else it stays until the context ends. Keep leaves Dir behind.
	Once, Keep bool
	Out        io.Writer
	// Terminal says that Out understands cursor movements.
	Terminal bool
	// Width returns the present width of the terminal; 0 when unknown.
	Width func() int
	// Table prints a state, as show state does; URIs returns the read-write and the read-only URI of the formation.
	Table func(io.Writer, monitorapi.State)
	URIs  func(monitorapi.State) (write, read string)
}

// ErrOccupied says that the directory that was named holds something.
var ErrOccupied = errors.New("it is not empty")

// ErrMissing says that acknowledged rows are not there: the one thing that must not happen.
var ErrMissing = errors.New("acknowledged rows are missing")

// patience bounds each phase of the show: on a loaded machine everything takes longer, and something that hangs must end.
const patience = 2 * time.Minute

// show is one run.
type show struct {
	Options
	screen  *screen
	monitor *process
	nodes   []*process
	client  *monitorapi.Client
	uri     string
	writer  *writer
}

// Run gives the show. It returns nil when all went well and nothing is left; when ctx ends it tidies up and returns nil too.
func Run(ctx context.Context, o Options) (err error) {
	own := o.Dir == ""
	if o.Dir, err = prepareDir(o.Dir); err != nil {
		return err
	}
	s := &show{Options: o, screen: newScreen(o.Out, o.Terminal, o.Width)}
	defer func() {
		err = errors.Join(err, s.tidy(context.WithoutCancel(ctx), own))
	}()
	err = s.play(ctx)
	if ctx.Err() != nil && !errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// prepareDir makes the directory; one that was named must be empty or missing: it will be deleted.
func prepareDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "autoctl-demo-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return "", fmt.Errorf("use directory %s: %w", dir, ErrOccupied)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	return dir, nil
}

// play is the script.
func (s *show) play(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.write(ctx); err != nil {
		return err
	}
	if err := s.failover(ctx); err != nil {
		return err
	}
	if err := s.kill(ctx); err != nil {
		return err
	}
	if err := s.count(ctx); err != nil {
		return err
	}
	if s.Once {
		return nil
	}
	s.writer.start(ctx)
	s.screen.say("")
	s.screen.say("Everything stays up until Ctrl-C, and the clients go on writing. In another terminal, try:")
	s.screen.say("    psql '%s'", s.writeURI(ctx))
	s.screen.say("    %s watch --monitor '%s'", s.Binary, s.uri)
	s.screen.say("    %s perform failover --monitor '%s'", s.Binary, s.uri)
	s.screen.say("")
	<-ctx.Done()
	return s.count(context.WithoutCancel(ctx))
}

// begin starts the monitor and the nodes and waits until all are in step.
func (s *show) begin(ctx context.Context) error {
	ports, err := freePorts(ctx, s.Nodes+1)
	if err != nil {
		return err
	}
	began := time.Now()
	s.screen.say("A monitor and %d PostgreSQL nodes on this machine, in %s", s.Nodes, s.Dir)
	s.screen.say("")
	if err := s.startMonitor(ctx, ports[0]); err != nil {
		return err
	}
	for i, port := range ports[1:] {
		if err := s.startNode(ctx, i+1, port); err != nil {
			return err
		}
	}
	go s.refresh(ctx)
	if err := s.awaitHealthy(ctx, "one primary and its secondaries"); err != nil {
		return err
	}
	s.screen.say("")
	what := "a secondary"
	if s.Nodes > 2 {
		what = fmt.Sprintf("%d secondaries", s.Nodes-1)
	}
	s.screen.say("From nothing to a primary with %s in %.1f s.", what, time.Since(began).Seconds())
	return nil
}

// write starts the writer and lets it work for a moment.
func (s *show) write(ctx context.Context) error {
	uri := s.writeURI(ctx)
	s.screen.say("")
	s.screen.say("Applications connect with:")
	s.screen.say("    %s", uri)
	s.screen.say("")
	s.writer = newWriter(uri)
	if err := s.writer.prepare(ctx); err != nil {
		return fmt.Errorf("prepare the writer: %w", err)
	}
	s.writer.start(ctx)
	s.screen.say("%d clients now write through it, one row at a time, and remember every row that was acknowledged.", clients)
	return s.pause(ctx, 2*time.Second)
}

// failover performs the planned one, with the command that a user would type.
func (s *show) failover(ctx context.Context) error {
	s.screen.say("")
	s.screen.say("1. A planned failover: autoctl perform failover")
	s.screen.say("")
	mark := s.writer.mark()
	if err := s.command(ctx, "perform", "failover", "--monitor", s.uri); err != nil {
		return err
	}
	if err := s.awaitHealthy(ctx, "all nodes in step again"); err != nil {
		return err
	}
	s.screen.say("")
	s.screen.say("Writes paused for %.2f s.", s.writer.gapSince(mark).Seconds())
	return s.pause(ctx, 2*time.Second)
}

// kill ends the primary's postmaster as a crash does.
func (s *show) kill(ctx context.Context) error {
	primary, err := s.primary(ctx)
	if err != nil {
		return err
	}
	pid, err := primary.postmaster()
	if err != nil {
		return err
	}
	s.screen.say("")
	s.screen.say("2. A crash: kill -9 %d, the PostgreSQL of %s, which is the primary", pid, primary.name)
	s.screen.say("")
	mark := s.writer.mark()
	trace, err := s.trace(ctx)
	if err != nil {
		return err
	}
	defer trace()
	if err := kill9(pid); err != nil {
		return fmt.Errorf("kill the primary: %w", err)
	}
	moved := func(st monitorapi.State) bool { now := servingName(st); return now != "" && now != primary.name }
	if err := s.await(ctx, "another primary", moved); err != nil {
		return err
	}
	if err := s.await(ctx, "writes", func(monitorapi.State) bool { return s.writer.writesSince(mark) }); err != nil {
		return err
	}
	if err := s.awaitHealthy(ctx, "all nodes in step again"); err != nil {
		return err
	}
	s.screen.say("")
	s.screen.say("Writes paused for %.2f s; %s is a secondary again.", s.writer.gapSince(mark).Seconds(), primary.name)
	return s.pause(ctx, 2*time.Second)
}

// count ends the writer and compares its ledger with what is there.
func (s *show) count(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.writer.stop()
	acknowledged, missing, err := s.writer.compare(ctx)
	if err != nil {
		return fmt.Errorf("count the rows: %w", err)
	}
	s.screen.say("")
	if missing > 0 {
		s.screen.say("%d rows were acknowledged, and %d of them are MISSING.", acknowledged, missing)
		return fmt.Errorf("%w: %d of %d", ErrMissing, missing, acknowledged)
	}
	s.screen.say("%d rows were acknowledged, and not one of them is missing.", acknowledged)
	return nil
}

// awaitHealthy waits for one primary and all others in step, and shows the table.
func (s *show) awaitHealthy(ctx context.Context, what string) error {
	if err := s.await(ctx, what, s.healthy); err != nil {
		return err
	}
	if st, err := s.state(ctx); err == nil {
		s.screen.table(s.Table, st)
	}
	return nil
}

// pause lets the audience see; it ends early with the context.
func (s *show) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
