package hba

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Render writes the rule as one line without its end.
func (r Rule) Render() (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	fields := []string{r.Type, names(r.Databases), names(r.Users)}
	if r.Type != Local {
		fields = append(fields, address(r.Address))
	}
	fields = append(fields, r.Method)
	for _, o := range r.Options {
		fields = append(fields, quote(o.Name+"="+o.Value))
	}
	line := strings.Join(fields, " ")
	if strings.ContainsAny(line, "\n\r\x00") {
		return "", fmt.Errorf("%w: a value spans lines", ErrRule)
	}
	return line, nil
}

var (
	methodName = regexp.MustCompile(`^[a-z0-9-]+$`)
	hostName   = regexp.MustCompile(`^\.?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$`)
)

func (r Rule) check() error {
	switch {
	case r.Type != Local && r.Type != Host && r.Type != HostSSL && r.Type != HostNoSSL && r.Type != HostGSSEnc && r.Type != HostNoGSS:
		return fmt.Errorf("%w: connection type %q", ErrRule, r.Type)
	case len(r.Databases) == 0 || len(r.Users) == 0:
		return fmt.Errorf("%w: no database or no user", ErrRule)
	case (r.Type == Local) != (r.Address == ""):
		return fmt.Errorf("%w: address %q for type %s", ErrRule, r.Address, r.Type)
	case r.Address != "" && !validAddress(r.Address):
		return fmt.Errorf("%w: address %q", ErrRule, r.Address)
	case !methodName.MatchString(r.Method):
		return fmt.Errorf("%w: method %q", ErrRule, r.Method)
	}
	for _, o := range r.Options {
		if o.Name == "" || strings.ContainsAny(o.Name, "= \t\"") {
			return fmt.Errorf("%w: option %q", ErrRule, o.Name)
		}
	}
	return nil
}

func validAddress(a string) bool {
	if _, err := netip.ParsePrefix(a); err == nil {
		return true
	}
	if ip, err := netip.ParseAddr(a); err == nil {
		return ip.Zone() == ""
	}
	return hostName.MatchString(a)
}

// address gives a single address its full mask, which pg_hba.conf wants.
func address(a string) string {
	ip, err := netip.ParseAddr(a)
	if err != nil {
		return a
	}
	return netip.PrefixFrom(ip, ip.BitLen()).String()
}

func names(list []string) string {
	out := make([]string, len(list))
	for i, n := range list {
		if n == All || n == Replication {
			out[i] = n
			continue
		}
		// "+role" keeps its meaning within quotes only up to version 15; the
		// sign outside works nowhere else than at the start.
		if role, ok := strings.CutPrefix(n, "+"); ok && bare.MatchString(role) {
			out[i] = n
			continue
		}
		out[i] = quote(n)
	}
	return strings.Join(out, ",")
}

var (
	bare     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.=/:-]*$`)
	keywords = map[string]bool{"all": true, "replication": true, "sameuser": true, "samerole": true, "samegroup": true}
)

// quote writes a token so that it is taken literally. Quotes inside are
// doubled.
func quote(s string) string {
	if bare.MatchString(s) && !keywords[strings.ToLower(s)] {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
