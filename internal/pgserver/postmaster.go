package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"golang.org/x/sys/unix"
)

// PIDFile is the content of postmaster.pid, which a postmaster writes line by
// line as it comes up; what is not there yet is zero.
type PIDFile struct {
	PID int
	// Single says that it is a single-user server, which no client can reach.
	Single    bool
	DataDir   string
	StartedAt time.Time
	Port      int
	SocketDir string // the first Unix socket directory
	Address   string // the first listen address
	// Status is "starting", "stopping", "ready" (accepts connections, as a
	// primary or a hot standby) or "standby" (recovers without accepting any).
	Status string
}

// ReadPIDFile reads postmaster.pid. It fails with fs.ErrNotExist where there is
// none. A file is no proof that a server runs: Adopt tells.
func ReadPIDFile(dataDir string) (PIDFile, error) {
	data, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return PIDFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	}
	lines := strings.Split(string(data), "\n")
	at := func(i int) string {
		if i < len(lines) {
			return strings.TrimSpace(lines[i])
		}
		return ""
	}
	var f PIDFile
	if f.PID, err = strconv.Atoi(at(0)); err != nil {
		return PIDFile{}, fmt.Errorf("read postmaster.pid: %w", err)
	}
	if f.PID < 0 { // how single-user mode marks itself
		f.PID, f.Single = -f.PID, true
	}
	f.DataDir, f.SocketDir, f.Address, f.Status = at(1), at(4), at(5), at(7)
	if epoch, err := strconv.ParseInt(at(2), 10, 64); err == nil {
		f.StartedAt = time.Unix(epoch, 0)
	}
	f.Port, _ = strconv.Atoi(at(3)) // not there yet
	return f, nil
}

// Adopt finds the postmaster that runs on a data directory, whoever started
// it. It fails with ErrNotRunning when postmaster.pid is absent or names a
// process that is gone, is a zombie, or is not this directory's postmaster; a
// single-user server is none.
func Adopt(dataDir string) (*Process, error) {
	f, err := ReadPIDFile(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	if f.Single {
		return nil, ErrNotRunning
	}
	// The pidfd comes first: what is verified after it is open is verified of
	// the very process that it stands for.
	fd, err := unix.PidfdOpen(f.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", f.PID, err)
	}
	if !isPostmaster(f.PID, dataDir) {
		return nil, errors.Join(ErrNotRunning, unix.Close(fd))
	}
	p := &Process{pid: f.PID, dataDir: dataDir, pidfd: fd}
	if err := p.watch(); err != nil {
		return nil, err
	}
	return p, nil
}

// RemoveStalePIDFile deletes a postmaster.pid whose server is gone, with the
// lock file of that server's first Unix socket, and says whether it had to.
// PostgreSQL does so itself unless the number now belongs to another process of
// the same user, as is usual in containers; then it refuses to start. Call it
// after EndRemains; it fails with ErrRunning when the server is there after
// all.
func RemoveStalePIDFile(dataDir string) (removed bool, err error) {
	if err := ensureStopped(dataDir); err != nil {
		return false, err
	}
	// The socket's goes first: postmaster.pid is what leads to it.
	if f, err := ReadPIDFile(dataDir); err == nil && f.SocketDir != "" {
		if err := removeSocketLock(f); err != nil {
			return false, err
		}
	}
	return disk.Remove(filepath.Join(dataDir, "postmaster.pid"))
}

// removeSocketLock deletes the lock file of a dead server's socket, if it is
// that server's: others may have their sockets in the same directory.
func removeSocketLock(f PIDFile) error {
	path := filepath.Join(f.SocketDir, fmt.Sprintf(".s.PGSQL.%d.lock", f.Port))
	data, err := os.ReadFile(path)
	if err != nil {
		return nil //nolint:nilerr // gone, or another user's
	}
	lines := strings.SplitN(string(data), "\n", 3)
	if len(lines) < 3 || strings.TrimSpace(lines[0]) != strconv.Itoa(f.PID) || lines[1] != f.DataDir {
		return nil
	}
	_, err = disk.Remove(path)
	return err
}

// ensureStopped fails with ErrRunning while any PostgreSQL process works in a
// data directory.
func ensureStopped(dataDir string) error {
	p, err := Adopt(dataDir)
	if err == nil {
		return errors.Join(ErrRunning, p.Close())
	}
	if !errors.Is(err, ErrNotRunning) {
		return err
	}
	pids, err := serverProcesses(dataDir)
	if err == nil && len(pids) > 0 {
		err = ErrRunning
	}
	return err
}
