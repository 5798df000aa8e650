package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// InitConfig says how to create a cluster.
type InitConfig struct {
	DataDir   string
	Superuser string // name of the bootstrap superuser; "postgres" if empty
	Password  string // of the superuser; none if empty
	AuthLocal string // pg_hba method for local connections; "peer" if empty
	AuthHost  string // pg_hba method for TCP connections; "scram-sha-256" if empty
	Locale    string // "C.UTF-8" if empty
	WALDir    string // pg_wal outside the data directory; inside if empty
	// SegmentSizeMB is --wal-segsize; PostgreSQL's default if 0.
	SegmentSizeMB int
	// NoSync leaves the files unsynced. For tests and demonstrations only: a
	// crash of the machine may leave a cluster that does not start.
	NoSync bool
	Args   []string // more arguments of initdb
}

// InitDB creates a cluster with data checksums in an absent or empty directory,
// and has synced it when it returns nil.
// initdb removes what it made when it fails or is interrupted; when it is
// killed, the directory is left and InspectDataDir calls it damaged or not
// PostgreSQL's.
func InitDB(ctx context.Context, b Binaries, c InitConfig) (err error) {
	args := []string{
		"--pgdata=" + c.DataDir,
		"--username=" + or(c.Superuser, "postgres"),
		"--auth-local=" + or(c.AuthLocal, "peer"),
		"--auth-host=" + or(c.AuthHost, "scram-sha-256"),
		"--locale=" + or(c.Locale, "C.UTF-8"),
		"--encoding=UTF8",
		"--data-checksums",
		"--no-instructions",
	}
	if c.WALDir != "" {
		args = append(args, "--waldir="+c.WALDir)
	}
	if c.SegmentSizeMB != 0 {
		args = append(args, fmt.Sprintf("--wal-segsize=%d", c.SegmentSizeMB))
	}
	// A sync of each of its thousand files would double the time.
	args = append(args, "--no-sync")
	if c.Password != "" {
		path, err := passwordFile(c.Password)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(path)) }()
		args = append(args, "--pwfile="+path)
	}
	if _, err = b.Run(ctx, Tool{Name: "initdb", Args: append(args, c.Args...)}); err != nil || c.NoSync {
		return err
	}
	if err := disk.SyncTrees(c.DataDir, c.WALDir); err != nil {
		return fmt.Errorf("sync cluster: %w", err)
	}
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// passwordFile writes a password where only we can read it, for --pwfile.
func passwordFile(password string) (string, error) {
	f, err := os.CreateTemp("", "autoctl-pw-") // created with mode 0600
	if err != nil {
		return "", fmt.Errorf("create password file: %w", err)
	}
	_, err = f.WriteString(password + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write password file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}
