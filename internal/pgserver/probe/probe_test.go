package probe

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// serve answers one connection with the given bytes once it has read a startup
// packet, and returns where.
func serve(t *testing.T, answer []byte) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1000))
		_, _ = c.Write(answer)
		if answer == nil {
			return
		}
		_, _ = c.Read(make([]byte, 1000)) // until the client leaves
	}()
	return Target{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}
}

func errorPacket(t *testing.T, code, message string) []byte {
	t.Helper()
	b, err := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswers(t *testing.T) {
	sasl, err := (&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		answer []byte
		want   Status
	}{
		{"asks for a password", sasl, Alive},
		{"rejects", errorPacket(t, "28000", "no pg_hba.conf entry"), Alive},
		{"no such database", errorPacket(t, "3D000", "x"), Alive},
		{"full", errorPacket(t, "53300", "sorry, too many clients already"), Full},
		{"starting", errorPacket(t, "57P03", "the database system is starting up"), Starting},
		{"not consistent", errorPacket(t, "57P03", "the database system is not yet accepting connections"), Starting},
		{"stopping", errorPacket(t, "57P03", "the database system is shutting down"), Stopping},
		{"admin shutdown", errorPacket(t, "57P01", "terminating connection"), Stopping},
		{"cannot fork", []byte("Ecould not fork new process for connection: x\n\x00"), Broken},
		{"hangs up", nil, Broken},
		{"ssh", []byte("SSH-2.0-OpenSSH_9.2\r\n"), NotPostgreSQL},
		{"http", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), NotPostgreSQL},
		{"a bad length", []byte{'R', 0, 0, 0, 1, 0}, NotPostgreSQL},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			target := serve(t, tc.answer)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r := Probe(ctx, target)
			if r.Status != tc.want || !r.Connected {
				t.Errorf("%+v, want %s", r, tc.want)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	for _, target := range []Target{{Host: "127.0.0.1", Port: port}, {Host: t.TempDir(), Port: 1}} {
		if r := Probe(t.Context(), target); r.Status != Refused || r.Connected || r.Err == nil {
			t.Errorf("%v: %+v", target, r)
		}
	}
}

// A listener whose process never accepts, as a suspended postmaster.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := Probe(ctx, Target{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port})
	if r.Status != Timeout || !r.Connected || r.RTT > 500*time.Millisecond {
		t.Errorf("%+v", r)
	}
}

func TestUnixSocketOfASilentServer(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "ac-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf(".s.PGSQL.%d", 7)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if r := Probe(ctx, Target{Host: dir, Port: 7}); r.Status != Timeout || !r.Connected {
		t.Errorf("%+v", r)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("E\x00\x00\x00\x09C57P03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, err := readMessage(bytes.NewReader(data))
		if err == nil && kind == 'E' {
			errorAnswer(body)
		}
	})
}
