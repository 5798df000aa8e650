package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
)

// waitOptions is how long a command waits for its end.
type waitOptions struct {
	seconds int
	cmd     *cobra.Command
}

// bindWait adds --wait.
func bindWait(cmd *cobra.Command) *waitOptions {
	o := &waitOptions{cmd: cmd}
	cmd.Flags().IntVar(&o.seconds, "wait", 60, "how many `seconds` to wait for the end; 0: without limit")
	return o
}

// limit returns the time to wait; what was not given is the monitor's operator_wait.
func (o *waitOptions) limit(ctx context.Context, s *session) (time.Duration, error) {
	if o.seconds < 0 {
		return 0, fail(classUsage, "", "--wait is %d: must be 0 or more", o.seconds)
	}
	if o.cmd.Flags().Changed("wait") {
		return time.Duration(o.seconds) * time.Second, nil
	}
	v, err := s.Settings(ctx)
	return time.Duration(v.OperatorWaitMS) * time.Millisecond, err
}

// verdict is what a look at the group says about a command that was accepted: not yet, done, or failed.
type verdict struct {
	done bool
	text string
	err  error
}

// watcher judges the group after each change; it is called with the group as it is after the command was accepted.
type watcher func(g monitorapi.GroupState) verdict

// outcome is the JSON document of a command that changes something.
type outcome struct {
	Outcome   fsm.Outcome                `json:"outcome"`
	Text      string                     `json:"text"`
	Formation string                     `json:"formation,omitempty"`
	Group     *int                       `json:"group,omitempty"`
	ElapsedMS int64                      `json:"elapsed_ms"`
	State     *monitorapi.FormationState `json:"state,omitempty"`
	Changes   []monitorapi.Change        `json:"changes"`
}

// operation is one command to the monitor whose end is awaited.
type operation struct {
	a       *app
	s       *session
	group   int
	wait    time.Duration
	command fsm.Command
	watch   watcher
	late    string // what else to do when the time is over; empty: wait on
	seen    []monitorapi.Change
	table   *changeTable
}

// carryOut listens, asks, prints each change, and returns when the watcher is content, the time is over, or it went wrong.
func (o *operation) carryOut(ctx context.Context) error {
	began := time.Now()
	ctx, ignore := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer ignore()
	listening, stop := context.WithCancel(ctx)
	defer stop()
	changes, err := o.s.Changes(listening, o.s.formation)
	if err != nil {
		return err
	}
	before, err := o.s.state(ctx)
	if err != nil {
		return err
	}
	answer, err := o.ask(ctx)
	if err != nil {
		return err
	}
	if answer.Outcome != fsm.OutcomeAccepted || o.watch == nil {
		return o.finish(ctx, answer.Outcome, answerText(answer), began)
	}
	if answer.Text != "" {
		o.a.say("%s", answer.Text)
	}
	o.table = newChangeTable(o.a, before)
	v, err := o.follow(ctx, changes)
	if err != nil {
		return err
	}
	return o.finish(ctx, fsm.OutcomeDone, v.text, began)
}

// ask gives the command and turns refusals into failures.
func (o *operation) ask(ctx context.Context) (fsm.Answer, error) {
	limited, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	answer, err := o.s.Command(limited, o.s.formation, o.group, o.command)
	if err != nil {
		return answer, err
	}
	switch answer.Outcome {
	case fsm.OutcomeRefused:
		return answer, &failure{class: classRefused, err: fmt.Errorf("refused: %s", answer.Text), hint: answer.Hint, nodes: answer.Nodes}
	case fsm.OutcomeNothing:
		return answer, &failure{class: classNothing, err: fmt.Errorf("nothing to do: %s", answer.Text), hint: answer.Hint, nodes: answer.Nodes}
	default:
		return answer, nil
	}
}

func answerText(a fsm.Answer) string {
	text := firstOf(a.Text, "done")
	if a.Hint != "" {
		text += "\n" + a.Hint
	}
	return text
}

// errChannel says that the monitor closed the stream of changes.
var errChannel = errors.New("the connection to the monitor was lost while waiting")

// follow looks at the group after every change, and once a second in case one was missed.
func (o *operation) follow(ctx context.Context, changes <-chan monitorapi.Change) (verdict, error) {
	var deadline <-chan time.Time
	if o.wait > 0 {
		timer := time.NewTimer(o.wait)
		defer timer.Stop()
		deadline = timer.C
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		v, err := o.look(ctx)
		if ctx.Err() != nil {
			return v, fail(classInterrupted, "what was accepted goes on", "interrupted")
		}
		if err != nil && monitorapi.CodeOf(err) != monitorapi.CodeUnreachable {
			return v, err
		}
		if v.done || v.err != nil {
			o.drain(changes)
			return v, v.err
		}
		select {
		case c, ok := <-changes:
			if !ok {
				changes = nil // go on by looking: the monitor may be back in a moment
				continue
			}
			o.note(c)
			o.drain(changes)
		case <-tick.C:
		case <-deadline:
			hint := `it goes on: watch it with "autoctl watch", and "autoctl explain" tells what it waits for` + o.late
			if changes == nil {
				return v, fail(classTimeout, hint, "%w", errChannel)
			}
			return v, fail(classTimeout, hint, "not finished within %s", o.wait)
		case <-ctx.Done():
		}
	}
}

func (o *operation) look(ctx context.Context) (verdict, error) {
	f, err := o.s.oneFormation(ctx)
	if err != nil {
		return verdict{}, err
	}
	for _, g := range f.Groups {
		if g.Group == o.group {
			return o.watch(g), nil
		}
	}
	return o.watch(monitorapi.GroupState{Group: o.group}), nil
}

// note prints and keeps one change of the group.
func (o *operation) note(c monitorapi.Change) {
	if c.Group != o.group {
		return
	}
	o.seen = append(o.seen, c)
	o.table.show(c)
}

// drain takes what has arrived already.
func (o *operation) drain(changes <-chan monitorapi.Change) {
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				return
			}
			o.note(c)
		default:
			return
		}
	}
}

func (o *operation) finish(ctx context.Context, how fsm.Outcome, text string, began time.Time) error {
	elapsed := time.Since(began)
	if !o.a.json() {
		if o.table != nil {
			fmt.Fprintf(o.a.out, "\n%s (%.1f s)\n", text, elapsed.Seconds())
		} else {
			fmt.Fprintln(o.a.out, text)
		}
		return nil
	}
	return o.a.printOutcome(ctx, o.s, outcome{Outcome: how, Text: text, Group: &o.group, ElapsedMS: elapsed.Milliseconds(), Changes: o.seen})
}

// printOutcome prints an outcome as JSON, with the formation as it is now.
func (a *app) printOutcome(ctx context.Context, s *session, doc outcome) error {
	doc.Formation = s.formation
	if doc.Changes == nil {
		doc.Changes = []monitorapi.Change{}
	}
	if f, err := s.oneFormation(ctx); err == nil {
		doc.State = &f
	}
	return a.printJSON(doc)
}

// did prints what was done at once, in a group or, with nil, in the formation as a whole.
func (a *app) did(ctx context.Context, s *session, group *int, began time.Time, text string) error {
	if !a.json() {
		fmt.Fprintln(a.out, text)
		return nil
	}
	return a.printOutcome(ctx, s, outcome{Outcome: fsm.OutcomeDone, Text: text, Group: group, ElapsedMS: time.Since(began).Milliseconds()})
}
