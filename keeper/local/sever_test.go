package local

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSever: a child that waits for what never comes finds its connection closed; one that is connected elsewhere goes on.
func TestSever(t *testing.T) {
	silent := func() (net.Listener, netip.AddrPort) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l, l.Addr().(*net.TCPAddr).AddrPort()
	}
	child := func(l net.Listener, at netip.AddrPort) (ended chan error) {
		_, port, _ := net.SplitHostPort(at.String())
		cmd := exec.CommandContext(t.Context(), "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/"+port+"; read -r -u 3 line; exit 0")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		ended = make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		return ended
	}
	hung, at := silent()
	well, elsewhere := silent()
	waits, goesOn := child(hung, at), child(well, elsewhere)
	n, err := severChildren(os.Getpid(), []netip.AddrPort{at})
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) { // ptrace_scope, seccomp or an old kernel forbid it to any program
		t.Skipf("the kernel lets nobody do that here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("%d connections were severed, want 1", n)
	}
	select {
	case err := <-waits:
		if err != nil {
			t.Errorf("the child that waited: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the child still waits")
	}
	select {
	case err := <-goesOn:
		t.Errorf("the child with the other connection has ended: %v", err)
	default:
	}
}

func TestParseSocket(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1538":                         "127.0.0.1:5432",
		"0000000000000000FFFF00000100007F:1538": "127.0.0.1:5432",
		"B80D01200000000000000000010000000:15":  "",
		"B80D0120000000000000000001000000:1538": "[2001:db8::1]:5432",
	} {
		got, ok := parseSocket(text)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("parseSocket(%q) = %v, %v, want %q", text, got, ok, want)
		}
	}
}
