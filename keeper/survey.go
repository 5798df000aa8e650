package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"syscall"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// survey is what create finds before it changes anything.
type survey struct {
	binaries pgserver.Binaries
	data     pgserver.DataDir
	// running is the server that runs on the directory; nil for none. Its port
	// wins over the configuration's default.
	running *pgserver.PIDFile
	// config is the postgresql.conf; inside says that it is in the directory,
	// and not in /etc as in Debian's layout.
	config string
	inside bool
}

// existing says whether there is a cluster.
func (s survey) existing() bool { return s.data.Kind == pgserver.DataReady }

// look surveys the data directory and refuses what could never become a node.
func look(ctx context.Context, cfg Config, mem fsm.Memory) (survey, error) {
	var s survey
	if err := notRoot(cfg.PGData); err != nil {
		return s, err
	}
	var err error
	s.binaries, err = pgserver.FindBinaries(ctx, pgserver.Search{PGCtl: cfg.PGCtl, Major: majorOf(cfg.PGData)})
	if err != nil {
		return s, refuse(CodeSetup, err, "install PostgreSQL's server, or name its pg_ctl with --pgctl", "%v", err)
	}
	if err := checkExtension(ctx, cfg, s.binaries); err != nil {
		return s, err
	}
	if s.data, err = pgserver.InspectDataDir(ctx, s.binaries, cfg.PGData); err != nil {
		return s, err
	}
	if err := usable(s.data, mem); err != nil {
		return s, err
	}
	switch registered := mem.Node != 0 && !mem.Released; {
	case !s.existing() && registered: // it goes on, and says itself what it lacks
		return s, nil
	case !s.existing():
		return s, roomFor(cfg.PGData, emptyCluster)
	}
	if s.config, s.inside, err = pgserver.FindConfigFile(ctx, s.binaries, cfg.PGData); err != nil {
		return s, refuse(CodeDamaged, err, "restore postgresql.conf", "%v", err)
	}
	return s, s.findServer(cfg)
}

// emptyCluster is about what a cluster takes that holds nothing yet, in bytes: its databases, and one segment of WAL. What a copy of the primary takes, the
// keeper finds out later.
const emptyCluster = 40 << 20

// roomFor refuses a file system on which nothing can be created.
func roomFor(dir string, bytes int64) error {
	_, err := pgserver.CheckRoom([]pgserver.Need{{Path: dir, Bytes: bytes}})
	if none, ok := errors.AsType[*pgserver.NoRoomError](err); ok {
		return refuse(CodeNoRoom, err, "make room, or choose another directory", "%v", none)
	}
	return err
}

// findServer looks for a running server on the directory.
func (s *survey) findServer(cfg Config) error {
	p, err := pgserver.Adopt(cfg.PGData)
	if errors.Is(err, pgserver.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for a running server: %w", err)
	}
	defer func() { _ = p.Close() }() // only our watch of it
	f, err := pgserver.ReadPIDFile(cfg.PGData)
	if err != nil {
		return fmt.Errorf("look for a running server: %w", err)
	}
	s.running = &f
	return nil
}

// usable refuses directories that create must not touch.
func usable(d pgserver.DataDir, mem fsm.Memory) error {
	const elsewhere = "choose an empty directory, or move this one away"
	switch {
	case d.Kind == pgserver.DataInaccessible:
		return refuse(CodeForeign, nil, "make it accessible to this user, or choose another one", "data directory %s: %s", d.Path, d.Reason)
	case d.Kind == pgserver.DataNotPostgreSQL && mem.Busy != fsm.BusyInit: // what an interrupted initdb left is ours
		return refuse(CodeForeign, nil, elsewhere, "data directory %s is not empty: %s", d.Path, d.Reason)
	case d.Kind == pgserver.DataAbsent && d.ParentClosed:
		return refuse(CodeForeign, nil, "create the directory for this user first: install -d -m 0700 -o "+userName(os.Geteuid())+" "+d.Path,
			"data directory %s cannot be created: this user may not write to %s", d.Path, filepath.Dir(d.Path))
	case d.ForeignOwner:
		return refuse(CodeForeign, nil, "run as the owner of the directory, or change its owner", "data directory %s belongs to user %s, this is %s", d.Path, ownerOf(d.Path), userName(os.Geteuid()))
	case d.TooOpen && d.Kind != pgserver.DataEmpty:
		return refuse(CodeForeign, nil, "chmod 0700 "+d.Path, "data directory %s is accessible to other users, and PostgreSQL refuses that", d.Path)
	case d.Kind == pgserver.DataOtherVersion:
		return refuse(CodeOtherVersion, nil, "name the pg_ctl of that version with --pgctl, or choose another directory", "data directory %s: %s", d.Path, d.Reason)
	case d.Kind == pgserver.DataDamaged && mem.Busy == fsm.BusyNone:
		return refuse(CodeDamaged, nil, elsewhere, "data directory %s cannot be used: %s", d.Path, d.Reason)
	}
	return nil
}

// notRoot refuses to run as root and says as whom to run.
func notRoot(pgdata string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	who := ownerOf(pgdata)
	if who == "" || who == "root" {
		who = "postgres"
	}
	return refuse(CodeRoot, nil, fmt.Sprintf("run it as %s: setpriv --reuid=%s --regid=%s --init-groups autoctl …", who, who, who),
		"PostgreSQL does not run as root")
}

func ownerOf(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return userName(int(sys.Uid))
}

func userName(uid int) string {
	u, err := user.LookupId(fmt.Sprint(uid))
	if err != nil {
		return fmt.Sprint(uid)
	}
	return u.Username
}
