// Package tlscert makes self-signed server certificates and checks certificates that users bring.
//
// It only touches the files it is told about. Nothing here ever prints or returns a private key's content (promise P7).
package tlscert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// What can be wrong with a certificate. Every error of Check wraps one of these and names the file.
var (
	ErrIncomplete  = errors.New("certificate and key belong together")
	ErrUnreadable  = errors.New("cannot be read")
	ErrNotPEM      = errors.New("holds no PEM block of the kind expected")
	ErrMismatch    = errors.New("key does not fit the certificate")
	ErrExpired     = errors.New("certificate has expired")
	ErrNotYetValid = errors.New("certificate is not valid yet")
	ErrHost        = errors.New("certificate is for another host")
	ErrIssuer      = errors.New("certificate is not signed by the given authority")
	ErrExposed     = errors.New("key can be read by others")
)

// Files names the PEM files of one server. CA and CRL may be empty.
type Files struct {
	CA   string
	CRL  string
	Cert string
	Key  string
}

// lifetime and skew bound a self-signed certificate: it begins a day early, so that a machine whose clock is behind accepts
// it, and lasts ten years, because nobody is reminded to renew what was made silently.
const (
	lifetime = 10 * 365 * 24 * time.Hour
	skew     = 24 * time.Hour
)

// SelfSigned writes server.crt and server.key (mode 0600) into dir, for the given host names and addresses, and returns their
// paths. The first host becomes the common name. A usable pair for the same hosts that is already there is kept: clients may
// have pinned it.
func SelfSigned(dir string, hosts []string, now time.Time) (Files, error) {
	f := Files{Cert: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}
	hosts = unique(hosts)
	if len(hosts) == 0 {
		return Files{}, errors.New("make self-signed certificate: no host name given")
	}
	if usable(f, hosts, now) {
		return f, nil
	}
	cert, key, err := generate(hosts, now)
	if err != nil {
		return Files{}, fmt.Errorf("make self-signed certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("make directory of self-signed certificate: %w", err)
	}
	// The key first: a certificate without its key is worse than a key without its certificate, which is made again.
	if err := renameio.WriteFile(f.Key, key, 0o600, renameio.IgnoreUmask()); err != nil {
		return Files{}, fmt.Errorf("write key: %w", err)
	}
	if err := renameio.WriteFile(f.Cert, cert, 0o644, renameio.IgnoreUmask()); err != nil {
		return Files{}, fmt.Errorf("write certificate: %w", err)
	}
	return f, nil
}

func usable(f Files, hosts []string, now time.Time) bool {
	for _, h := range hosts {
		if Check(f, h, now) != nil {
			return false
		}
	}
	return true
}

func unique(hosts []string) []string {
	var out []string
	for _, h := range hosts {
		if h = strings.TrimSpace(h); h != "" && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

func generate(hosts []string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	name := hosts[0]
	if len(name) > 64 { // the upper bound of a common name in X.520
		name = name[:64]
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-skew).UTC(),
		NotAfter:              now.Add(lifetime).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	return cert, key, nil
}

// Check returns nil when PostgreSQL could use the files on host at now: both are there, the key is private and fits, the
// certificate is valid in time, names the host (unless host is empty), and chains to the CA where one is given.
func Check(f Files, host string, now time.Time) error {
	switch {
	case f.Cert == "" && f.Key == "":
		return fmt.Errorf("check certificate: %w: neither is given", ErrIncomplete)
	case f.Key == "":
		return fmt.Errorf("check certificate %s: %w: its key is missing", f.Cert, ErrIncomplete)
	case f.Cert == "":
		return fmt.Errorf("check key %s: %w: its certificate is missing", f.Key, ErrIncomplete)
	}
	chain, err := readCertificates(f.Cert)
	if err != nil {
		return err
	}
	if err := checkKey(f, chain[0]); err != nil {
		return err
	}
	if err := checkLeaf(f.Cert, chain[0], host, now); err != nil {
		return err
	}
	if err := checkIssuer(f, chain, now); err != nil {
		return err
	}
	return CheckTrust(f)
}

// CheckTrust returns nil when PostgreSQL could read the authorities' certificates and the revocation list, where they are given:
// with one that it cannot read it does not start.
func CheckTrust(f Files) error {
	if f.CA != "" {
		if _, err := readCertificates(f.CA); err != nil {
			return err
		}
	}
	if f.CRL == "" {
		return nil
	}
	content, err := os.ReadFile(f.CRL)
	if err != nil {
		return fmt.Errorf("check revocation list: %w: %w", ErrUnreadable, err)
	}
	block, _ := pem.Decode(content)
	if block == nil || block.Type != "X509 CRL" {
		return fmt.Errorf("check revocation list %s: %w (X509 CRL)", f.CRL, ErrNotPEM)
	}
	if _, err := x509.ParseRevocationList(block.Bytes); err != nil {
		return fmt.Errorf("check revocation list %s: %w: %w", f.CRL, ErrNotPEM, err)
	}
	return nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("check certificate: %w: %w", ErrUnreadable, err)
	}
	var chain []*x509.Certificate
	for len(content) > 0 {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("check certificate %s: %w: %w", path, ErrNotPEM, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("check certificate %s: %w (CERTIFICATE)", path, ErrNotPEM)
	}
	return chain, nil
}

// checkKey holds the key to what PostgreSQL asks of it: not readable by others, by the group only when root owns it.
func checkKey(f Files, leaf *x509.Certificate) error {
	info, err := os.Stat(f.Key)
	if err != nil {
		return fmt.Errorf("check key: %w: %w", ErrUnreadable, err)
	}
	if info.Mode().Perm()&0o037 != 0 {
		return fmt.Errorf("check key %s: %w: its mode is %04o, PostgreSQL wants 0600", f.Key, ErrExposed, info.Mode().Perm())
	}
	content, err := os.ReadFile(f.Key)
	if err != nil {
		return fmt.Errorf("check key: %w: %w", ErrUnreadable, err)
	}
	pub := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	pair, err := tls.X509KeyPair(pub, content)
	if err != nil {
		if strings.Contains(err.Error(), "does not match") {
			return fmt.Errorf("check %s and %s: %w", f.Cert, f.Key, ErrMismatch)
		}
		return fmt.Errorf("check key %s: %w (PRIVATE KEY)", f.Key, ErrNotPEM)
	}
	if _, ok := pair.PrivateKey.(crypto.Signer); !ok {
		return fmt.Errorf("check key %s: %w (PRIVATE KEY)", f.Key, ErrNotPEM)
	}
	return nil
}

func checkLeaf(path string, leaf *x509.Certificate, host string, now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("check certificate %s: %w on %s", path, ErrExpired, leaf.NotAfter.Format(day))
	}
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("check certificate %s: %w before %s", path, ErrNotYetValid, leaf.NotBefore.Format(day))
	}
	if host == "" || leaf.VerifyHostname(host) == nil {
		return nil
	}
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return fmt.Errorf("check certificate %s: %w: it names no host (no subject alternative name), wanted %q", path, ErrHost, host)
	}
	return fmt.Errorf("check certificate %s: %w: it names %s, wanted %q", path, ErrHost, strings.Join(names, ", "), host)
}

func checkIssuer(f Files, chain []*x509.Certificate, now time.Time) error {
	if f.CA == "" {
		return nil
	}
	authorities, err := readCertificates(f.CA)
	if err != nil {
		return err
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: pool(authorities), Intermediates: pool(chain[1:]), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("check certificate %s against %s: %w: %w", f.Cert, f.CA, ErrIssuer, err)
	}
	return nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
