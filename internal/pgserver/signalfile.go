package pgserver

import (
	"errors"
	"path/filepath"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// SetStandbySignal makes a data directory come up as a standby, durably, and
// says whether that is a change. A recovery.signal, which would end recovery by
// itself, is removed: standby.signal wins over it, but not for a reader.
func SetStandbySignal(dataDir string) (changed bool, err error) {
	created, err := disk.Create(filepath.Join(dataDir, "standby.signal"), 0o600)
	if err != nil {
		return created, err
	}
	removed, err := disk.Remove(filepath.Join(dataDir, "recovery.signal"))
	return created || removed, err
}

// ClearStandbySignal makes a data directory come up read-write, durably, and
// says whether that is a change.
func ClearStandbySignal(dataDir string) (changed bool, err error) {
	standby, err := disk.Remove(filepath.Join(dataDir, "standby.signal"))
	recovery, err2 := disk.Remove(filepath.Join(dataDir, "recovery.signal"))
	return standby || recovery, errors.Join(err, err2)
}
