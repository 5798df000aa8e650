package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver/controldata"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"golang.org/x/sys/unix"
)

// DataKind classifies a directory that should become, or is, a data directory.
type DataKind string

// The kinds.
const (
	// DataAbsent: there is nothing at the path.
	DataAbsent DataKind = "absent"
	// DataEmpty: a directory with nothing in it, or only lost+found.
	DataEmpty DataKind = "empty"
	// DataReady: a PostgreSQL data directory of the right major version whose
	// control file can be read.
	DataReady DataKind = "ready"
	// DataDamaged: PostgreSQL's, but it cannot start: no control file, an
	// unreadable one, or a copy that was never completed.
	DataDamaged DataKind = "damaged"
	// DataOtherVersion: PostgreSQL's, of another major version.
	DataOtherVersion DataKind = "other version"
	// DataNotPostgreSQL: something else lives there.
	DataNotPostgreSQL DataKind = "not PostgreSQL"
	// DataInaccessible: it cannot be looked at: not ours, or not a directory.
	DataInaccessible DataKind = "inaccessible"
)

// DataDir is what a directory is, observed without changing anything.
type DataDir struct {
	Path   string // absolute; symbolic links kept
	Kind   DataKind
	Reason string // explains every kind but absent, empty and ready

	Major   int                     // of PG_VERSION, 0 where there is none
	Control controldata.ControlData // set for DataReady only

	ForeignOwner bool // owned by another OS user than ours: PostgreSQL would refuse it
	TooOpen      bool // accessible to others (mode beyond 0750): PostgreSQL would refuse it
	MountPoint   bool // cannot be renamed
	ParentClosed bool // nothing can be created beside it

	StandbySignal  bool
	RecoverySignal bool
	BackupLabel    bool // recovery would begin at a backup's start
	// Unfinished says that a swap inside the directory was interrupted; Swap
	// continues it.
	Unfinished bool

	// ConfigFile is the postgresql.conf in the directory, "" where there is
	// none (Debian's layout keeps it in /etc).
	ConfigFile  string
	WALDir      string // where pg_wal leads if it is a symbolic link
	Tablespaces []Tablespace
}

// Tablespace is one that lives outside the data directory.
type Tablespace struct {
	OID      uint32
	Location string // what pg_tblspc/OID links to
}

// InspectDataDir classifies a directory. It runs pg_controldata, which needs no
// server and is right for a running one too. An error means that the question
// could not be answered, never that the directory is bad.
func InspectDataDir(ctx context.Context, b Binaries, path string) (DataDir, error) {
	return InspectKnown(ctx, b, path, nil)
}

// InspectKnown is InspectDataDir for those who know what the control file says,
// because it has not changed: it starts no program then. known may be nil.
func InspectKnown(ctx context.Context, b Binaries, path string, known *controldata.ControlData) (DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return DataDir{}, fmt.Errorf("inspect data directory: %w", err)
	}
	d := DataDir{Path: path}
	d.ParentClosed = unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK) != nil
	entries, done := d.list()
	if done {
		return d, nil
	}
	if d.MountPoint, err = disk.IsMountPoint(path); err != nil {
		return d, err
	}
	d.permissions()
	d.look()
	if d.Unfinished {
		return d.is(DataDamaged, "a copy was being moved into place"), nil
	}
	if kind, reason := d.version(b, entries); kind != DataReady {
		return d.is(kind, reason), nil
	}
	d.Tablespaces, err = tablespaces(path)
	if err != nil {
		return d.is(DataDamaged, err.Error()), nil
	}
	return d.control(ctx, b, known)
}

func (d DataDir) is(kind DataKind, reason string) DataDir {
	d.Kind, d.Reason = kind, reason
	return d
}

// list reads the names in the directory; done says that there is nothing
// further to find out.
func (d *DataDir) list() (names []string, done bool) {
	entries, err := os.ReadDir(d.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		*d = d.is(DataAbsent, "")
		return nil, true
	case err != nil:
		*d = d.is(DataInaccessible, err.Error())
		return nil, true
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			names = append(names, e.Name())
		}
	}
	return names, false
}

