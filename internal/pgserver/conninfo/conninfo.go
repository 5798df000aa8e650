// Package conninfo renders libpq connection strings: keyword/value ones for
// primary_conninfo and the command lines of PostgreSQL's tools, and URIs with
// several hosts for applications.
//
// It never parses and never holds a secret by itself: passwords travel by
// passfile or environment (promise P7); Render refuses the keyword password.
package conninfo

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"sort"
	"strconv"
	"strings"
)

// ErrPassword is returned by Render for a keyword that would put a secret into
// a connection string.
var ErrPassword = errors.New("a connection string must not hold a password")

// ErrKeyword is returned for a keyword that libpq could not read back.
var ErrKeyword = errors.New("not a connection keyword")

// ErrNUL is returned for a value with a zero byte, which no connection string
// can carry.
var ErrNUL = errors.New("connection value holds a zero byte")

// Params are connection keywords (host, port, user, dbname, passfile, sslmode,
// application_name, …) with their values, unquoted.
type Params map[string]string

// first orders the keywords that a reader looks for; the others follow by name.
var first = []string{"host", "hostaddr", "port", "user", "dbname", "application_name"}

// Render writes the keyword/value form, deterministically: host, hostaddr,
// port, user, dbname, application_name, then the others by name. Empty values
// are left out, as libpq treats them like absent ones.
func (p Params) Render() (string, error) {
	var parts []string
	for _, k := range p.keys() {
		v := p[k]
		switch {
		case k == "password" || k == "sslpassword":
			return "", fmt.Errorf("render %s: %w", k, ErrPassword)
		case !isKeyword(k):
			return "", fmt.Errorf("render %q: %w", k, ErrKeyword)
		case strings.ContainsRune(v, 0):
			return "", fmt.Errorf("render %s: %w", k, ErrNUL)
		case v != "":
			parts = append(parts, k+"="+Quote(v))
		}
	}
	return strings.Join(parts, " "), nil
}

func (p Params) keys() []string {
	rank := func(k string) int {
		for i, f := range first {
			if f == k {
				return i
			}
		}
		return len(first)
	}
	keys := make([]string, 0, len(p))
	for k := range p {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		a, b := rank(keys[i]), rank(keys[j])
		return a < b || a == b && keys[i] < keys[j]
	})
	return keys
}

func isKeyword(k string) bool {
	for i, r := range k {
		letter := r >= 'a' && r <= 'z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return k != ""
}

// Quote writes one value as libpq's keyword/value form wants it: bare where
// possible, else in single quotes with \' and \\.
func Quote(v string) string {
	if v != "" && !strings.ContainsFunc(v, special) {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

func special(r rune) bool {
	return r == '\'' || r == '\\' || r == '=' || r <= ' ' || r == 0x85 || r == 0xA0 || r == 0x7f
}

// Host is one server of a URI. Name may be a host name, an IPv4 or IPv6
// address (without brackets) or the directory of a Unix socket.
type Host struct {
	Name string
	Port int
}

// Values of target_session_attrs.
const (
	ReadWrite     = "read-write"
	PreferStandby = "prefer-standby"
	Any           = "any"
)

// URI renders postgres://user@h1:p1,h2:p2/dbname?options with the options in
// order of name. Empty user, dbname and option values are left out.
func URI(hosts []Host, user, dbname string, options map[string]string) (string, error) {
	if _, ok := options["password"]; ok {
		return "", fmt.Errorf("render uri: %w", ErrPassword)
	}
	var b strings.Builder
	b.WriteString("postgres://")
	if user != "" {
		b.WriteString(escape(user) + "@")
	}
	for i, h := range hosts {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(net.JoinHostPort(uriHost(h.Name), strconv.Itoa(h.Port)))
	}
	b.WriteString("/" + escape(dbname))
	q := url.Values{}
	for k, v := range options {
		if v != "" {
			q.Set(k, v)
		}
	}
	if len(q) > 0 {
		// libpq decodes %20 and leaves '+' alone.
		b.WriteString("?" + strings.ReplaceAll(q.Encode(), "+", "%20"))
	}
	return b.String(), nil
}

func uriHost(name string) string {
	if strings.Contains(name, ":") && !strings.HasPrefix(name, "/") {
		return name // JoinHostPort adds the brackets of an IPv6 address
	}
	return escape(name)
}

func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
