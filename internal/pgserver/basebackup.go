package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// SourceTablespace is a tablespace of the server to be copied.
type SourceTablespace struct {
	OID      uint32
	Location string
	Bytes    int64
}

// BackupConfig says what to copy and where.
type BackupConfig struct {
	Staging Staging
	// Label is recorded with the complete copy; see Copy.
	Label string
	// Source is the connection string without a password.
	Source string
	Secret Secret
	// Slot is an existing replication slot of the source that keeps the WAL
	// from here on; a temporary one if empty.
	Slot string
	// MaxRate limits the transfer, as pg_basebackup writes it ("100M").
	MaxRate string
	// Bytes is the size of the source without Tablespaces, 0 if unknown.
	Bytes       int64
	Tablespaces []SourceTablespace
	// Progress is called as the copy grows, about once a second.
	Progress func(Progress)
	// Finish is called with the path of the copy once everything is in it and
	// before it counts as complete: for standby.signal and our own
	// configuration files, which must be durable when it returns.
	Finish func(dir string) error
	// NoSync leaves the copy unsynced, as InitConfig.NoSync.
	NoSync bool
}

// Progress is how far a copy is.
type Progress struct {
	Done, Total int64 // bytes; Total is PostgreSQL's estimate and may be passed
}

// ErrTarget says that a copy cannot be made because its target is in use or
// cannot be used.
var ErrTarget = errors.New("cannot copy there")

// BaseBackup copies a running server into the staging directory with
// pg_basebackup and marks the copy complete. It checks first that there is room
// (a *NoRoomError names what is missing), and it discards an earlier copy and
// what an earlier swap left. Nothing in the data directory itself is touched.
// When it fails or ctx ends, the partial copy stays for State to tell and for
// Discard to remove.
func BaseBackup(ctx context.Context, b Binaries, c BackupConfig) error {
	if err := c.clear(ctx); err != nil {
		return err
	}
	if _, err := CheckRoom(c.needs()); err != nil {
		return err
	}
	if err := c.prepareTargets(); err != nil {
		return err
	}
	t := Tool{Name: "pg_basebackup", Args: c.args(), Secret: c.Secret}
	if c.Progress != nil {
		t.Output = &progressWriter{report: c.Progress}
	}
	if _, err := b.Run(ctx, t); err != nil {
		return fmt.Errorf("copy %s: %w", c.Staging.DataDir, err)
	}
	if err := c.sync(); err != nil {
		return fmt.Errorf("sync copy: %w", err)
	}
	if c.Finish != nil {
		if err := c.Finish(c.Staging.Dir); err != nil {
			return fmt.Errorf("finish copy: %w", err)
		}
	}
	mark := Copy{Label: c.Label}
	for _, ts := range c.Tablespaces {
		mark.Tablespaces = append(mark.Tablespaces, CopyTablespace{OID: ts.OID, Location: ts.Location})
	}
	return c.Staging.Complete(mark)
}

// clear ends a pg_basebackup that outlived an earlier life of ours and removes
// what it left.
func (c BackupConfig) clear(ctx context.Context) error {
	if err := EndStrayTools(ctx, c.Staging.Dir); err != nil {
		return err
	}
	if err := c.Staging.Discard(); err != nil {
		return err
	}
	for _, ts := range c.Tablespaces {
		staged := CopyTablespace{Location: ts.Location}.staged()
		if err := os.RemoveAll(staged); err != nil {
			return fmt.Errorf("clear tablespace: %w", err)
		}
	}
	return c.Staging.DiscardOld()
}

func (c BackupConfig) needs() []Need {
	needs := []Need{{Path: c.Staging.Dir, Bytes: c.Bytes}}
	for _, ts := range c.Tablespaces {
		needs = append(needs, Need{Path: ts.Location, Bytes: ts.Bytes})
	}
	return needs
}

