package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/controldata"
)

// dataLook is a look at the data directory, kept as long as nothing that it depends on has changed.
type dataLook struct {
	dir   pgserver.DataDir
	stamp string
	file  fileStamp // the control file
	at    time.Time
}

func (d dataLook) control() controldata.ControlData { return d.dir.Control }

// runningControlPace is how often the control data of a running server are read again: their file changes with every checkpoint and restartpoint, and
// nothing that is read from it then is urgent. runningControlAge is how old they may be for those who must not wait.
const (
	runningControlPace = 2 * time.Second
	runningControlAge  = 10 * time.Second
)

// inspect classifies the data directory. pg_controldata is run only when the file has changed.
func (n *Node) inspect(ctx context.Context, running bool) (pgserver.DataDir, error) {
	if running {
		return n.inspectWithin(ctx, runningControlAge)
	}
	return n.inspectWithin(ctx, 0)
}

// inspectWithin takes what was seen no longer than age ago, if the directory was fine then and has its control file still.
func (n *Node) inspectWithin(ctx context.Context, age time.Duration) (pgserver.DataDir, error) {
	n.dataMu.Lock()
	defer n.dataMu.Unlock()
	n.mu.Lock()
	old := n.data
	n.mu.Unlock()
	if old.dir.Kind == pgserver.DataReady && exists(n.controlFile()) && time.Since(old.at) < age {
		return old.dir, nil
	}
	stamp, control := n.dataStamp(), n.controlStamp()
	if stamp == old.stamp {
		return old.dir, nil
	}
	var known *controldata.ControlData
	if control == old.file && old.dir.Kind == pgserver.DataReady {
		known = &old.dir.Control
	}
	d, err := pgserver.InspectKnown(ctx, n.config().Binaries, n.config().DataDir, known)
	if err != nil {
		return d, fmt.Errorf("inspect data directory: %w", err)
	}
	n.mu.Lock()
	n.data = dataLook{dir: d, stamp: stamp, file: control, at: time.Now()}
	n.mu.Unlock()
	return d, nil
}

// forgetData makes the next look at the data directory a real one.
func (n *Node) forgetData() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.data.stamp, n.data.file = "", fileStamp{}
	n.data.at = time.Time{}
}

func (n *Node) controlStamp() fileStamp { return stampOf(n.controlFile()) }

func (n *Node) controlFile() string { return filepath.Join(n.config().DataDir, "global", "pg_control") }

