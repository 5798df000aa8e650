package pgserver

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// RewindConfig says what to rewind and by which server.
type RewindConfig struct {
	DataDir string
	// ConfigFile is a postgresql.conf outside the data directory; pg_rewind
	// reads restore_command there (15).
	ConfigFile string
	// Source is the connection string of the server to follow, with a database,
	// without a password.
	Source string
	Secret Secret
	// RestoreTargetWAL lets pg_rewind fetch missing WAL of ours with
	// restore_command.
	RestoreTargetWAL bool
	// Progress is called as data is copied.
	Progress func(Progress)
}

// RewindResult is what pg_rewind found and did.
type RewindResult struct {
	// Rewound is false when pg_rewind saw nothing to do: the histories have not
	// diverged as far as it can see.
	Rewound bool
	// SameTimeline is pg_rewind's word that both are on one timeline, which
	// before version 16 it also says right after a promotion (S22), and which
	// proves nothing if two servers made the same timeline (S3).
	SameTimeline bool
	// Diverged and Timeline are where and on which timeline the histories part;
	// zero if not told.
	Diverged fsm.LSN
	Timeline fsm.Timeline
}

// RewindFailure is the reason for which pg_rewind gave up.
type RewindFailure string

// The reasons.
const (
	RewindNoCommonAncestor RewindFailure = "no common ancestor"
	RewindOtherSystem      RewindFailure = "another system identifier"
	RewindMissingWAL       RewindFailure = "WAL needed is missing"
	RewindNotClean         RewindFailure = "not shut down cleanly"
	RewindNoChecksums      RewindFailure = "neither checksums nor wal_log_hints"
	RewindConnection       RewindFailure = "no connection to the source"
	RewindPermission       RewindFailure = "no permission at the source"
	RewindNoRoom           RewindFailure = "no space left"
	RewindInterrupted      RewindFailure = "interrupted"
	RewindOther            RewindFailure = "other"
)

// RewindError is a pg_rewind that gave up.
type RewindError struct {
	Reason RewindFailure
	// Touched says that it may have changed the target, which must then not be
	// started: copy it anew.
	Touched bool
	Err     error // the *ToolError
}

// Error gives the reason and what pg_rewind said.
func (e *RewindError) Error() string { return fmt.Sprintf("rewind (%s): %v", e.Reason, e.Err) }

// Unwrap returns the cause.
func (e *RewindError) Unwrap() error { return e.Err }

// Rewind runs pg_rewind on a cleanly stopped data directory (Recover sees to
// that). Everything that is not data comes from the source, configuration files
// in the data directory included: rewrite them before any start. A failure is
// a *RewindError.
func Rewind(ctx context.Context, b Binaries, c RewindConfig) (RewindResult, error) {
	if err := EndStrayTools(ctx, c.DataDir); err != nil {
		return RewindResult{}, err
	}
	args := []string{
		"--target-pgdata=" + c.DataDir, "--source-server=" + c.Source,
		"--no-ensure-shutdown", "--progress",
	}
	if c.ConfigFile != "" && b.Version.RewindConfigFile() {
		args = append(args, "--config-file="+c.ConfigFile)
	}
	if c.RestoreTargetWAL {
		args = append(args, "--restore-target-wal")
	}
	seen := &strings.Builder{}
	out := &rewindWriter{all: seen, progress: progressWriter{report: c.Progress}}
	_, err := b.Run(ctx, Tool{Name: "pg_rewind", Args: args, Secret: c.Secret, Output: out})
	if err != nil {
		return parseRewind(seen.String()), rewindError(ctx, seen.String(), err)
	}
	return parseRewind(seen.String()), nil
}

// rewindWriter keeps everything but progress, which it reports.
type rewindWriter struct {
	all      *strings.Builder
	progress progressWriter
}

func (w *rewindWriter) Write(p []byte) (int, error) {
	if w.all.Len() < 1<<20 {
		w.all.Write(p)
	}
	if w.progress.report == nil {
		return len(p), nil
	}
	return w.progress.Write(p)
}

var divergedAt = regexp.MustCompile(`servers diverged at WAL location ([0-9A-F]+/[0-9A-F]+) on timeline (\d+)`)

func parseRewind(text string) RewindResult {
	r := RewindResult{
		SameTimeline: strings.Contains(text, "source and target cluster are on the same timeline"),
		Rewound:      strings.Contains(text, "Done!"),
	}
	if m := divergedAt.FindStringSubmatch(text); m != nil {
		r.Diverged, _ = fsm.ParseLSN(m[1]) // matched
		tli, _ := strconv.ParseUint(m[2], 10, 32)
		r.Timeline = fsm.Timeline(tli)
	}
	return r
}

// rewindReasons are pg_rewind's messages (src/bin/pg_rewind, all versions from
// 13), most telling first.
var rewindReasons = []struct {
	text   string
	reason RewindFailure
}{
	{"could not find common ancestor", RewindNoCommonAncestor},
	{"source and target clusters are from different systems", RewindOtherSystem},
	{"target server must be shut down cleanly", RewindNotClean},
	{"target server needs to use either data checksums", RewindNoChecksums},
	{"No space left on device", RewindNoRoom},
	{"could not find previous WAL record", RewindMissingWAL},
	{"could not read WAL record", RewindMissingWAL},
	{"could not restore file", RewindMissingWAL},
	{"permission denied for", RewindPermission},
	{"connection to server", RewindConnection},
	{"could not connect to server", RewindConnection},
	{"server closed the connection unexpectedly", RewindConnection},
	{"terminating connection due to", RewindConnection},
}

func rewindError(ctx context.Context, text string, err error) *RewindError {
	e := &RewindError{Reason: RewindOther, Err: err}
	for _, r := range rewindReasons {
		if strings.Contains(text, r.text) {
			e.Reason = r.reason
			break
		}
	}
	if ctx.Err() != nil {
		e.Reason = RewindInterrupted
	}
	// It reports the plan before it writes the first block.
	e.Touched = strings.Contains(text, "need to copy") || strings.Contains(text, " MB (total source directory size is")
	return e
}
