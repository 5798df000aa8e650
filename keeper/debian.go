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

	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// outside are the parameters of Debian's postgresql.conf that name places
// outside the data directory, and mean something else inside it or on a copy.
var outside = regexp.MustCompile(`(?m)^\s*(data_directory|hba_file|ident_file|external_pid_file)\b`)

// bringConfigIn does for a node that was created before what [survey.moveConfigIn]
// does: by the daemon, so that a server that create found stays up until there
// is somebody to start it again.
func bringConfigIn(ctx context.Context, cfg Config, b pgserver.Binaries, mem fsm.Memory) error {
	if mem.Busy != fsm.BusyNone || majorOf(cfg.PGData) == 0 {
		return nil // no cluster, or one that is being replaced
	}
	s := survey{binaries: b}
	s.data.Kind, s.data.Path = pgserver.DataReady, cfg.PGData
	var err error
	s.config, s.inside, err = pgserver.FindConfigFile(ctx, b, cfg.PGData)
	if errors.Is(err, pgserver.ErrNoConfig) || err == nil && s.inside {
		return nil // a directory without any is damaged: that is the daemon's concern
	}
	if err != nil {
		return err
	}
	if err := s.findServer(cfg); err != nil {
		return err
	}
	return s.moveConfigIn(ctx)
}

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
	if isDisabled(content) {
		return nil
	}
	var kept []string
	for line := range strings.SplitSeq(string(content), "\n") {
		if t := strings.TrimSpace(line); t == "" || strings.HasPrefix(t, "#") {
			kept = append(kept, line)
		}
	}
	text := strings.TrimRight(strings.Join(kept, "\n"), "\n") + "\n# autoctl starts this cluster\ndisabled\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return unitRefusal(path, err)
	}
	return nil
}

// isDisabled reports whether a start.conf keeps the distribution from starting
// the cluster.
func isDisabled(content []byte) bool {
	for line := range strings.Lines(string(content)) {
		if strings.TrimSpace(line) == "disabled" {
			return true
		}
	}
	return false
}

// unitChangeable refuses, before anything is changed, a cluster that the
// distribution would go on starting.
func (s survey) unitChangeable() error {
	if s.inside || !s.existing() {
		return nil
	}
	path := filepath.Join(filepath.Dir(s.config), "start.conf")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && isDisabled(content) {
		return nil
	}
	if err == nil {
		err = unix.Access(path, unix.W_OK)
	}
	if err != nil {
		return unitRefusal(path, err)
	}
	return nil
}

func unitRefusal(path string, err error) error {
	return refuse(CodeSetup, err, "write the word disabled into it as root, then run the command again",
		"the distribution would start this cluster too: %s cannot be changed: %v", path, err)
}
