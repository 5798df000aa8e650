package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lookupTimeout bounds each question to the resolver.
const lookupTimeout = 2 * time.Second

// DiscoverHost finds under which name or address others reach this machine: the
// address from which it talks to the monitor, or the name of that address if
// the name leads back to it. Nothing is sent but questions to the machine's own
// resolver.
func DiscoverHost(ctx context.Context, monitorHost string, monitorPort int) (string, error) {
	// Connecting a datagram socket chooses a route and sends nothing.
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", net.JoinHostPort(monitorHost, strconv.Itoa(monitorPort)))
	if err != nil {
		return "", refuse(CodeHost, err, "give this machine's own name or address with --hostname",
			"find the address from which this machine reaches the monitor %s: %v", monitorHost, err)
	}
	local := conn.LocalAddr().(*net.UDPAddr).IP
	_ = conn.Close() // nothing was sent
	if local.IsLoopback() {
		return local.String(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	names, err := net.DefaultResolver.LookupAddr(ctx, local.String())
	if err != nil {
		return local.String(), nil // the address does as well
	}
	for _, name := range names {
		name = strings.TrimSuffix(name, ".")
		if leadsTo(ctx, name, local) {
			return name, nil
		}
	}
	return local.String(), nil
}

func leadsTo(ctx context.Context, name string, want net.IP) bool {
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	return err == nil && slices.Contains(addrs, want.String())
}

// checkHost makes sure that a name resolves here, at least.
func checkHost(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if net.ParseIP(host) != nil {
		return nil
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		return refuse(CodeHost, err, "add it to the name service or to /etc/hosts, or give an address with --hostname",
			"host name %q does not resolve", host)
	}
	return nil
}

// checkPort makes sure that nobody listens on the port yet.
func checkPort(ctx context.Context, port int) error {
	var listener net.ListenConfig
	l, err := listener.Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		hint := "stop what listens there, or choose another port with --pgport"
		if errors.Is(err, syscall.EACCES) {
			hint = "choose a port that this user may use with --pgport: those below 1024 are root's"
		}
		return refuse(CodePort, err, hint, "port %d cannot be used: %v", port, err)
	}
	return l.Close()
}

// CheckSocket refuses a directory in which PostgreSQL could not make its Unix
// socket.
func CheckSocket(cfg Config) error {
	dir := SocketDir(cfg)
	const hint = "make it for this user, or choose another one with --pghost"
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err == nil {
		err = unix.Access(dir, unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return refuse(CodeSetup, err, hint, "socket directory %s cannot be used: %v", dir, err)
	}
	var longest unix.RawSockaddrUnix
	if path := fmt.Sprintf("%s/.s.PGSQL.%d", dir, cfg.Port); len(path) >= len(longest.Path) {
		return refuse(CodeSetup, nil, "choose a shorter one with --pghost",
			"socket directory %s cannot be used: the path of a socket has at most %d bytes, %s has %d", dir, len(longest.Path)-1, path, len(path))
	}
	return nil
}
