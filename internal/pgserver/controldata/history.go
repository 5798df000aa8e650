package controldata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// Switch says that a timeline was left at a position (the first byte of the
// next timeline's WAL).
type Switch struct {
	Timeline fsm.Timeline
	LSN      fsm.LSN
	Reason   string
}

// History is the ancestry of one timeline, oldest first, as its history file
// has it. Timeline 1 has none and its History is empty.
type History []Switch

// ErrHistory says that a timeline history file cannot be read as one.
var ErrHistory = errors.New("not a timeline history file")

// HistoryName is the file name of a timeline's history in pg_wal.
func HistoryName(timeline fsm.Timeline) string { return fmt.Sprintf("%08X.history", timeline) }

// ParseHistory reads the content of a history file, by the rules of
// readTimeLineHistory in src/backend/access/transam/timeline.c: comments and
// empty lines are skipped, timelines grow.
func ParseHistory(content []byte) (History, error) {
	var h History
	for i, line := range strings.Split(string(content), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSwitch(line)
		if err != nil {
			return nil, fmt.Errorf("parse timeline history line %d: %w", i+1, err)
		}
		if len(h) > 0 && h[len(h)-1].Timeline >= s.Timeline {
			return nil, fmt.Errorf("parse timeline history line %d: %w: timelines do not grow", i+1, ErrHistory)
		}
		h = append(h, s)
	}
	return h, nil
}

func parseSwitch(line string) (Switch, error) {
	f := strings.Fields(line)
	if len(f) < 2 {
		return Switch{}, ErrHistory
	}
	tli, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil || tli == 0 {
		return Switch{}, ErrHistory
	}
	lsn, err := fsm.ParseLSN(f[1])
	if err != nil {
		return Switch{}, ErrHistory
	}
	return Switch{Timeline: fsm.Timeline(tli), LSN: lsn, Reason: strings.Join(f[2:], " ")}, nil
}

// ReadHistory reads the history of a timeline from a data directory. A missing
// file is an empty History for timeline 1 and fs.ErrNotExist for others.
func ReadHistory(dataDir string, timeline fsm.Timeline) (History, error) {
	content, err := os.ReadFile(filepath.Join(dataDir, "pg_wal", HistoryName(timeline)))
	if errors.Is(err, fs.ErrNotExist) && timeline == 1 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read timeline history: %w", err)
	}
	return ParseHistory(content)
}

// NewestTimeline returns the highest timeline for which a data directory holds
// a history file, 1 if none.
func NewestTimeline(dataDir string) (fsm.Timeline, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, "pg_wal"))
	if err != nil {
		return 0, fmt.Errorf("list pg_wal: %w", err)
	}
	newest := fsm.Timeline(1)
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), ".history")
		if !ok || len(stem) != 8 {
			continue
		}
		if n, err := strconv.ParseUint(stem, 16, 32); err == nil && fsm.Timeline(n) > newest {
			newest = fsm.Timeline(n)
		}
	}
	return newest, nil
}

// Lineage turns the history of a timeline into the branches that lead to it.
func (h History) Lineage(timeline fsm.Timeline) fsm.Lineage {
	var l fsm.Lineage
	var begin fsm.LSN
	for _, s := range h {
		l = append(l, fsm.Branch{Timeline: s.Timeline, Begin: begin})
		begin = s.LSN
	}
	return append(l, fsm.Branch{Timeline: timeline, Begin: begin})
}
