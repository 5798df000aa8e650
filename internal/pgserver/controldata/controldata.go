// Package controldata reads what a data directory says about itself while no
// server runs on it: the output of pg_controldata and the timeline history
// files in pg_wal.
//
// Parsing is pure; running the tool is the business of package pgserver.
package controldata

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
)

// State is the cluster state as pg_controldata prints it in the C locale.
type State string

// The states of src/bin/pg_controldata/pg_controldata.c.
const (
	StartingUp         State = "starting up"
	ShutDown           State = "shut down"
	ShutDownInRecovery State = "shut down in recovery"
	ShuttingDown       State = "shutting down"
	InCrashRecovery    State = "in crash recovery"
	InArchiveRecovery  State = "in archive recovery"
	InProduction       State = "in production"
)

// Clean says whether a server that stopped in this state needs no crash
// recovery, which is what pg_rewind asks of its target.
func (s State) Clean() bool { return s == ShutDown || s == ShutDownInRecovery }

// Standby says whether the directory was last in use as a standby.
func (s State) Standby() bool { return s == ShutDownInRecovery || s == InArchiveRecovery }

// ControlData is what global/pg_control records. Values are those of the last
// checkpoint (or restartpoint) unless said otherwise.
type ControlData struct {
	ControlVersion   int
	CatalogVersion   int
	SystemIdentifier uint64
	State            State

	Checkpoint   fsm.LSN      // of the checkpoint record
	Redo         fsm.LSN      // where recovery would begin
	Timeline     fsm.Timeline // of the checkpoint
	PrevTimeline fsm.Timeline

	// MinRecoveryEnd and its timeline say how far a standby has written pages;
	// both are zero on a primary.
	MinRecoveryEnd      fsm.LSN
	MinRecoveryTimeline fsm.Timeline
	// BackupEndRequired marks a copy whose backup has not been replayed to its
	// end yet.
	BackupEndRequired bool

	Checksums      bool
	WALLogHints    bool
	WALSegmentSize int64
	WALLevel       string

	// Settings are those a standby must match or exceed (max_connections,
	// max_worker_processes, max_wal_senders, max_prepared_transactions,
	// max_locks_per_transaction), as the WAL recorded them.
	Settings map[string]int
}

// ErrCorrupt says that pg_controldata itself doubts the control file (its CRC
// does not match).
var ErrCorrupt = errors.New("control file is corrupt")

// ErrIncomplete says that a field without which nothing can be decided is
// missing or unreadable in pg_controldata's output.
var ErrIncomplete = errors.New("control data is incomplete")

// Parse reads the output of pg_controldata run with LC_ALL=C. It fails with
// ErrCorrupt when the tool warned, ErrIncomplete when a needed field is absent.
func Parse(out []byte) (ControlData, error) {
	if bytes.Contains(out, []byte("WARNING:")) {
		return ControlData{}, fmt.Errorf("parse control data: %w", ErrCorrupt)
	}
	p := parser{fields: map[string]string{}}
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		if k, v, ok := strings.Cut(sc.Text(), ":"); ok {
			p.fields[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	cd := p.controlData()
	if len(p.missing) > 0 {
		return ControlData{}, fmt.Errorf("parse control data: %w: %s", ErrIncomplete, strings.Join(p.missing, ", "))
	}
	return cd, nil
}

// parser collects the fields that could not be read instead of stopping at the
// first.
type parser struct {
	fields  map[string]string
	missing []string
}

func (p *parser) controlData() ControlData {
	cd := ControlData{
		ControlVersion:      int(p.number("pg_control version number")),
		CatalogVersion:      int(p.number("Catalog version number")),
		SystemIdentifier:    p.number("Database system identifier"),
		State:               State(p.text("Database cluster state")),
		Checkpoint:          p.lsn("Latest checkpoint location"),
		Redo:                p.lsn("Latest checkpoint's REDO location"),
		Timeline:            fsm.Timeline(p.number("Latest checkpoint's TimeLineID")),
		PrevTimeline:        fsm.Timeline(p.number("Latest checkpoint's PrevTimeLineID")),
		MinRecoveryEnd:      p.lsn("Minimum recovery ending location"),
		MinRecoveryTimeline: fsm.Timeline(p.number("Min recovery ending loc's timeline")),
		BackupEndRequired:   p.text("End-of-backup record required") == "yes",
		Checksums:           p.number("Data page checksum version") != 0,
		WALLogHints:         p.text("wal_log_hints setting") == "on",
		WALSegmentSize:      int64(p.number("Bytes per WAL segment")),
		WALLevel:            p.text("wal_level setting"),
		Settings:            map[string]int{},
	}
	for label, name := range settingLabels {
		cd.Settings[name] = int(p.number(label))
	}
	return cd
}

var settingLabels = map[string]string{
	"max_connections setting":      "max_connections",
	"max_worker_processes setting": "max_worker_processes",
	"max_wal_senders setting":      "max_wal_senders",
	"max_prepared_xacts setting":   "max_prepared_transactions",
	"max_locks_per_xact setting":   "max_locks_per_transaction",
}

func (p *parser) text(label string) string {
	v, ok := p.fields[label]
	if !ok || v == "" {
		p.missing = append(p.missing, label)
	}
	return v
}

func (p *parser) number(label string) uint64 {
	v := p.text(label)
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil && v != "" {
		p.missing = append(p.missing, label)
	}
	return n
}

func (p *parser) lsn(label string) fsm.LSN {
	v := p.text(label)
	l, err := fsm.ParseLSN(v)
	if err != nil && v != "" {
		p.missing = append(p.missing, label)
	}
	return l
}
