package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// initDB creates the cluster; what an interrupted initdb left is removed first. The superuser has no password: it comes by the Unix socket.
func (n *Node) initDB(ctx context.Context) error {
	interrupted := n.memory.Get().Busy == fsm.BusyInit
	if err := n.memory.Update(func(m *fsm.Memory) { m.BeginInit() }); err != nil {
		return err
	}
	if err := pgserver.EndStrayTools(ctx, n.config().DataDir); err != nil {
		return fmt.Errorf("initialise cluster: %w", err)
	}
	if interrupted {
		if err := emptyDir(n.config().DataDir); err != nil {
			return fmt.Errorf("initialise cluster: %w", err)
		}
	}
	host := n.config().Auth
	if host == "cert" {
		host = "scram-sha-256"
	}
	c := pgserver.InitConfig{DataDir: n.config().DataDir, Superuser: n.config().Superuser, AuthLocal: "peer", AuthHost: host, NoSync: n.config().NoSync}
	if n.config().Auth == "trust" {
		c.AuthLocal = "trust"
	}
	if err := pgserver.InitDB(ctx, n.config().Binaries, c); err != nil {
		return fmt.Errorf("initialise cluster: %w", err)
	}
	n.forgetData()
	return n.memory.Update(func(m *fsm.Memory) { m.EndWork() })
}

// emptyDir removes what is in a directory, and leaves the directory: it may be a mount point.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "lost+found" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// progress returns a function that shows how far long work is, and one that ends showing it.
func (n *Node) progress(kind, text string) (func(pgserver.Progress), func()) {
	show := func(a *fsm.Activity) {
		n.mu.Lock()
		n.activity = a
		n.mu.Unlock()
	}
	show(&fsm.Activity{Kind: kind, Text: text})
	return func(p pgserver.Progress) { show(&fsm.Activity{Kind: kind, Done: p.Done, Total: p.Total, Text: text}) }, func() { show(nil) }
}

func (n *Node) secret() pgserver.Secret {
	if n.config().PasswordFile == "" {
		return pgserver.Secret{}
	}
	return pgserver.Secret{PassFile: n.passfile()}
}

// recover ends the crash recovery of a stopped directory, so that it can be rewound.
func (n *Node) recover(ctx context.Context) error {
	_, end := n.progress("recovery", "crash recovery before a rewind")
	defer end()
	d, err := n.inspect(ctx, false)
	if err != nil {
		return err
	}
	if err := n.sweepHistories(d.Control); err != nil {
		return err
	}
	defer n.forgetData()
	err = pgserver.Recover(ctx, n.config().Binaries, pgserver.RecoverConfig{DataDir: n.config().DataDir, LogFile: n.config().LogFile})
	if err == nil || ctx.Err() != nil {
		n.recoveries.Store(0)
		return err
	}
	said := saidAtEnd(err)
	if strings.Contains(said, "No space left on device") {
		return err // nor is there room for a copy
	}
	lacks := slices.ContainsFunc(lackingLog, func(text string) bool { return strings.Contains(said, text) })
	if errors.Is(err, pgserver.ErrInconsistent) || lacks || n.recoveries.Add(1) >= recoverAttempts {
		return errors.Join(err, n.memory.Update(func(m *fsm.Memory) { m.Climb(fsm.RungCopy, err.Error()) }))
	}
	return err
}

// recoverAttempts is how often in a row a recovery may fail for any other reason before the data is copied: with the pauses between, about half a minute. What keeps a server
// from starting is often not the data's fault, and goes away.
const recoverAttempts = 15

// saidAtEnd is what PostgreSQL said before it gave a recovery up; empty where somebody ended it, or it did not begin.
func saidAtEnd(err error) string {
	if tool, ok := errors.AsType[*pgserver.ToolError](err); ok && tool.Exit > 0 {
		return tool.Output
	}
	if start, ok := errors.AsType[*pgserver.StartError](err); ok && start.Exit.Signal == 0 {
		return start.Log
	}
	return ""
}

// lackingLog is what PostgreSQL says, in the language of the C locale, of data whose log does not lead anywhere (xlogrecovery.c): no further attempt would end otherwise.
var lackingLog = []string{
	"could not locate a valid checkpoint record", "could not locate required checkpoint record", "could not find redo location",
	"WAL ends before end of online backup", "WAL ends before consistent recovery point", "requested timeline",
}

