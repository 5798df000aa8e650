package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/internal/monitorapi"
)

// watchInterval is how often the table is drawn when nothing changes: ages grow.
const watchInterval = time.Second

func (a *app) watchCommand() *cobra.Command {
	var t *target
	cmd := &cobra.Command{
		Use: "watch", Short: "Show the nodes and the last events, refreshed until Ctrl-C",
		Long: `Show the nodes and the last events, refreshed at every change until Ctrl-C. With
--output json, or where standard output is no terminal, one document or table follows another.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			err := t.withMonitor(ctx, func(s *session) error { return a.watch(ctx, t, s) })
			if ctx.Err() != nil {
				return nil // Ctrl-C is how it ends
			}
			return attempt(err, "watch")
		},
	}
	t = bindTarget(cmd, true)
	return leaf(cmd, cobra.NoArgs)
}

func (a *app) watch(ctx context.Context, t *target, s *session) error {
	if s.group >= 0 {
		if _, err := s.oneGroup(ctx); err != nil && classifyMonitor(err) == nil {
			return err // that there is no such group; an unreachable monitor is waited for
		}
	}
	if t.formation == "" {
		s.formation = ""
	}
	var changes <-chan monitorapi.Change
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	screen := newScreen(a.out)
	for {
		if changes == nil {
			changes, _ = s.Changes(ctx, s.formation) // without it the ticks remain
		}
		if err := a.drawWatch(ctx, s, screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		case <-resized:
			screen.clear = true // what was there has been wrapped anew
		case <-tick.C:
		}
	}
}

// drawWatch prints the state once. An unreachable monitor is shown, not an error: watching means waiting for it too.
func (a *app) drawWatch(ctx context.Context, s *session, on *screen) error {
	st, err := s.state(ctx)
	if err != nil && (!errors.As(err, new(*monitorapi.Error)) || ctx.Err() != nil) {
		return err
	}
	if a.json() {
		if err == nil {
			err = a.printJSON(st)
		} else {
			a.say("%v", err)
			err = nil
		}
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s  monitor %s  (Ctrl-C ends)\n\n", time.Now().Format("2006-01-02 15:04:05"), s.Where())
	if err != nil {
		fmt.Fprintf(&b, "%v\n", err)
	} else {
		writeState(&b, st)
		if events, err := s.Events(ctx, monitorapi.EventFilter{Formation: s.formation, Count: 8}); err == nil && len(events) > 0 {
			b.WriteString("\nLast events:\n")
			for _, e := range events {
				fmt.Fprintf(&b, "  %s  %s\n", e.Time.Local().Format("15:04:05"), eventText(e))
			}
		}
	}
	return on.draw(b.String())
}

// eventText is an event in one line: whose it is, what it becomes by it, and why.
func eventText(e monitorapi.Event) string {
	text := printable(e.Reason)
	if e.Kind == "goal" && e.Assigned != "" {
		text = fmt.Sprintf("becomes %s: %s", e.Assigned, text)
	}
	return strings.TrimSpace(printable(e.Name) + " " + text)
}
