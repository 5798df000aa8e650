package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// outside are the parameters of Debian's postgresql.conf that name places
// outside the data directory, and mean something else inside it or on a copy.
var outside = regexp.MustCompile(`(?m)^\s*(data_directory|hba_file|ident_file|external_pid_file)\b`)

// moveConfigIn copies the configuration of Debian's layout into the data
// directory, users' settings and all, so that copies of the directory carry it.
// A server that runs on the old place is stopped: the keeper starts it again.
// It is idempotent; postgresql.conf comes last and marks the end.
func (s survey) moveConfigIn(ctx context.Context) error {
	if s.inside || !s.existing() {
		return nil
	}
	from := filepath.Dir(s.config)
	if err := s.stopOld(ctx); err != nil {
		return err
	}
	for _, name := range []string{"pg_hba.conf", "pg_ident.conf"} {
		if err := copyFile(filepath.Join(from, name), filepath.Join(s.data.Path, name)); err != nil {
			return err
		}
	}
	extra, _ := filepath.Glob(filepath.Join(from, "conf.d", "*.conf")) // well formed
	if err := os.MkdirAll(filepath.Join(s.data.Path, "conf.d"), 0o700); err != nil {
		return fmt.Errorf("copy configuration: %w", err)
	}
	for _, path := range extra {
		if err := copyFile(path, filepath.Join(s.data.Path, "conf.d", filepath.Base(path))); err != nil {
			return err
		}
	}
	if err := disableUnit(from); err != nil {
		return err
	}
	content, err := os.ReadFile(s.config)
	if err != nil {
		return fmt.Errorf("copy configuration: %w", err)
	}
	content = outside.ReplaceAll(content, []byte("#$1"))
	_, err = disk.WriteFile(filepath.Join(s.data.Path, "postgresql.conf"), content, 0o600)
	return err
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("copy configuration: %w", err)
	}
	_, err = disk.WriteFile(to, content, 0o600)
	return err
}

// stopOld stops a server that reads its configuration elsewhere.
func (s survey) stopOld(ctx context.Context) error {
	if s.running == nil {
		return nil
	}
	p, err := pgserver.Adopt(s.data.Path)
	if errors.Is(err, pgserver.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the server on the old configuration: %w", err)
	}
	defer func() { _ = p.Close() }()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := p.Stop(ctx, pgserver.StopFast); err != nil {
		return fmt.Errorf("stop the server on the old configuration: %w", err)
	}
	return nil
}

// disableUnit tells Debian's pg_ctlcluster, and the units that use it, to leave
// the cluster alone: two managers of one server fight.
func disableUnit(dir string) error {
	path := filepath.Join(dir, "start.conf")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("disable the distribution's start of the cluster: %w", err)
	}
	var kept []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if t := strings.TrimSpace(line); t == "" || strings.HasPrefix(t, "#") {
			kept = append(kept, line)
		}
	}
	text := strings.TrimRight(strings.Join(kept, "\n"), "\n") + "\n# autoctl starts this cluster\ndisabled\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return refuse(CodeSetup, err, "write the word disabled into it as root, then run the command again",
			"the distribution would start this cluster too: %s cannot be changed: %v", path, err)
	}
	return nil
}
