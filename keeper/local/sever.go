package local

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Sever shuts the TCP connections that processes of this node's server have to an address, and says how many there were: each process finds its connection closed, and goes on.
// It is for a host that says nothing any more: a process that has asked it something waits for as long as the kernel does, and one that is told to end first asks it to cancel,
// with a connection that nothing interrupts, while it keeps its locks. The server's processes run as this process's user, of whom the kernel lets us do that unless it was
// told not to (ptrace_scope, seccomp); that is the error then.
func (n *Node) Sever(ctx context.Context, host string, port int) (int, error) {
	p := n.process()
	if p == nil {
		return 0, nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return 0, fmt.Errorf("sever connections to %s: %w", host, err)
	}
	var peers []netip.AddrPort
	for _, a := range addresses {
		peers = append(peers, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	severed, err := severChildren(p.PID(), peers)
	if err != nil {
		return severed, fmt.Errorf("sever connections to %s: %w", host, err)
	}
	return severed, nil
}

// severChildren does so for the children of a process.
func severChildren(parent int, peers []netip.AddrPort) (severed int, err error) {
	sockets, err := socketsTo(parent, peers)
	if err != nil || len(sockets) == 0 {
		return 0, err
	}
	var errs []error
	for _, child := range children(parent) {
		k, err := severOf(child, sockets)
		severed += k
		errs = append(errs, err)
	}
	return severed, errors.Join(errs...)
}

// socketsTo are the inodes of the TCP sockets of a process's network whose other end is one of the peers; proc_net_tcp(5).
func socketsTo(pid int, peers []netip.AddrPort) (map[string]bool, error) {
	found := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the sockets of the server's network: %w", err)
		}
		for line := range strings.Lines(string(content)) {
			f := strings.Fields(line)
			if len(f) < 10 {
				continue
			}
			if peer, ok := parseSocket(f[2]); ok && slices.Contains(peers, peer) {
				found["socket:["+f[9]+"]"] = true
			}
		}
	}
	return found, nil
}

// parseSocket reads an address as the kernel prints it: words of four bytes in the order of a little machine, then the port.
func parseSocket(text string) (netip.AddrPort, bool) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	a, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(number)), ok
}

// children are the processes of a server.
func children(postmaster int) []int {
	var pids []int
	for _, path := range globbed("/proc/[0-9]*/stat") {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(postmaster) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func globbed(pattern string) []string {
	paths, _ := filepath.Glob(pattern) // The pattern is right.
	return paths
}

// severOf shuts those of a process's sockets that are named.
func severOf(pid int, sockets map[string]bool) (severed int, err error) {
	for _, path := range globbed(fmt.Sprintf("/proc/%d/fd/[0-9]*", pid)) {
		if link, err := os.Readlink(path); err != nil || !sockets[link] {
			continue
		}
		fd, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return severed, err
		}
		if err := shut(pid, fd, sockets); err != nil {
			return severed, err
		}
		severed++
	}
	return severed, nil
}

// shut shuts a socket of another process by a descriptor of our own, after a look whether that is still the socket that was found.
func shut(pid, fd int, sockets map[string]bool) error {
	process, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(process) }()
	own, err := unix.PidfdGetfd(process, fd, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EBADF) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(own) }()
	if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", own)); err != nil || !sockets[link] {
		return nil
	}
	if err := unix.Shutdown(own, unix.SHUT_RDWR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return err
	}
	return nil
}
