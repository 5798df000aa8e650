package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// portTaken says in words which of the addresses that the server is to listen on is another program's; empty for none. PostgreSQL starts as long as it
// can bind one of them, and says of the others only in its log: the node would run, and nobody would reach it. Names that do not resolve now are
// PostgreSQL's to complain of. Called only while no server runs.
func (n *Node) portTaken(ctx context.Context) string {
	port := strconv.Itoa(n.config().Port)
	for _, a := range listenAddresses(ctx, n.config().Listen) {
		// The sockets are as PostgreSQL makes them: SO_REUSEADDR, and IPv6 apart from IPv4.
		var listener net.ListenConfig
		l, err := listener.Listen(ctx, a.network, net.JoinHostPort(a.host, port))
		if err == nil {
			_ = l.Close() // nobody has talked to it
			continue
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Sprintf("another program listens on %s", net.JoinHostPort(a.host, port))
		}
	}
	return ""
}

type listenAddress struct{ network, host string }

// lookupPatience bounds the question for the addresses of a name in listen_addresses.
const lookupPatience = time.Second

// listenAddresses returns what listen_addresses stands for, as PostgreSQL reads it.
func listenAddresses(ctx context.Context, setting string) []listenAddress {
	if strings.TrimSpace(setting) == "" {
		setting = "*" // as our files say then
	}
	var out []listenAddress
	for host := range strings.SplitSeq(setting, ",") {
		switch host = strings.TrimSpace(host); {
		case host == "*":
			out = append(out, listenAddress{"tcp4", "0.0.0.0"}, listenAddress{"tcp6", "::"})
		case net.ParseIP(host) != nil:
			out = append(out, listenAddress{network(host), host})
		case host != "":
			ctx, cancel := context.WithTimeout(ctx, lookupPatience)
			found, err := net.DefaultResolver.LookupHost(ctx, host)
			cancel()
			if err != nil {
				continue
			}
			for _, ip := range found {
				out = append(out, listenAddress{network(ip), ip})
			}
		}
	}
	return out
}

func network(ip string) string {
	if strings.Contains(ip, ":") {
		return "tcp6"
	}
	return "tcp4"
}