// dataStamp changes with everything that inspect looks at.
func (n *Node) dataStamp() string {
	var text strings.Builder
	for _, name := range []string{"", "PG_VERSION", "global", "global/pg_control", "standby.signal", "recovery.signal", "postgresql.conf", "backup_label", "pg_tblspc"} {
		st, err := os.Stat(filepath.Join(n.config().DataDir, name))
		if err != nil {
			text.WriteString("-;")
			continue
		}
		fmt.Fprintf(&text, "%d,%d,%o;", st.ModTime().UnixNano(), st.Size(), st.Mode())
	}
	return text.String()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// dataFacts classifies the directory for the plan.
func (n *Node) dataFacts(ctx context.Context, s sight) (fsm.DataFacts, error) {
	running := s.status == fsm.ServerRunning
	d, err := n.inspect(ctx, running)
	if err != nil {
		return fsm.DataFacts{}, err
	}
	f := fsm.DataFacts{Text: d.Reason}
	switch d.Kind {
	case pgserver.DataAbsent, pgserver.DataEmpty:
		f.Kind = fsm.DataAbsent
		f.Text = ""
		return f, nil
	case pgserver.DataDamaged:
		f.Kind = fsm.DataDamaged
		return f, nil
	case pgserver.DataReady:
		f.Kind = fsm.DataReady
	default:
		f.Kind = fsm.DataForeign
		if d.Kind == pgserver.DataNotPostgreSQL && n.memory.Get().Busy == fsm.BusyInit {
			f.Kind = fsm.DataDamaged // what is left of our own initdb, or of clearing it away
		}
		return f, nil
	}
	if d.ForeignOwner || d.TooOpen {
		f.Kind = fsm.DataForeign
		f.Text = "PostgreSQL refuses it: it belongs to another user, or others may read it"
		return f, nil
	}
	c := d.Control
	f.SystemID, f.StandbySignal = c.SystemIdentifier, exists(filepath.Join(n.config().DataDir, "standby.signal"))
	f.Timeline, f.Checkpoint = c.Timeline, max(c.Checkpoint, c.MinRecoveryEnd)
	if c.MinRecoveryEnd != 0 {
		f.Timeline = max(c.MinRecoveryTimeline, c.Timeline)
	}
	if running && s.timeline != 0 {
		f.Timeline = s.timeline
	}
	f.Clean = !running && c.State.Clean()
	if f.Lineage, err = readLineage(n.config().DataDir, f.Timeline); err != nil {
		return fsm.DataFacts{}, fmt.Errorf("look at the data: %w", err)
	}
	return f, nil
}

// staging says where copies go.
func (n *Node) staging(ctx context.Context) (pgserver.Staging, error) {
	d, err := n.inspect(ctx, false)
	if err != nil {
		return pgserver.Staging{}, err
	}
	s, err := pgserver.StagingFor(d)
	if err != nil {
		return s, fmt.Errorf("find a place for a copy: %w", err)
	}
	return s, nil
}

// copyFacts looks at the staging directory. Whether there is room is asked only where a copy may be next; how much is needed is known once the
// upstream has been asked.
func (n *Node) copyFacts(ctx context.Context, goal fsm.Goal, down bool) (fsm.CopyFacts, error) {
	f := fsm.CopyFacts{Room: true}
	if !down || !goal.State.Follows() && n.memory.Get().Busy != fsm.BusySwap {
		return f, nil
	}
	s, err := n.staging(ctx)
	if err != nil {
		return f, err
	}
	state, c, err := s.State()
	if err != nil {
		return f, fmt.Errorf("look at the copy: %w", err)
	}
	f.Partial = state == pgserver.CopyPartial
	f.Complete = state == pgserver.CopySwapping || state == pgserver.CopyComplete && (goal.SystemID == 0 || c.Label == copyLabel(goal))
	n.mu.Lock()
	src := n.source
	n.mu.Unlock()
	if src.bytes == 0 || f.Complete {
		return f, nil
	}
	room, err := pgserver.CheckRoom(src.needs(s))
	f.Needed, f.Free = room.Needed, room.Free
	if _, none := errors.AsType[*pgserver.NoRoomError](err); none {
		f.Room = false
		return f, nil
	}
	return f, err
}

// copyLabel says for which group a copy was made.
func copyLabel(goal fsm.Goal) string { return fmt.Sprintf("system %d", goal.SystemID) }

// source is what the upstream said of its size.
type source struct {
	bytes       int64
	tablespaces []pgserver.SourceTablespace
}

func (s source) needs(at pgserver.Staging) []pgserver.Need {
	needs := []pgserver.Need{{Path: at.Dir, Bytes: s.bytes}}
	for _, t := range s.tablespaces {
		needs = append(needs, pgserver.Need{Path: t.Location, Bytes: t.Bytes})
	}
	return needs
}

// checkpointEnd returns the end of a shutdown checkpoint record that starts at lsn: what a standby that has all of the log has flushed. The record is a
// header of 24 bytes, two of its data header, and the CheckPoint struct; it may cross into another page.
func checkpointEnd(lsn fsm.LSN, major int, segment int64) fsm.LSN {
	size := uint64(120)
	if major >= 19 {
		size = 128
	}
	end := uint64(lsn) + size
	if next := (uint64(lsn)/pageSize + 1) * pageSize; end > next {
		if segment > 0 && next%uint64(segment) == 0 {
			end += longPageHeader
		} else {
			end += shortPageHeader
		}
	}
	return fsm.LSN(end)
}
