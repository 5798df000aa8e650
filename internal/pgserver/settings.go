package pgserver

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Setting is one parameter as a session of the server sees it.
type Setting struct {
	Name  string
	Value string // as SHOW prints it, with its unit
	// Raw is the value in Unit, as pg_settings has it.
	Raw, Unit string
	// Context says what it takes to change it: "postmaster" a restart, "sighup"
	// a reload.
	Context string
	Source  string // "configuration file", "command line", "default", …
	// File and Line are where it was set; empty and 0 for those who may not see
	// them.
	File string
	Line int
	// PendingRestart says that the files say otherwise and a restart is needed.
	PendingRestart bool
}

// ReadSettings reads parameters as the session sees them; give it a session
// opened for the purpose, for only such a one is sure to show what a reload
// changed (S8). Unknown names are left out of the result.
func ReadSettings(ctx context.Context, conn *pgx.Conn, names ...string) (map[string]Setting, error) {
	const query = `
		select name, current_setting(name), setting, coalesce(unit, ''), context, source,
		       coalesce(sourcefile, ''), coalesce(sourceline, 0), pending_restart
		from pg_settings where name = any($1)`
	rows, err := conn.Query(ctx, query, names)
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Setting])
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	settings := make(map[string]Setting, len(list))
	for _, s := range list {
		settings[s.Name] = s
	}
	return settings, nil
}

// FileError is a line of a configuration file that the server could not apply.
type FileError struct {
	File string
	Line int
	Name string
	Text string
}

// ConfigErrors returns what is wrong with the configuration files as they are
// on disk now, before a reload runs into it. It cannot judge parameters that
// need a restart: PostgreSQL reports right and wrong values of theirs alike;
// OfflineSetting finds the wrong ones.
func ConfigErrors(ctx context.Context, conn *pgx.Conn) ([]FileError, error) {
	const query = `
		select coalesce(f.sourcefile, ''), coalesce(f.sourceline, 0), coalesce(f.name, ''), f.error
		from pg_file_settings f left join pg_settings s using (name)
		where f.error is not null and s.context is distinct from 'postmaster'
		order by f.seqno`
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("check configuration files: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[FileError])
	if err != nil {
		return nil, fmt.Errorf("check configuration files: %w", err)
	}
	return list, nil
}

// Files are the configuration files of a cluster; in Debian's layout they are
// outside the data directory.
type Files struct {
	DataDir string
	Config  string // postgresql.conf
	HBA     string
	Ident   string
}

// ConfigFiles asks the postgres program which files a stopped or running
// cluster uses. configFile is a postgresql.conf outside the data directory, or
// empty. The data directory in the answer is what that file says.
func ConfigFiles(ctx context.Context, b Binaries, dataDir, configFile string) (Files, error) {
	f := Files{}
	for _, q := range []struct {
		name string
		to   *string
	}{{"data_directory", &f.DataDir}, {"config_file", &f.Config}, {"hba_file", &f.HBA}, {"ident_file", &f.Ident}} {
		v, err := OfflineSetting(ctx, b, dataDir, configFile, q.name)
		if err != nil {
			return Files{}, err
		}
		*q.to = v
	}
	return f, nil
}
