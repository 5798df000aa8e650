package tlscert

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var now = time.Date(2030, 5, 4, 12, 0, 0, 0, time.UTC)

func selfSigned(t *testing.T, at time.Time, hosts ...string) Files {
	t.Helper()
	f, err := SelfSigned(t.TempDir(), hosts, at)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSelfSigned(t *testing.T) {
	f := selfSigned(t, now, "node1.example.com", "192.0.2.1", "node1.example.com")
	for _, host := range []string{"node1.example.com", "192.0.2.1", ""} {
		if err := Check(f, host, now); err != nil {
			t.Errorf("Check for %q: %v", host, err)
		}
	}
	if err := Check(f, "", now.Add(-time.Hour)); err != nil {
		t.Errorf("a machine whose clock is an hour behind: %v", err)
	}
	if info, _ := os.Stat(f.Key); info.Mode().Perm() != 0o600 {
		t.Errorf("key has mode %v", info.Mode())
	}
	f.CA = f.Cert // what a client does that pins a self-signed certificate with sslrootcert
	if err := Check(f, "192.0.2.1", now); err != nil {
		t.Errorf("as its own authority: %v", err)
	}
}

func TestSelfSigned_KeepsWhatServes(t *testing.T) {
	dir := t.TempDir()
	read := func(hosts ...string) string {
		f, err := SelfSigned(dir, hosts, now)
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(f.Cert)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	first := read("a.example.com")
	if read("a.example.com") != first {
		t.Error("a usable certificate was replaced")
	}
	if read("b.example.com") == first {
		t.Error("a certificate for another host was kept")
	}
}

func TestCheck_Refuses(t *testing.T) {
	good, other := selfSigned(t, now, "a.example.com"), selfSigned(t, now, "a.example.com")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	exposed := selfSigned(t, now, "a.example.com")
	if err := os.Chmod(exposed.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		files Files
		host  string
		at    time.Time
		want  error
	}{
		{"nothing", Files{}, "", now, ErrIncomplete},
		{"certificate without a key", Files{Cert: good.Cert}, "", now, ErrIncomplete},
		{"key without a certificate", Files{Key: good.Key}, "", now, ErrIncomplete},
		{"missing file", Files{Cert: good.Cert + ".gone", Key: good.Key}, "", now, ErrUnreadable},
		{"missing key file", Files{Cert: good.Cert, Key: good.Key + ".gone"}, "", now, ErrUnreadable},
		{"not a certificate", Files{Cert: text, Key: good.Key}, "", now, ErrNotPEM},
		{"not a key", Files{Cert: good.Cert, Key: text}, "", now, ErrNotPEM},
		{"another key", Files{Cert: good.Cert, Key: other.Key}, "", now, ErrMismatch},
		{"expired", good, "", now.Add(20 * 365 * 24 * time.Hour), ErrExpired},
		{"too early", good, "", now.Add(-48 * time.Hour), ErrNotYetValid},
		{"another host", good, "b.example.com", now, ErrHost},
		{"another authority", Files{CA: other.Cert, Cert: good.Cert, Key: good.Key}, "", now, ErrIssuer},
		{"missing revocation list", Files{Cert: good.Cert, Key: good.Key, CRL: text + ".gone"}, "", now, ErrUnreadable},
		{"not a revocation list", Files{Cert: good.Cert, Key: good.Key, CRL: good.Cert}, "", now, ErrNotPEM},
		{"readable key", exposed, "", now, ErrExposed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Check(tt.files, tt.host, tt.at); !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestHandshake: what SelfSigned makes is accepted by a client that verifies everything.
func TestHandshake(t *testing.T) {
	f := selfSigned(t, time.Now(), "node.example.com", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := readCertificates(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	done := make(chan error, 1)
	go func() {
		done <- tls.Server(server, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	}()
	config := &tls.Config{ServerName: "node.example.com", RootCAs: pool(chain), MinVersion: tls.VersionTLS12}
	if err := tls.Client(client, config).HandshakeContext(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
