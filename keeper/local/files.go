package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/disk"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

// rendered is what our files must be, byte for byte.
type rendered struct {
	params  conf.Params
	hba     []byte
	hbaWas  []byte // what hba was made from
	ident   []byte // nil: pg_ident.conf stays as it is
	standby bool
	print   string
}

// render turns what the plan wants into files for the data directory dir.
func (n *Node) render(dir string, f fsm.Files) (rendered, error) {
	params, err := n.params(dir, f)
	if err != nil {
		return rendered{}, err
	}
	present, err := os.ReadFile(filepath.Join(dir, "pg_hba.conf"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return rendered{}, fmt.Errorf("read pg_hba.conf: %w", err)
	}
	block, err := n.block(f).Apply(present)
	if err != nil {
		return rendered{}, fmt.Errorf("render pg_hba.conf: %w", err)
	}
	plain, err := params.Render()
	if err != nil {
		return rendered{}, fmt.Errorf("render %s: %w", conf.FileName, err)
	}
	ident, err := n.renderIdent(dir, f)
	if err != nil {
		return rendered{}, err
	}
	r := rendered{params: params, hba: block, hbaWas: present, ident: ident, standby: f.Standby, print: fingerprint(plain, block, ident)}
	r.params[fingerprintParam] = r.print
	return r, nil
}

// strays are our parameters that postgresql.auto.conf, which beats our file, sets otherwise (S8).
func (r rendered) strays(auto conf.Params) []string {
	var names []string
	for name, value := range r.params {
		if v, there := auto[name]; there && v != value {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fileStamp tells whether a file was changed since.
type fileStamp struct {
	size int64
	at   time.Time
}

func stampOf(path string) fileStamp {
	st, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{size: st.Size(), at: st.ModTime()}
}

// written says whether the files are exactly as they must be.
func (n *Node) written(r rendered) bool {
	dir := n.config().DataDir
	want, err := r.params.Render()
	if err != nil {
		return false
	}
	have, err := os.ReadFile(filepath.Join(dir, conf.FileName))
	if err != nil || !bytes.Equal(have, want) {
		return false
	}
	present, err := os.ReadFile(filepath.Join(dir, "pg_hba.conf"))
	if err != nil || !bytes.Equal(present, r.hba) {
		return false
	}
	if r.ident != nil {
		if present, err := os.ReadFile(filepath.Join(dir, identFile)); err != nil || !bytes.Equal(present, r.ident) {
			return false
		}
	}
	auto, err := conf.ReadAuto(dir)
	if err != nil || len(r.strays(auto)) > 0 {
		return false
	}
	n.mu.Lock()
	included := n.include
	n.mu.Unlock()
	return exists(filepath.Join(dir, "standby.signal")) == r.standby && included != fileStamp{} && included == stampOf(filepath.Join(dir, "postgresql.conf"))
}

// editPatience is how long files are rendered anew because somebody edits one of them at the same moment.
const editPatience = time.Second

// put renders the files and writes them, over what users write into them meanwhile.
func (n *Node) put(dir string, f fsm.Files) (rendered, error) {
	for began := time.Now(); ; {
		r, err := n.render(dir, f)
		if err != nil {
			return r, err
		}
		if err = n.write(dir, r); !errors.Is(err, disk.ErrChanged) || time.Since(began) > editPatience {
			return r, err
		}
		<-time.After(2 * time.Millisecond)
	}
}

// write makes the files so, durably unless the directory is held. dir is the data directory or a staged copy.
func (n *Node) write(dir string, r rendered) error {
	config := filepath.Join(dir, "postgresql.conf")
	if _, err := conf.WriteInclude(dir, r.params); err != nil {
		return err
	}
	if _, err := conf.EnsureInclude(config, conf.FileName); err != nil {
		return err
	}
	auto, err := conf.ReadAuto(dir)
	if err != nil {
		return err
	}
	if _, err := conf.StripAuto(dir, r.strays(auto)); err != nil {
		return err
	}
	// Before the rules that name the map.
	if err := writeIdent(dir, r.ident); err != nil {
		return err
	}
	if err := writeHBA(filepath.Join(dir, "pg_hba.conf"), r.hbaWas, r.hba); err != nil {
		return err
	}
	signal := pgserver.ClearStandbySignal
	if r.standby {
		signal = pgserver.SetStandbySignal
	}
	if _, err := signal(dir); err != nil {
		return err
	}
	if dir == n.config().DataDir {
		n.mu.Lock()
		n.include = stampOf(config)
		n.mu.Unlock()
	}
	return nil
}

// fileFacts compares the files, and what a new session sees, with what the goal wants.
func (n *Node) fileFacts(ctx context.Context, f *fsm.Facts, goal fsm.Goal) error {
	if f.Data.Kind != fsm.DataReady || !exists(filepath.Join(n.config().DataDir, "postgresql.conf")) {
		return nil
	}
	rules, err := os.ReadFile(filepath.Join(n.config().DataDir, "pg_hba.conf"))
	f.Files.Gate = err == nil && hba.Gated(rules)
	if include, err := conf.ReadInclude(n.config().DataDir); err == nil {
		id, _ := strconv.ParseInt(include[upstreamParam], 10, 64)
		f.Files.Following = fsm.NodeID(id)
	}
	r, err := n.render(n.config().DataDir, fsm.Wanted(goal, *f))
	if err != nil {
		return err
	}
	f.Files.Written = n.written(r)
	if f.Files.Written && f.Server.Status == fsm.ServerRunning {
		f.Files.Effective = n.effective(ctx, r, f.Server.Recovery)
	}
	return nil
}

// effective says whether new sessions see the files as they are. What was seen once for the present server stays true until the files change.
func (n *Node) effective(ctx context.Context, r rendered, recovery bool) bool {
	n.mu.Lock()
	loaded, roles := n.life.loaded == r.print, n.life.roles
	n.mu.Unlock()
	if !loaded {
		loaded = n.sees(ctx, r)
	}
	return loaded && (recovery || roles)
}

// sees says whether a new session would have the configuration. The postmaster tells its children to read it when it has read it itself, so our
// session, which is asked first because it costs no process, shows that a reload has begun. It ends before the postmaster serves anybody: one
// answer to a new connection after that proves that pg_hba.conf was read as well, and that every child has been told.
//
// In recovery there is no time for that, for it takes a process, and a vote needs less: that the startup process will read its configuration before it
// asks for another receiver, which it is told directly. A promotion is asked of the postmaster too, which tells all its children of the reload first.
func (n *Node) sees(ctx context.Context, r rendered) bool {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var print, sync, source string
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, `select coalesce(current_setting('autoctl.fingerprint', true), ''), current_setting('synchronous_standby_names'), current_setting('primary_conninfo')`).
			Scan(&print, &sync, &source)
	})
	if err != nil || print != r.print || sync != r.params["synchronous_standby_names"] || source != r.params["primary_conninfo"] {
		return false
	}
	if s := n.newest(); s.recovery && s.reader != 0 && s.at.After(n.bornAt()) {
		if told, err := n.signalChild(s.reader, unix.SIGHUP); err != nil || !told {
			return false
		}
	} else if status := n.handshake(ctx).Status; !status.Serving() {
		return false
	}
	n.mu.Lock()
	n.life.loaded, n.life.loadedAt = r.print, time.Now()
	n.mu.Unlock()
	return true
}

// apply writes the files and, where a server runs, has it read them and waits until a new session sees them.
func (n *Node) apply(ctx context.Context, f fsm.Files) error {
	p := n.process()
	if _, err := n.inspect(ctx, p != nil); err != nil {
		return err
	}
	if r, err := n.render(n.config().DataDir, f); p != nil && err == nil && n.read(r) && n.written(r) {
		return nil
	}
	durable := disk.Hold(n.config().DataDir)
	defer func() { _ = durable() }() // what failed before is the error to tell
	r, err := n.put(n.config().DataDir, f)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	n.mu.Lock()
	n.life.gated, n.life.loaded = f.Gate, ""
	if r.params["synchronous_standby_names"] == "" {
		n.life.syncDefined = false
	}
	n.mu.Unlock()
	var reload error
	if p != nil {
		reload = p.Reload()
	}
	// The server reads them meanwhile. Nobody is told before both are done.
	if err := durable(); err != nil {
		n.mu.Lock()
		n.include = fileStamp{} // they are to be written again
		n.mu.Unlock()
		return fmt.Errorf("write configuration: %w", err)
	}
	if p == nil {
		return nil
	}
	if reload != nil {
		return fmt.Errorf("reload: %w", reload)
	}
	if n.harmless(f) {
		return nil
	}
	return n.awaitEffective(ctx, p, r)
}

// read says that the server is known to have read these files.
func (n *Node) read(r rendered) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life.loaded == r.print
}

