package local

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long an answer of the resolver is good for rules, and how long it may take.
const (
	resolvedFor    = 30 * time.Second
	resolveTimeout = time.Second
)

// addresses remembers how peers are to be written into pg_hba.conf. PostgreSQL takes a name there only for clients whose address leads back to it by
// a reverse lookup (documentation of pg_hba.conf); where it does not, as in most container networks, the addresses are written. The zero value is
// ready to use.
type addresses struct {
	mu    sync.Mutex
	known map[string]*resolved

	// lookupHost and lookupAddr are the resolver's; nil for the machine's.
	lookupHost, lookupAddr func(context.Context, string) ([]string, error)
}

type resolved struct {
	written []string
	at      time.Time
	asking  bool
}

// of returns what to write for a host. Only the first question about a host waits for the resolver; later ones are answered from memory, and asked
// again in the background, by run, when the answer is old.
func (a *addresses) of(ctx context.Context, host string, run func(func(context.Context))) []string {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}
	}
	a.mu.Lock()
	r := a.known[host]
	if r == nil {
		a.mu.Unlock()
		return a.refresh(ctx, host)
	}
	written, old := r.written, time.Since(r.at) > resolvedFor && !r.asking
	r.asking = r.asking || old
	a.mu.Unlock()
	if old {
		run(func(ctx context.Context) { a.refresh(ctx, host) })
	}
	return written
}

// refresh asks the resolver. Without an answer what was known stays, else the name: PostgreSQL may know better.
func (a *addresses) refresh(ctx context.Context, host string) []string {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	written, ok := a.resolve(ctx, host)
	a.mu.Lock()
	defer a.mu.Unlock()
	if r := a.known[host]; !ok && r != nil {
		r.at, r.asking = time.Now(), false
		return r.written
	}
	if !ok {
		written = []string{host}
	}
	if a.known == nil {
		a.known = map[string]*resolved{}
	}
	a.known[host] = &resolved{written: written, at: time.Now()}
	return written
}

// resolve returns the name alone where all its addresses lead back to it, else the addresses, sorted.
func (a *addresses) resolve(ctx context.Context, host string) ([]string, bool) {
	lookupHost, lookupAddr := a.lookupHost, a.lookupAddr
	if lookupHost == nil {
		lookupHost = net.DefaultResolver.LookupHost
	}
	if lookupAddr == nil {
		lookupAddr = net.DefaultResolver.LookupAddr
	}
	ips, err := lookupHost(ctx, host)
	if err != nil || len(ips) == 0 {
		return nil, false
	}
	back := true
	for i, ip := range ips {
		ips[i], _, _ = strings.Cut(ip, "%") // a zone means something on this machine only
		names, err := lookupAddr(ctx, ips[i])
		back = back && err == nil && slices.ContainsFunc(names, func(name string) bool {
			return strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(host, "."))
		})
	}
	if back {
		return []string{host}, true
	}
	slices.Sort(ips)
	return slices.Compact(ips), true
}

// peerAddresses is how a peer is written into pg_hba.conf.
func (n *Node) peerAddresses(host string) []string {
	return n.addresses.of(n.closing, host, n.spawn)
}
