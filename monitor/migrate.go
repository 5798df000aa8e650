package monitor

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// Tables change by migrations, which run once each, forward only. Functions are the files of sql/api, which replace themselves
// whenever one of them changed: they hold no data.
//
//go:embed sql
var scripts embed.FS

// migrationLock keeps two processes from migrating at once; the number is ours alone.
const migrationLock = 0x6175746f63746c // "autoctl"

// ErrNewer says that a newer autoctl has migrated the database; migrations only go forward.
var ErrNewer = errors.New("the monitor's database was migrated by a newer autoctl")

// migrate brings roles, tables and functions up to date, under a lock and in one transaction.
func migrate(ctx context.Context, conn *pgx.Conn, software string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin migration: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(migrationLock)); err != nil {
		return fmt.Errorf("lock for migration: %w", err)
	}
	if err := runScript(ctx, tx, "sql/roles.sql"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "set local role autoctl_owner"); err != nil {
		return fmt.Errorf("become owner of the schema: %w", err)
	}
	applied, err := appliedScripts(ctx, tx)
	if err != nil {
		return err
	}
	if err := runMigrations(ctx, tx, applied); err != nil {
		return err
	}
	if err := replaceFunctions(ctx, tx, applied); err != nil {
		return err
	}
	if err := seed(ctx, tx, software); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit migration: %w", err)
	}
	return nil
}

func appliedScripts(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, "select name, digest from autoctl.migration")
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	applied := map[string]string{}
	var name, digest string
	_, err = pgx.ForEachRow(rows, []any{&name, &digest}, func() error {
		applied[name] = digest
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read applied migrations: %w", err)
	}
	return applied, nil
}

func runMigrations(ctx context.Context, tx pgx.Tx, applied map[string]string) error {
	names, err := fs.Glob(scripts, "sql/migrations/*.sql")
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, name := range names {
		base := path.Base(name)
		known[base] = true
		if _, done := applied[base]; done {
			continue
		}
		if err := runScript(ctx, tx, name); err != nil {
			return err
		}
		if err := remember(ctx, tx, base, digestOf(name)); err != nil {
			return err
		}
	}
	for base := range applied {
		if base != apiName && base != seededName && !known[base] {
			return fmt.Errorf("migration %s: %w", base, ErrNewer)
		}
	}
	return nil
}

// Entries of the table of migrations that are no migration: the digest of all functions, and that the first rows were written once.
const (
	apiName    = "api"
	seededName = "seeded"
)

func replaceFunctions(ctx context.Context, tx pgx.Tx, applied map[string]string) error {
	names, err := fs.Glob(scripts, "sql/api/*.sql")
	if err != nil {
		return err
	}
	digest := digestOf(names...)
	if applied[apiName] == digest {
		return nil
	}
	for _, name := range names {
		if err := runScript(ctx, tx, name); err != nil {
			return err
		}
	}
	return remember(ctx, tx, apiName, digest)
}

func runScript(ctx context.Context, tx pgx.Tx, name string) error {
	text, err := scripts.ReadFile(name)
	if err != nil {
		return err
	}
	// The simple protocol takes a whole script.
	if _, err := tx.Conn().PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
		return fmt.Errorf("run %s: %w", name, err)
	}
	return nil
}

func remember(ctx context.Context, tx pgx.Tx, name, digest string) error {
	_, err := tx.Exec(ctx, `insert into autoctl.migration (name, digest) values ($1, $2)
		on conflict (name) do update set digest = excluded.digest, applied = now()`, name, digest)
	if err != nil {
		return fmt.Errorf("remember migration %s: %w", name, err)
	}
	return nil
}

func digestOf(names ...string) string {
	h := sha256.New()
	for _, name := range names {
		text, err := scripts.ReadFile(name)
		if err != nil {
			panic(err) // embedded: the name came from the same tree
		}
		h.Write([]byte(strings.TrimPrefix(name, "sql/")))
		h.Write(text)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// seed writes what a monitor starts with: default settings (new ones of a newer version are added) and the default formation.
func seed(ctx context.Context, tx pgx.Tx, software string) error {
	defaults, err := json.Marshal(fsm.DefaultSettings())
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	batch.Queue(`insert into autoctl.settings (settings) values ($1::jsonb)
		on conflict (one) do update set settings = excluded.settings || settings.settings`, string(defaults))
	batch.Queue(`insert into autoctl.formation (name, kind, database) select 'default', 'pgsql', 'postgres'
		where not exists (select from autoctl.migration where name = $1)`, seededName)
	batch.Queue(`insert into autoctl.migration (name, digest) values ($1, '') on conflict do nothing`, seededName)
	batch.Queue(`update autoctl.monitor set software = $1`, software)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write first rows: %w", err)
	}
	return nil
}