// harmless says that these files only take the closed set away from a standby that is to be promoted without a gate: what does not see them yet
// acknowledges nothing, and the postmaster reads them before it hears of the promotion, so that nothing has to wait for them.
func (n *Node) harmless(f fsm.Files) bool {
	return f.Standby && !f.Gate && f.Configuration != nil && n.newest().recovery
}

// awaitEffective waits until the server that was told to reload has read the files.
func (n *Node) awaitEffective(ctx context.Context, p *pgserver.Process, r rendered) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !n.sees(ctx, r) {
		select {
		case <-tick.C:
		case <-p.Exited():
			return errStopped
		case <-ctx.Done():
			return n.whyNotEffective(context.WithoutCancel(ctx))
		}
	}
	return nil
}

// whyNotEffective explains a reload that changed nothing.
func (n *Node) whyNotEffective(ctx context.Context) error {
	var list []pgserver.FileError
	err := n.with(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		list, err = pgserver.ConfigErrors(ctx, c)
		return err
	})
	if err != nil || len(list) == 0 {
		return fmt.Errorf("reload: a new session does not see the configuration (%w)", errors.Join(context.DeadlineExceeded, err))
	}
	return fmt.Errorf("reload: %s line %d: %s: %s", list[0].File, list[0].Line, list[0].Name, list[0].Text)
}
