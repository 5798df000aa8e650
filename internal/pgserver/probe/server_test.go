package probe_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/autoctl/autoctl/internal/pgserver/probe"
)

func ask(t *testing.T, target probe.Target) probe.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return probe.Probe(ctx, target)
}

// noise returns what the server logged about sessions since it started.
func noise(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	log, err := os.ReadFile(s.LogFile)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(log), "ready to accept connections\n")
	return after
}

func TestServer(t *testing.T) {
	s := pgtest.NewStarted(t, conf.Params{"password_encryption": "scram-sha-256"})
	targets := []probe.Target{{Host: "127.0.0.1", Port: s.Port}, {Host: s.SocketDir, Port: s.Port}}
	for _, target := range targets {
		if r := ask(t, target); r.Status != probe.Alive || r.Err != nil {
			t.Errorf("trust: %+v", r)
		}
	}
	password := hba.Block{Rules: []hba.Rule{{Type: hba.Host, Databases: []string{hba.All}, Users: []string{"nobody"}, Address: "all", Method: "scram-sha-256"}}}
	if _, err := password.Write(filepath.Join(s.DataDir, "pg_hba.conf")); err != nil {
		t.Fatal(err)
	}
	s.Reload()
	target := targets[0]
	target.User = "nobody" // who does not exist: PostgreSQL asks for a password all the same
	for range 20 {
		if r := ask(t, target); r.Status != probe.Alive {
			t.Errorf("password: %+v", r)
		}
	}
	s.Stop(pgserver.StopFast)
	for l := range strings.SplitSeq(noise(t, s), "\n") {
		if strings.Contains(l, "canceling authentication") {
			continue // the shutdown met the last probe's process before that had noticed our leave
		}
		if strings.Contains(l, "FATAL") || strings.Contains(l, "ERROR") || strings.Contains(l, "could not") {
			t.Errorf("a probe left a trace: %s", l)
		}
	}
	if r := ask(t, target); r.Status != probe.Refused {
		t.Errorf("stopped: %+v", r)
	}
}

func TestS18_FullServerIsAlive(t *testing.T) {
	s := pgtest.NewStarted(t, conf.Params{"max_connections": "4", "superuser_reserved_connections": "0", "max_wal_senders": "0", "wal_level": "minimal"})
	for range 4 {
		s.Connect()
	}
	if r := ask(t, probe.Target{Host: "127.0.0.1", Port: s.Port}); r.Status != probe.Full || !r.Status.Serving() {
		t.Errorf("%+v", r)
	}
}

func TestSuspendedPostmaster(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	if err := s.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if r := probe.Probe(ctx, probe.Target{Host: "127.0.0.1", Port: s.Port}); r.Status != probe.Timeout || !r.Connected {
		t.Errorf("%+v", r)
	}
}

// A smart shutdown that waits for a client refuses others.
func TestStoppingServer(t *testing.T) {
	s := pgtest.NewStarted(t, nil)
	s.Connect()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for {
		r := ask(t, probe.Target{Host: "127.0.0.1", Port: s.Port})
		if r.Status == probe.Stopping {
			return
		}
		if r.Status != probe.Alive {
			t.Fatalf("%+v", r)
		}
	}
}
