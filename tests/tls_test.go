package tests

import (
	stdcontext "context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/tests/cluster"
	"github.com/autoctl/autoctl/tests/ledger"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// File is its certificate, which everybody may read; Dir is where.
	File, Dir string
	serial    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir, err := os.MkdirTemp("", "autoctl-ca-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, Dir: dir, File: filepath.Join(dir, "ca.crt")}
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.File, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns a certificate and its key, as PEM, for a name and addresses.
func (a *authority) issue(name string, until time.Duration, hosts ...string) (cert, key string) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(until),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// server gives a node a certificate of its own and returns the options for it.
func (a *authority) server(n *cluster.Node, mode string) []string {
	a.t.Helper()
	cert, key := a.issue(n.Addr, time.Hour, n.Addr)
	return []string{
		"--ssl-ca-file", a.File, "--ssl-mode", mode,
		"--server-cert", n.WriteFile("server.pem", cert, 0o644), "--server-key", n.WriteFile("server.key", key, 0o600),
	}
}

// encrypted asserts that the servers have TLS on, that standbys stream over it,
// and that everything that names an sslmode names this one.
func encrypted(t *testing.T, c *cluster.Cluster, mode string, nodes ...*cluster.Node) {
	t.Helper()
	for _, n := range nodes {
		if got := n.SQL("show ssl"); got[0] != "on" {
			t.Errorf("ssl of %s is %s", n.Name, got[0])
		}
		source := n.SQL("select setting from pg_settings where name = 'primary_conninfo'")[0]
		if source != "" && !strings.Contains(source, "sslmode="+mode) && !strings.Contains(source, "sslmode='"+mode+"'") {
			t.Errorf("%s follows without sslmode %s: %s", n.Name, mode, source)
		}
	}
	c.Await(patience, "the standbys stream over TLS", func(stdcontext.Context) error {
		rows, err := c.PrimaryNode().TrySQL("select application_name, ssl from pg_stat_replication join pg_stat_ssl using (pid) where application_name like 'autoctl_standby%'")
		if err != nil {
			return err
		}
		for _, row := range rows {
			if !strings.HasSuffix(row, "|t") {
				return fmt.Errorf("without TLS: %v", rows)
			}
		}
		if len(rows) != len(nodes)-1 {
			return fmt.Errorf("%d standbys stream", len(rows))
		}
		return nil
	})
	mentions(t, nodes[0].Autoctl("show", "uri"), "sslmode="+mode)
	for _, n := range nodes {
		lines, err := n.HBABlock()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			if strings.Contains(line, "autoctl_replicator") && !strings.HasPrefix(line, "hostssl ") {
				t.Errorf("%s lets the replication role in without TLS: %s", n.Name, line)
			}
		}
	}
}

// socketDir is where servers put their sockets by themselves.
func socketDir() string { return "/var/run/postgresql" }

// monitorSSL is what the monitor's server says of ssl.
func monitorSSL(t *testing.T, c *cluster.Cluster) string {
	t.Helper()
	out := c.Monitor.MustRun(t, "psql", "-AtX", "-h", socketDir(), "-p", fmt.Sprint(c.Monitor.Port), "-d", "postgres", "-c", "show ssl")
	return strings.TrimSpace(out.Stdout)
}

// pair makes n1 and n2, with a writer that comes by the URI's options given.
func pair(t *testing.T, c *cluster.Cluster, options string) (n1, n2 *cluster.Node, w *ledger.Writer) {
	t.Helper()
	n1 = c.Add("n1")
	c.Wait(patience, cluster.States{"n1": cluster.Single})
	n1.AdmitSuperuser()
	n2 = c.Add("n2")
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	w = c.WriterOf(ledger.Config{URI: fmt.Sprintf("postgresql://%s@%s:%d,%s:%d/postgres?%s", n1.User(), n1.Addr, n1.Port, n2.Addr, n2.Port, options)})
	return n1, n2, w
}

// TestTLSSelfSigned runs a pair with certificates that autoctl makes.
func TestTLSSelfSigned(t *testing.T) {
	t.Parallel()
	c := cluster.NewWith(t, cluster.Setup{
		Options: "sslmode=require",
		Flags:   func(*cluster.Node) []string { return []string{"--auth", "trust", "--ssl-self-signed"} },
	})
	n1, n2, w := pair(t, c, "sslmode=require")
	if got := monitorSSL(t, c); got != "on" {
		t.Errorf("ssl of the monitor is %s", got)
	}
	encrypted(t, c, "require", n1, n2)
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	encrypted(t, c, "require", n2, n1)
	diverge(t, n2)
	c.Writes(w, patience)
	n2.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	encrypted(t, c, "require", n1, n2)
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})

	t.Log("without TLS nobody comes in as a role of autoctl's")
	plain := strings.Replace(c.MonitorURI(), "require", "disable", 1)
	said := c.Monitor.Refused(cluster.ExitAuth, "show", "state", "--monitor", plain)
	mentions(t, said, "autoctl_node", "sslmode=require")
}

// TestTLSVerifyFull runs a pair with certificates of an authority: everybody
// checks that who answers is who was meant, and the nodes prove by certificate
// who they are. (TestAuthPasswords checks the authority alone.)
func TestTLSVerifyFull(t *testing.T) {
	t.Parallel()
	const mode = "verify-full"
	a := newAuthority(t)
	cert, key := a.issue("autoctl_node", time.Hour)
	for name, content := range map[string]string{"client.crt": cert, "client.key": key} {
		if err := os.WriteFile(filepath.Join(a.Dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := cluster.NewWith(t, cluster.Setup{
		Options: "sslmode=verify-full&sslrootcert=" + a.File +
			"&sslcert=" + filepath.Join(a.Dir, "client.crt") + "&sslkey=" + filepath.Join(a.Dir, "client.key"),
		Flags: func(n *cluster.Node) []string { return append([]string{"--auth", "cert"}, a.server(n, mode)...) },
	})
	n1, n2, w := pair(t, c, "sslmode=verify-full&sslrootcert="+a.File)
	if got := monitorSSL(t, c); got != "on" {
		t.Errorf("ssl of the monitor is %s", got)
	}
	encrypted(t, c, mode, n1, n2)
	c.Failover()
	c.Wait(patience, cluster.States{"n2": cluster.Primary, "n1": cluster.Secondary})
	encrypted(t, c, mode, n2, n1)
	diverge(t, n2)
	c.Writes(w, patience)
	n2.Restart()
	c.Wait(patience, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	encrypted(t, c, mode, n1, n2)
	c.Finish(w, cluster.States{"n1": cluster.Primary, "n2": cluster.Secondary})
	for _, n := range []*cluster.Node{c.Monitor, n1, n2} {
		if got := strings.TrimSpace(n.Autoctl("config", "get", "ssl.mode")); got != mode {
			t.Errorf("ssl.mode of %s is %q", n.Name, got)
		}
	}
}
