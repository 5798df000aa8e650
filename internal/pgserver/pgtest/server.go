package pgtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/conninfo"
	"github.com/jackc/pgx/v5"
)

// Server is one PostgreSQL server of a test. Its methods fail the test they
// were created with.
type Server struct {
	Binaries  pgserver.Binaries
	DataDir   string
	SocketDir string
	Port      int
	LogFile   string
	// Params are the contents of the include file; change them and call Write.
	Params conf.Params
	// Process is the running or last server; nil before the first Start.
	Process *pgserver.Process

	t testing.TB
}

// New makes a stopped server from the template, configured with small buffers,
// without fsync, and with params.
func New(t testing.TB, params conf.Params) *Server {
	t.Helper()
	s := empty(t)
	CopyTemplate(t, s.DataDir)
	s.configure(params)
	return s
}

// NewStarted is New and Start.
func NewStarted(t testing.TB, params conf.Params) *Server {
	t.Helper()
	s := New(t, params)
	s.Start()
	return s
}

// empty is a server without a data directory.
func empty(t testing.TB) *Server {
	t.Helper()
	b := Binaries(t)
	dir := TempDir(t)
	s := &Server{
		Binaries: b, DataDir: filepath.Join(dir, "data"), SocketDir: dir, Port: FreePort(t),
		LogFile: filepath.Join(dir, "log"), t: t,
	}
	guard(t, s.DataDir, dir)
	t.Cleanup(s.cleanup)
	return s
}

func (s *Server) cleanup() {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if s.t.Failed() && s.Process != nil {
		s.t.Logf("end of the log of the server on port %d:\n%s", s.Port, s.Process.LogTail(4<<10))
	}
	// Whoever started a server on the directory, it ends here.
	p, err := pgserver.Adopt(s.DataDir)
	if err == nil {
		err = errors.Join(p.Kill(ctx), p.Close())
	} else {
		_, err = pgserver.EndRemains(ctx, s.DataDir)
	}
	if s.Process != nil {
		err = errors.Join(err, s.Process.Close())
	}
	if err != nil && !errors.Is(err, pgserver.ErrNotRunning) {
		s.t.Error(err)
	}
}

func (s *Server) configure(params conf.Params) {
	s.t.Helper()
	s.Params = conf.Params{
		"listen_addresses":            "127.0.0.1",
		"port":                        strconv.Itoa(s.Port),
		"unix_socket_directories":     s.SocketDir,
		"fsync":                       "off",
		"shared_buffers":              "8MB",
		"max_connections":             "40",
		"logging_collector":           "off",
		"log_line_prefix":             "%m [%p] %a ",
		"wal_retrieve_retry_interval": "200ms",
	}
	maps.Copy(s.Params, params)
	s.Write()
}

// Write writes Params into the include file and sees to its inclusion.
func (s *Server) Write() {
	s.t.Helper()
	if _, err := conf.WriteInclude(s.DataDir, s.Params); err != nil {
		s.t.Fatal(err)
	}
	if _, err := conf.EnsureInclude(filepath.Join(s.DataDir, "postgresql.conf"), conf.FileName); err != nil {
		s.t.Fatal(err)
	}
}

// Start starts the server and waits until it accepts connections.
func (s *Server) Start() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Timeout)
	defer cancel()
	if s.Process != nil {
		if err := s.Process.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	p, err := pgserver.Start(ctx, s.Binaries, pgserver.StartConfig{DataDir: s.DataDir, LogFile: s.LogFile})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Process = p
	if _, err := p.WaitReady(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// Stop stops the server.
func (s *Server) Stop(mode pgserver.StopMode) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := s.Process.Stop(ctx, mode); err != nil {
		s.t.Fatal(err)
	}
}

// Kill ends the server and all its processes with SIGKILL.
func (s *Server) Kill() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := s.Process.Kill(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// Reload makes the server read its files again.
func (s *Server) Reload() {
	s.t.Helper()
	if err := s.Process.Reload(); err != nil {
		s.t.Fatal(err)
	}
}

// Conninfo is a connection string over TCP as superuser to database postgres,
// for libpq and for pgx.
func (s *Server) Conninfo() string {
	text, err := conninfo.Params{
		"host": "127.0.0.1", "port": strconv.Itoa(s.Port), "user": "postgres", "dbname": "postgres", "sslmode": "disable",
	}.Render()
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// Connect opens a session over TCP, closed when the test ends.
func (s *Server) Connect() *pgx.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Conninfo())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Exec runs SQL (several statements are allowed) in a session of its own.
func (s *Server) Exec(sql string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Conninfo())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// Query returns the first column of the first row as text, in a session of its
// own.
func (s *Server) Query(sql string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), Timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.Conninfo())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	res, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	if len(res) == 0 || len(res[0].Rows) == 0 {
		s.t.Fatalf("%s: no row", sql)
	}
	return string(res[0].Rows[0][0])
}

// Standby makes a started standby that streams from s under the given
// application_name through a slot of that name, with params added to s's.
func (s *Server) Standby(name string, params conf.Params) *Server {
	s.t.Helper()
	n := empty(s.t)
	ctx, cancel := context.WithTimeout(s.t.Context(), Timeout)
	defer cancel()
	_, err := s.Binaries.Run(ctx, pgserver.Tool{Name: "pg_basebackup", Args: []string{
		"--pgdata=" + n.DataDir, "--dbname=" + s.Conninfo(), "--checkpoint=fast", "--no-sync",
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.Exec(fmt.Sprintf("select pg_create_physical_replication_slot('%s', true)", name))
	all := maps.Clone(params)
	if all == nil {
		all = conf.Params{}
	}
	all["primary_conninfo"] = s.Conninfo() + " application_name=" + name
	all["primary_slot_name"] = name
	n.configure(all)
	if _, err := pgserver.SetStandbySignal(n.DataDir); err != nil {
		s.t.Fatal(err)
	}
	n.Start()
	return n
}
