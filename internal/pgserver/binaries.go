package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Binaries is one installation of PostgreSQL's server programs.
type Binaries struct {
	Dir     string // the directory that holds them, symbolic links resolved
	Version Version
}

// ErrNoBinaries says that no installation with the server programs was found.
var ErrNoBinaries = errors.New("no PostgreSQL server programs found")

// ErrSeveralBinaries says that installations of several major versions exist
// and nothing chose one.
var ErrSeveralBinaries = errors.New("several PostgreSQL versions are installed")

// Search says where to look for PostgreSQL's programs.
type Search struct {
	// PGCtl is the path of a pg_ctl; when set nothing else is looked at.
	PGCtl string
	// Major restricts the search to one major version; 0 allows all.
	Major int
}

// needed are the programs without which a directory is no installation for us.
var needed = []string{"postgres", "initdb", "pg_controldata", "pg_basebackup", "pg_rewind"}

// Path returns the path of one program.
func (b Binaries) Path(tool string) string { return filepath.Join(b.Dir, tool) }

// FindBinaries returns the installation to use: that of Search.PGCtl, else that
// of the environment variable PG_CONFIG, else the only major version among
// those of PATH and of the usual directories. It fails with ErrNoBinaries or
// ErrSeveralBinaries; the latter names what was found.
func FindBinaries(ctx context.Context, s Search) (Binaries, error) {
	if s.PGCtl != "" {
		return inspectBinaries(ctx, s.PGCtl)
	}
	if dir := pgConfigDir(ctx); dir != "" {
		return inspectBinaries(ctx, filepath.Join(dir, "pg_ctl"))
	}
	found, err := ListBinaries(ctx)
	if err != nil {
		return Binaries{}, err
	}
	if s.Major != 0 {
		found = slices.DeleteFunc(found, func(b Binaries) bool { return b.Version.Major != s.Major })
	}
	switch {
	case len(found) == 0:
		return Binaries{}, fmt.Errorf("find PostgreSQL %s: %w", majorText(s.Major), ErrNoBinaries)
	case len(found) > 1 && s.Major == 0:
		var dirs []string
		for _, b := range found {
			dirs = append(dirs, fmt.Sprintf("%s in %s", b.Version, b.Dir))
		}
		return Binaries{}, fmt.Errorf("find PostgreSQL: %w: %s", ErrSeveralBinaries, strings.Join(dirs, ", "))
	}
	return found[0], nil
}

func majorText(major int) string {
	if major == 0 {
		return "of any version"
	}
	return fmt.Sprint(major)
}

// ListBinaries returns every installation of a supported version in PATH and in
// the usual directories of distributions, one a directory, in that order.
func ListBinaries(ctx context.Context) ([]Binaries, error) {
	var found []Binaries
	for _, ctl := range candidates() {
		b, err := inspectBinaries(ctx, ctl)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil || !b.Version.Supported() || slices.Contains(found, b) {
			continue
		}
		found = append(found, b)
	}
	return found, nil
}

// usualDirs are where Debian, Red Hat, and source installations put programs
// that are not in PATH.
var usualDirs = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/local/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
}

func candidates() []string {
	var paths []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		paths = append(paths, filepath.Join(dir, "pg_ctl"))
	}
	for _, pattern := range usualDirs {
		dirs, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, dir := range dirs {
			paths = append(paths, filepath.Join(dir, "pg_ctl"))
		}
	}
	return paths
}

// pgConfigDir asks the pg_config that the environment variable PG_CONFIG names.
func pgConfigDir(ctx context.Context) string {
	path := os.Getenv("PG_CONFIG")
	if path == "" {
		return ""
	}
	out, err := exec.CommandContext(ctx, path, "--bindir").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// inspectBinaries checks that the directory of a pg_ctl holds what we need and
// asks its version.
func inspectBinaries(ctx context.Context, pgCtl string) (Binaries, error) {
	real, err := filepath.EvalSymlinks(pgCtl)
	if err != nil {
		return Binaries{}, fmt.Errorf("find PostgreSQL programs: %w", err)
	}
	b := Binaries{Dir: filepath.Dir(real)}
	for _, tool := range needed {
		if _, err := exec.LookPath(b.Path(tool)); err != nil {
			return Binaries{}, fmt.Errorf("find PostgreSQL programs beside %s: %w: %w", pgCtl, ErrNoBinaries, err)
		}
	}
	out, err := exec.CommandContext(ctx, b.Path("postgres"), "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask version of %s: %w", b.Path("postgres"), err)
	}
	b.Version, err = ParseVersion(string(out))
	return b, err
}