// rewind takes the data back to where its history left the upstream's. What is undone was never acknowledged, or an operator has given it up;
// where it lay is logged first (P6).
func (n *Node) rewind(ctx context.Context, goal fsm.Goal) error {
	d, err := n.inspect(ctx, false)
	if err != nil {
		return err
	}
	if err := n.memory.Update(func(m *fsm.Memory) { m.BeginRewind() }); err != nil {
		return err
	}
	defer n.forgetData()
	n.config().Log.Warn().Stringer("checkpoint", d.Control.Checkpoint).Stringer("end", d.Control.MinRecoveryEnd).
		Uint32("timeline", uint32(d.Control.Timeline)).Int64("upstream", int64(goal.Upstream.Node)).Msg("data are rewound")
	conninfo, err := n.conninfo(*goal.Upstream, fmt.Sprintf("autoctl_rewind_%d", goal.Node), "postgres").Render()
	if err != nil {
		return fmt.Errorf("name upstream: %w", err)
	}
	show, end := n.progress("rewind", "pg_rewind from node "+goal.Called(goal.Upstream.Node))
	defer end()
	result, err := pgserver.Rewind(ctx, n.config().Binaries, pgserver.RewindConfig{DataDir: n.config().DataDir, Source: conninfo, Secret: n.secret(), Progress: show})
	if err != nil {
		return n.rewindFailed(err)
	}
	n.config().Log.Info().Bool("rewound", result.Rewound).Stringer("diverged", result.Diverged).Msg("rewind ended")
	if _, err := pgserver.SetStandbySignal(n.config().DataDir); err != nil {
		return err
	}
	n.forgetData()
	look, done := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout) // the data is rewound, whatever was wanted meanwhile
	defer done()
	if d, err = n.inspect(look, false); err != nil {
		return err
	}
	return n.memory.Update(func(m *fsm.Memory) {
		m.EndWork()
		m.Rewound = fsm.Position{Timeline: d.Control.MinRecoveryTimeline, LSN: d.Control.MinRecoveryEnd}
	})
}

// rewindFailed keeps data that was not touched, and goes to a copy where another attempt would end the same way.
func (n *Node) rewindFailed(err error) error {
	r, ok := errors.AsType[*pgserver.RewindError](err)
	if !ok {
		return err
	}
	again := r.Reason == pgserver.RewindConnection || r.Reason == pgserver.RewindInterrupted || r.Reason == pgserver.RewindNotClean
	return errors.Join(err, n.memory.Update(func(m *fsm.Memory) {
		if !r.Touched {
			m.Busy = fsm.BusyNone
		}
		if !again {
			m.Climb(fsm.RungCopy, err.Error())
		}
	}))
}

// copy makes a base backup beside the data. It streams the log through this node's own slot, so that what comes after the copy is kept for it.
func (n *Node) copy(ctx context.Context, goal fsm.Goal) error {
	if err := n.memory.Update(func(m *fsm.Memory) { m.BeginCopy() }); err != nil {
		return err
	}
	staging, err := n.staging(ctx)
	if err != nil {
		return err
	}
	conninfo, err := n.conninfo(*goal.Upstream, fmt.Sprintf("autoctl_copy_%d", goal.Node), "").Render()
	if err != nil {
		return fmt.Errorf("name upstream: %w", err)
	}
	n.mu.Lock()
	src := n.source
	n.mu.Unlock()
	show, end := n.progress("basebackup", "pg_basebackup from node "+goal.Called(goal.Upstream.Node))
	defer end()
	defer n.forgetData()
	return pgserver.BaseBackup(ctx, n.config().Binaries, pgserver.BackupConfig{
		Staging: staging, Label: copyLabel(goal), Source: conninfo, Secret: n.secret(), Slot: n.ownName(), MaxRate: n.config().BackupRate,
		Bytes: src.bytes, Tablespaces: src.tablespaces, Progress: show, NoSync: n.config().NoSync,
		// A stray start of the copy is read-only, follows nobody, and acknowledges nothing (S8).
		Finish: func(dir string) error {
			_, err := n.put(dir, fsm.Files{Standby: true, Peers: goal.Peers, Settings: goal.Settings})
			return err
		},
	})
}

// swap exchanges the complete copy with the data. An exchange that was complete before a crash is only written down.
func (n *Node) swap(ctx context.Context, goal fsm.Goal) error {
	staging, err := n.staging(ctx)
	if err != nil {
		return err
	}
	state, _, err := staging.State()
	if err != nil {
		return err
	}
	defer n.forgetData()
	if state != pgserver.CopyNone && state != pgserver.CopyPartial {
		if err := n.memory.Update(func(m *fsm.Memory) { m.BeginSwap(goal) }); err != nil {
			return err
		}
		if err := staging.Swap(); err != nil {
			return err
		}
	}
	return n.memory.Update(func(m *fsm.Memory) { m.EndWork() })
}