func (d *DataDir) permissions() {
	var st unix.Stat_t
	if unix.Stat(d.Path, &st) != nil {
		return
	}
	d.ForeignOwner = int(st.Uid) != os.Geteuid()
	d.TooOpen = st.Mode&0o027 != 0
}

func (d *DataDir) look() {
	exists := func(name string) bool {
		_, err := os.Lstat(filepath.Join(d.Path, name))
		return err == nil
	}
	d.StandbySignal = exists("standby.signal")
	d.RecoverySignal = exists("recovery.signal")
	d.BackupLabel = exists("backup_label")
	d.Unfinished = swapUnfinished(d.Path)
	if exists("postgresql.conf") {
		d.ConfigFile = filepath.Join(d.Path, "postgresql.conf")
	}
	if link, err := os.Readlink(filepath.Join(d.Path, "pg_wal")); err == nil {
		d.WALDir = link
	}
}

// version tells the kinds apart that PG_VERSION decides.
func (d *DataDir) version(b Binaries, names []string) (DataKind, string) {
	text, err := os.ReadFile(filepath.Join(d.Path, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return d.withoutVersion(names)
	}
	if err != nil {
		return DataInaccessible, err.Error()
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return DataDamaged, "PG_VERSION cannot be read"
	}
	d.Major = major
	if b.Version.Major != 0 && major != b.Version.Major {
		return DataOtherVersion, fmt.Sprintf("the data directory is PostgreSQL %d's, the programs are %d's", major, b.Version.Major)
	}
	return DataReady, ""
}

// withoutVersion tells an unfinished initdb or copy from a directory of
// something else.
func (d *DataDir) withoutVersion(names []string) (DataKind, string) {
	if len(withoutOurs(names)) == 0 {
		return DataEmpty, ""
	}
	for _, name := range names {
		if name == "pg_wal" || name == "global" || name == "pg_xact" {
			return DataDamaged, "PG_VERSION is missing"
		}
	}
	return DataNotPostgreSQL, fmt.Sprintf("the directory holds %s and is not PostgreSQL's", names[0])
}

// control reads the control file, which the classification ends with.
func (d DataDir) control(ctx context.Context, b Binaries, known *controldata.ControlData) (DataDir, error) {
	if _, err := os.Stat(filepath.Join(d.Path, "global", "pg_control")); err != nil {
		return d.is(DataDamaged, "global/pg_control: "+reasonOf(err)), nil
	}
	if known != nil {
		d.Control = *known
		return d.is(DataReady, ""), nil
	}
	cd, err := ReadControlData(ctx, b, d.Path)
	if ctx.Err() != nil {
		return d, context.Cause(ctx)
	}
	if err != nil {
		return d.is(DataDamaged, err.Error()), nil
	}
	d.Control = cd
	return d.is(DataReady, ""), nil
}

func reasonOf(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// ReadControlData runs pg_controldata on a data directory.
func ReadControlData(ctx context.Context, b Binaries, dataDir string) (controldata.ControlData, error) {
	for tries := 1; ; tries++ {
		out, err := b.Run(ctx, Tool{Name: "pg_controldata", Args: []string{"-D", dataDir}})
		if err != nil {
			return controldata.ControlData{}, err
		}
		cd, err := controldata.Parse(out)
		// A running server may have been writing it just now.
		if !errors.Is(err, controldata.ErrCorrupt) || tries == controlTries {
			return cd, err
		}
		select {
		case <-ctx.Done():
			return cd, context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}

// controlTries is how often a control file is read before it counts as corrupt.
const controlTries = 4

// tablespaces reads the links in pg_tblspc. In-place tablespaces (directories,
// for developers) are part of the data directory and left out.
func tablespaces(dataDir string) ([]Tablespace, error) {
	dir := filepath.Join(dataDir, "pg_tblspc")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list tablespaces: %w", err)
	}
	var list []Tablespace
	for _, e := range entries {
		oid, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		location, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read tablespace link: %w", err)
		}
		list = append(list, Tablespace{OID: uint32(oid), Location: location})
	}
	return list, nil
}