// prepareTargets creates what pg_basebackup cannot: the directory that a copy
// lies inside, and the parents of tablespaces.
func (c BackupConfig) prepareTargets() error {
	dirs := []string{filepath.Dir(c.Staging.Dir)}
	for _, ts := range c.Tablespaces {
		if !filepath.IsAbs(ts.Location) {
			return fmt.Errorf("%w: tablespace %d has no absolute location", ErrTarget, ts.OID)
		}
		dirs = append(dirs, ts.Location)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("%w: %w", ErrTarget, err)
		}
		if err := disk.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the copy durable, wherever its parts are, before it is marked as
// complete.
func (c BackupConfig) sync() error {
	if c.NoSync {
		return nil
	}
	paths := []string{c.Staging.Dir, c.Staging.WALDir}
	for _, ts := range c.Tablespaces {
		paths = append(paths, CopyTablespace{Location: ts.Location}.staged())
	}
	return disk.SyncTrees(paths...)
}

func (c BackupConfig) args() []string {
	args := []string{
		"--pgdata=" + c.Staging.Dir, "--dbname=" + c.Source, "--no-password",
		"--format=plain", "--wal-method=stream", "--checkpoint=fast", "--progress", "--verbose",
		"--no-sync", // see sync
	}
	if c.Slot != "" {
		args = append(args, "--slot="+c.Slot)
	}
	if c.MaxRate != "" {
		args = append(args, "--max-rate="+c.MaxRate)
	}
	if c.Staging.WALDir != "" {
		args = append(args, "--waldir="+c.Staging.WALDir)
	}
	for _, ts := range c.Tablespaces {
		staged := CopyTablespace{Location: ts.Location}.staged()
		args = append(args, "--tablespace-mapping="+escapeMapping(ts.Location)+"="+escapeMapping(staged))
	}
	return args
}

// escapeMapping protects the equal sign that separates the two directories.
func escapeMapping(dir string) string { return strings.ReplaceAll(dir, "=", `\=`) }

// progressWriter picks the progress lines out of pg_basebackup's messages:
// "   12345/67890 kB (18%), 0/1 tablespace".
type progressWriter struct {
	report  func(Progress)
	pending []byte
}

var progressLine = regexp.MustCompile(`^\s*(\d+)/(\d+) kB \(\s*\d+%\)`)

func (w *progressWriter) Write(p []byte) (int, error) {
	w.pending = append(w.pending, p...)
	for {
		i := bytes.IndexAny(w.pending, "\r\n")
		if i < 0 {
			return len(p), nil
		}
		if m := progressLine.FindSubmatch(w.pending[:i]); m != nil {
			done, _ := strconv.ParseInt(string(m[1]), 10, 64)
			total, _ := strconv.ParseInt(string(m[2]), 10, 64)
			w.report(Progress{Done: done << 10, Total: total << 10})
		}
		w.pending = w.pending[i+1:]
	}
}

// Need is room that somebody wants in a file system.
type Need struct {
	Path  string // any path in it; need not exist
	Bytes int64
}

// NoRoomError says that a file system has not enough room.
type NoRoomError struct {
	Path         string
	Needed, Free int64
}

// Error names the place and both numbers.
func (e *NoRoomError) Error() string {
	return fmt.Sprintf("not enough room for %s: %s needed, %s free", e.Path, fsm.SizeText(e.Needed), fsm.SizeText(e.Free))
}

// roomMargin is added to a need: WAL that is streamed during a copy, and what
// others write meanwhile. A twentieth of the copy, and one segment of WAL for
// each of its two ends.
func roomMargin(bytes int64) int64 { return bytes/20 + 32<<20 }

// CheckRoom compares needs with the free space of the file systems that they
// fall on, needs on the same one added up. It returns the sum and the free
// space of the file system of the first need, and a *NoRoomError for the first
// file system that is too small.
func CheckRoom(needs []Need) (Room, error) {
	sums := map[uint64]int64{}
	for _, n := range needs {
		dev, err := disk.Device(n.Path)
		if err != nil {
			return Room{}, fmt.Errorf("check room: %w", err)
		}
		sums[dev] += n.Bytes
	}
	var first Room
	for i, n := range needs {
		free, err := disk.Free(n.Path)
		if err != nil {
			return Room{}, fmt.Errorf("check room: %w", err)
		}
		dev, err := disk.Device(n.Path)
		if err != nil {
			return Room{}, fmt.Errorf("check room: %w", err)
		}
		needed := sums[dev] + roomMargin(sums[dev])
		if i == 0 {
			first = Room{Needed: needed, Free: free}
		}
		if free < needed {
			return first, &NoRoomError{Path: n.Path, Needed: needed, Free: free}
		}
	}
	return first, nil
}

// Room is what a file system was asked for and has.
type Room struct{ Needed, Free int64 }

// strayGrace is how long a stray tool may take to end.
const strayGrace = 10 * time.Second
