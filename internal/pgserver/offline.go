package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// OfflineSetting returns the value that a parameter would have if the cluster
// were started now (`postgres -C`). It needs no server and minds none. It fails
// when the configuration files cannot be read by PostgreSQL, and then says why.
func OfflineSetting(ctx context.Context, b Binaries, dataDir, configFile, name string) (string, error) {
	args := []string{"-D", dataDir}
	if configFile != "" {
		args = append(args, "-c", "config_file="+configFile)
	}
	out, err := b.Run(ctx, Tool{Name: "postgres", Args: append(args, "-C", name)})
	if err != nil {
		return "", fmt.Errorf("ask for setting %s: %w", name, err)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// ErrNoConfig says that no postgresql.conf belongs to a data directory.
var ErrNoConfig = errors.New("no postgresql.conf found")

// FindConfigFile returns the postgresql.conf of a data directory: the one in
// it, else the one of Debian's layout, /etc/postgresql/MAJOR/NAME, whose
// data_directory is this one. inside says which. It fails with ErrNoConfig.
func FindConfigFile(ctx context.Context, b Binaries, dataDir string) (path string, inside bool, err error) {
	path = filepath.Join(dataDir, "postgresql.conf")
	if _, err := os.Stat(path); err == nil {
		return path, true, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("find configuration: %w", err)
	}
	pattern := fmt.Sprintf("%s/%d/*/postgresql.conf", debianRoot, b.Version.Major)
	candidates, _ := filepath.Glob(pattern) // well formed
	for _, c := range candidates {
		dir, err := OfflineSetting(ctx, b, filepath.Dir(c), c, "data_directory")
		if err == nil && sameDir(dir, dataDir) {
			return c, false, nil
		}
	}
	return "", false, fmt.Errorf("find configuration of %s: %w", dataDir, ErrNoConfig)
}

// debianRoot is a variable for tests.
var debianRoot = "/etc/postgresql"

func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
