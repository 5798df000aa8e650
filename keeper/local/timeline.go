package local

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/controldata"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// placeholder is the content of history files that only keep PostgreSQL from using a timeline number (S3). Those below
// the timeline that was made stay: a standby still on an older one asks for the history of every number between, and does not stream while one is missing.
var placeholder = []byte("# autoctl: this number is not to be used\n")

// histories returns the timelines for which pg_wal holds a history file, placeholders and all, in ascending order.
func histories(dataDir string) ([]fsm.Timeline, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, "pg_wal"))
	if err != nil {
		return nil, fmt.Errorf("list pg_wal: %w", err)
	}
	var list []fsm.Timeline
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".history")
		if !ok || len(stem) != 8 {
			continue
		}
		if t, err := strconv.ParseUint(stem, 16, 32); err == nil {
			list = append(list, fsm.Timeline(t))
		}
	}
	slices.Sort(list)
	return list, nil
}

func historyPath(dataDir string, t fsm.Timeline) string {
	return filepath.Join(dataDir, "pg_wal", controldata.HistoryName(t))
}

func isPlaceholder(dataDir string, t fsm.Timeline) bool {
	content, err := os.ReadFile(historyPath(dataDir, t))
	return err == nil && bytes.Equal(content, placeholder)
}

// lineage returns the history of a timeline; one without a history file, or with one that cannot be read, is taken for the first.
func lineage(dataDir string, t fsm.Timeline) fsm.Lineage {
	if l, err := readLineage(dataDir, t); err == nil {
		return l
	}
	return fsm.Lineage{{Timeline: t}}
}

// readLineage is lineage where a history that cannot be read now must not be taken for another.
func readLineage(dataDir string, t fsm.Timeline) (fsm.Lineage, error) {
	if t == 0 {
		return nil, nil
	}
	h, err := controldata.ReadHistory(dataDir, t)
	if path, ok := errors.AsType[*fs.PathError](err); ok && !errors.Is(path, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		return h.Lineage(t), nil
	}
	return fsm.Lineage{{Timeline: t}}, nil
}

// endTimeline returns the timeline to which the last record before end belongs. Neither the newest history file nor pg_control tells: a standby
// fetches the history of a timeline before its log, and keeps it when its own log turns out to have left that history behind (S6). What tells is
// the log itself: the newest timeline on whose segment file the page of the last byte is really written, or left empty by a switch to the next.
func endTimeline(dataDir string, control controldata.ControlData, end fsm.LSN) fsm.Timeline {
	known := max(control.Timeline, control.MinRecoveryTimeline)
	if end == 0 {
		return known
	}
	list, err := histories(dataDir)
	if err != nil {
		return known
	}
	var line []fsm.Timeline // those that reach beyond end, the newest first
	for _, t := range slices.Backward(list) {
		l := lineage(dataDir, t)
		if isPlaceholder(dataDir, t) || len(l) < 2 || l[len(l)-1].Begin >= end {
			continue
		}
		line = append(line, t)
	}
	line = append(line, 1)
	// What is written says more than what was left empty.
	for _, holds := range []func(string, fsm.Timeline, fsm.LSN, int64) bool{written, switched} {
		for _, t := range line {
			if holds(dataDir, t, end-1, control.WALSegmentSize) {
				return t
			}
		}
	}
	return known
}

// The parts of a WAL page header (src/include/access/xlog_internal.h), the same in all supported versions.
const (
	pageSize      = 8192
	headerTLI     = 4
	headerAddress = 8
	headerLength  = 16

	shortPageHeader = 24
	longPageHeader  = 40

	defaultSegment int64 = 16 << 20
)

// written says whether the page with byte at of a timeline's log is on disk, and not what a recycled segment held before.
func written(dataDir string, t fsm.Timeline, at fsm.LSN, segment int64) bool {
	segment = cmp.Or(max(segment, 0), defaultSegment)
	f, err := os.Open(filepath.Join(dataDir, "pg_wal", segmentName(t, at, segment)))
	if err != nil {
		return false
	}
	defer f.Close()
	page := uint64(at) / pageSize * pageSize
	header := make([]byte, headerLength)
	if _, err := f.ReadAt(header, int64(page%uint64(segment))); err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	return binary.NativeEndian.Uint64(header[headerAddress:]) == page && binary.NativeEndian.Uint32(header[headerTLI:]) <= uint32(t)
}

// segmentName is the file of a timeline's log that holds a byte.
func segmentName(t fsm.Timeline, at fsm.LSN, segment int64) string {
	per := uint64(1<<32) / uint64(segment)
	no := uint64(at) / uint64(segment)
	return fmt.Sprintf("%08X%08X%08X", uint32(t), uint32(no/per), uint32(no%per))
}

// segmentStart is the first byte of a file that [segmentName] named; 0 for another name, or where the size of segments is not known.
func segmentStart(name string, segment int64) fsm.LSN {
	var t, high, low uint32
	if n, err := fmt.Sscanf(name, "%8X%8X%8X", &t, &high, &low); n != 3 || err != nil || segment <= 0 {
		return 0
	}
	return fsm.LSN(uint64(high)<<32 + uint64(low)*uint64(segment))
}

// segmentSize is that of the data's log in bytes; 0 while it is not known.
func (n *Node) segmentSize() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.data.control().WALSegmentSize
}

// sweepHistories removes what an interrupted promotion left: placeholders, and the history of a promotion that was begun here and never came to be.
// PostgreSQL would follow either at its next start (S3).
func (n *Node) sweepHistories(control controldata.ControlData) error {
	list, err := histories(n.config().DataDir)
	if err != nil {
		return err
	}
	present := max(control.Timeline, control.MinRecoveryTimeline)
	l := lineage(n.config().DataDir, present)
	onLine := func(t fsm.Timeline) bool {
		return slices.ContainsFunc(l, func(b fsm.Branch) bool { return b.Timeline == t })
	}
	for _, t := range list {
		begun := slices.ContainsFunc(n.memory.Get().Promotions, func(p fsm.Promotion) bool { return p.Timeline == t })
		stray := begun && !onLine(t) || isPlaceholder(n.config().DataDir, t)
		switch {
		case stray && t > present:
			_, err = disk.Remove(historyPath(n.config().DataDir, t))
		case stray: // standbys that are behind ask for every number below the present one
			_, err = disk.WriteFile(historyPath(n.config().DataDir, t), placeholder, 0o600)
		}
		if err != nil {
			return fmt.Errorf("sweep history of an unfinished promotion: %w", err)
		}
	}
	return nil
}

// placePlaceholders makes target the only number that pg_promote can choose: it takes the one after the last history file without a gap. No number
// below is left out: a standby that is behind by several timelines asks for the history of each, and never streams from a server that lacks one.
func (n *Node) placePlaceholders(target fsm.Timeline) error {
	list, err := histories(n.config().DataDir)
	if err != nil {
		return err
	}
	for _, t := range list {
		if t >= target && !isPlaceholder(n.config().DataDir, t) {
			return fmt.Errorf("promote to timeline %d: history of timeline %d is there already", target, t)
		}
	}
	for t := fsm.Timeline(2); t < target; t++ {
		if slices.Contains(list, t) {
			continue
		}
		if _, err := disk.WriteFile(historyPath(n.config().DataDir, t), placeholder, 0o600); err != nil {
			return fmt.Errorf("place history of timeline %d: %w", t, err)
		}
	}
	return nil
}
