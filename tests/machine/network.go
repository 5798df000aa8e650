package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// prefix starts the names of all namespaces and directories of this package;
// the test process's id follows.
const prefix = "autoctl-test-"

// netnsDir is where iproute2 keeps named network namespaces.
const netnsDir = "/run/netns"

// network is a bridge in a namespace of its own with one port a host.
type network struct {
	name   string // of the laboratory
	subnet string // first three octets
	ports  int

	mu   sync.Mutex
	cuts map[cut]bool
}

// cut is one direction of traffic that the bridge drops; an empty name stands
// for every host.
type cut struct{ from, to *Host }

func newNetwork(lab string) (*network, error) {
	pid := os.Getpid()
	n := &network{
		name:   lab,
		subnet: fmt.Sprintf("198.%d.%d", 18+(pid>>8)&1, pid&0xff),
		cuts:   map[cut]bool{},
	}
	steps := [][]string{
		{"netns", "add", n.space("switch")},
		{"-n", n.space("switch"), "link", "add", "br0", "type", "bridge"},
		{"-n", n.space("switch"), "link", "set", "br0", "up"},
	}
	for _, s := range steps {
		if err := run("ip", s...); err != nil {
			return nil, errors.Join(err, n.remove())
		}
	}
	// Clients outside the hosts get a port too.
	if err := n.plug("client", "254", "client"); err != nil {
		return nil, errors.Join(err, n.remove())
	}
	return n, nil
}

// space is the name of the namespace of a host.
func (n *network) space(host string) string { return n.name + "-" + host }

// attach gives h a namespace, an address and a port of the bridge.
func (n *network) attach(h *Host) error {
	n.ports++
	h.number = n.ports
	h.port, h.Addr = fmt.Sprintf("p%d", n.ports), fmt.Sprintf("%s.%d", n.subnet, n.ports)
	return n.plug(h.Name, fmt.Sprint(n.ports), h.port)
}

func (n *network) plug(host, octet, port string) error {
	ns, sw := n.space(host), n.space("switch")
	steps := [][]string{
		{"netns", "add", ns},
		{"-n", sw, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns},
		{"-n", sw, "link", "set", port, "master", "br0", "up"},
		{"-n", ns, "addr", "add", n.subnet + "." + octet + "/24", "dev", "eth0"},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "link", "set", "eth0", "up"},
	}
	for _, s := range steps {
		if err := run("ip", s...); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the namespaces of this network, and with them all links.
func (n *network) remove() error {
	spaces, err := filepath.Glob(filepath.Join(netnsDir, n.name+"-*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range spaces {
		errs = append(errs, run("ip", "netns", "delete", filepath.Base(ns)))
	}
	return errors.Join(errs...)
}

// change adds and removes cuts and makes the bridge obey.
func (n *network) change(edit func(cuts map[cut]bool)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	edit(n.cuts)
	return runInput(ruleset(n.cuts), "ip", "netns", "exec", n.space("switch"), program("nft"), "-f", "-")
}

// ruleset drops at the bridge, so that neither end learns of the cut: packets
// vanish, as they do behind a router that lost its route. ARP still passes,
// or senders would be told "no route to host" after three seconds.
func ruleset(cuts map[cut]bool) string {
	var b strings.Builder
	b.WriteString("table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {\n")
	b.WriteString("chain forward { type filter hook forward priority 0; policy accept;\n")
	for c := range cuts {
		b.WriteString("ether type ip ")
		if c.from != nil {
			fmt.Fprintf(&b, "iifname %q ", c.from.port)
		}
		if c.to != nil {
			fmt.Fprintf(&b, "oifname %q ", c.to.port)
		}
		b.WriteString("drop\n")
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// dial opens a connection out of the namespace of a host. The namespace of a
// socket is that of the thread which makes it, so the thread goes there and
// back; if it cannot come back it ends with its goroutine.
func (n *network) dial(ctx context.Context, host, netw, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		conn, back, err := dialIn(ctx, filepath.Join(netnsDir, n.space(host)), netw, address)
		if back {
			runtime.UnlockOSThread()
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialIn must be called on a locked thread; back tells that the thread is in
// its old namespace again.
func dialIn(ctx context.Context, space, netw, address string) (conn net.Conn, back bool, err error) {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, true, err
	}
	defer home.Close()
	there, err := os.Open(space)
	if err != nil {
		return nil, true, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("enter %s: %w", space, err)
	}
	conn, err = (&net.Dialer{}).DialContext(ctx, netw, address)
	if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
		return conn, false, err
	}
	return conn, true, err
}
