package monitor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/internal/tlscert"
)

// entries lists a directory, to see that nothing was changed in it.
func entries(t testing.TB, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return fmt.Sprint(list)
}

// TestCreate_Refuses: what is in the way is named, and nothing is changed.
func TestCreate_Refuses(t *testing.T) {
	write := func(t testing.TB, path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(*bench){
		"something else in the directory": func(b *bench) { write(b.t, filepath.Join(b.c.DataDir, "letter"), "dear") },
		"another version":                 func(b *bench) { write(b.t, filepath.Join(b.c.DataDir, "PG_VERSION"), "9.6\n") },
		"a PostgreSQL that is no monitor": func(b *bench) { pgtest.CopyTemplate(b.t, b.c.DataDir) },
		"port in use": func(b *bench) {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.c.Port))
			if err != nil {
				b.t.Fatal(err)
			}
			b.t.Cleanup(func() { l.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			spoil(b)
			before := entries(t, b.c.DataDir)
			err := Create(t.Context(), b.c)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Hint == "" {
				t.Errorf("got %v, want a refusal with a hint", err)
			}
			if after := entries(t, b.c.DataDir); after != before {
				t.Errorf("the directory was changed: %s, then %s", before, after)
			}
			if _, err := os.Stat(b.c.StateDir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the state directory was made: %v", err)
			}
		})
	}
}

func TestConfig_Validate(t *testing.T) {
	err := Config{DataDir: "/d", StateDir: "/d/state", Port: 70000, Auth: "md5", TLS: TLS{CertFile: "c"}}.Validate()
	for _, want := range []string{"inside the data directory", "70000", "md5", "belong together"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestCreate_Again: creating is idempotent, leaves no server running, and begins incarnation 1.
func TestCreate_Again(t *testing.T) {
	b := newBench(t)
	for range 2 {
		if err := Create(t.Context(), b.c); err != nil {
			t.Fatal(err)
		}
		if _, err := pgserver.Adopt(b.c.DataDir); !errors.Is(err, pgserver.ErrNotRunning) {
			t.Errorf("got %v, want no server", err)
		}
	}
	b.start()
	h, err := b.dial().Hello(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(monitorapi.Hello{Protocol: monitorapi.Protocol, Software: "test", Incarnation: 1}, h); diff != "" {
		t.Error(diff)
	}
}

// TestCreate_Interrupted: whenever it is interrupted, creating again goes on.
func TestCreate_Interrupted(t *testing.T) {
	b := newBench(t)
	began := time.Now()
	for wait := 60 * time.Millisecond; ; wait *= 3 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		err := Create(ctx, b.c)
		cancel()
		if err == nil {
			break
		}
		if time.Since(began) > pgtest.Timeout {
			t.Fatal(err)
		}
	}
	b.start()
	if list, err := b.dial().Formations(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("got %v, %v, want the default formation", list, err)
	}
}

// TestPasswords: P7 and least privilege. With TLS and passwords nobody comes in without both, and the password is in no log.
func TestPasswords(t *testing.T) {
	b := newBench(t)
	const secret = `it's a "secret" \ word`
	files, err := tlscert.SelfSigned(pgtest.TempDir(t), []string{"localhost", "127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.c.Auth, b.c.NodePassword, b.c.LeaveRunning = AuthSCRAM, secret, true
	b.c.TLS = TLS{CertFile: files.Cert, KeyFile: files.Key}
	b.c.Parameters["log_statement"] = "all"
	if err := Create(t.Context(), b.c); err != nil {
		t.Fatal(err)
	}
	if p, err := pgserver.Adopt(b.c.DataDir); err != nil {
		t.Errorf("the server does not run: %v", err)
	} else {
		p.Close()
	}
	b.start()
	uri := fmt.Sprintf("postgres://autoctl_node@localhost:%d/autoctl?sslmode=", b.c.Port)
	t.Setenv("PGPASSWORD", secret)
	secure := uri + "verify-full&sslrootcert=" + files.Cert
	client, err := monitorapi.New(secure, monitorapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b.eventually("the monitor answers", func() bool { _, err = client.Hello(t.Context()); return err == nil })
	_, err = monitorapi.Dial(t.Context(), uri+"disable", monitorapi.Options{})
	wantCode(t, err, monitorapi.CodeAuth)
	t.Setenv("PGPASSWORD", "wrong")
	_, err = monitorapi.Dial(t.Context(), secure, monitorapi.Options{})
	wantCode(t, err, monitorapi.CodeAuth)
	t.Setenv("PGPASSWORD", "")
	_, err = monitorapi.Dial(t.Context(), secure, monitorapi.Options{})
	wantCode(t, err, monitorapi.CodeAuth)
	log, err := os.ReadFile(filepath.Join(b.c.StateDir, "postgresql.log"))
	if err != nil || strings.Contains(string(log), "secret") || !strings.Contains(string(log), "autoctl.migration") {
		t.Errorf("the server's log holds the password, or no statements (%v)", err)
	}
}

// TestCreate_Newer: a database that a newer autoctl has migrated is left alone.
func TestCreate_Newer(t *testing.T) {
	b := newBench(t)
	b.c.LeaveRunning = true
	if err := Create(t.Context(), b.c); err != nil {
		t.Fatal(err)
	}
	conn := b.super()
	if _, err := conn.Exec(t.Context(), "insert into autoctl.migration (name, digest) values ('9999_future.sql', '')"); err != nil {
		t.Fatal(err)
	}
	if err := Create(t.Context(), b.c); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v, want %v", err, ErrNewer)
	}
	s, err := New(b.c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); !errors.Is(err, ErrNewer) {
		t.Errorf("got %v, want %v", err, ErrNewer)
	}
}
