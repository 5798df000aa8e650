package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver"
)

// ServerUser is the operating system user that runs a host's programs when the
// tests are run by root: PostgreSQL refuses to run as root.
const ServerUser = "postgres"

// Lab is a set of hosts joined by one network, alive as long as its test.
type Lab struct {
	t       testing.TB
	name    string // prefix of everything the laboratory makes
	dir     string
	net     *network // nil on loopback
	cred    *credential
	hosts   map[string]*Host
	once    sync.Once
	ending  sync.RWMutex // held while a program is started
	ended   bool
	cleanup []func()
}

// credential is the user that programs run as, when it is not our own.
type credential struct{ uid, gid int }

var labs atomic.Int64

// New makes an empty laboratory that is torn down at the end of t. With
// AUTOCTL_TEST_NETWORK=loopback root gets one without namespaces too.
func New(t testing.TB) *Lab {
	t.Helper()
	removeStale()
	l := &Lab{
		t:     t,
		name:  fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), labs.Add(1)),
		hosts: map[string]*Host{},
	}
	if os.Geteuid() == 0 {
		cred, err := serverCredential()
		if err != nil {
			t.Fatalf("root cannot run PostgreSQL: %v", err)
		}
		l.cred = cred
	}
	l.dir = filepath.Join(os.TempDir(), l.name)
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.remove)
	// A deadline of "go test" kills the process without any clean-up: end in
	// time for it.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	l.cleanup = append(l.cleanup, func() { signal.Stop(stop); close(done) })
	go func() {
		select {
		case <-stop:
			l.once.Do(l.tearDown)
			os.Exit(130)
		case <-done:
		}
	}()
	if wantsNetwork() {
		n, err := newNetwork(l.name)
		if err != nil {
			t.Logf("no network namespaces, using loopback: %v", err)
		} else {
			l.net = n
		}
	}
	return l
}

func serverCredential() (*credential, error) {
	u, err := user.Lookup(ServerUser)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	return &credential{uid, gid}, nil
}

// Dir is the laboratory's directory: what is written there is outside every
// host and goes away with the laboratory.
func (l *Lab) Dir() string { return l.dir }

// wantsNetwork reports whether laboratories get network namespaces where the
// machine has what that takes.
func wantsNetwork() bool {
	return os.Geteuid() == 0 && os.Getenv("AUTOCTL_TEST_NETWORK") != "loopback"
}

const noLinks = "needs network namespaces: run as root, with iproute2 and nftables installed"

// NeedLinks skips the test, before anything is built for it, where hosts and
// links certainly cannot be cut; [Lab.NeedLinks] knows for sure.
func NeedLinks(t testing.TB) {
	t.Helper()
	if !wantsNetwork() {
		t.Skip(noLinks)
	}
}

// HasLinks reports whether hosts have network links of their own.
func (l *Lab) HasLinks() bool { return l.net != nil }

// NeedLinks skips the test where hosts and links cannot be cut.
func (l *Lab) NeedLinks() {
	l.t.Helper()
	if !l.HasLinks() {
		l.t.Skip(noLinks)
	}
}

// Host returns the host of that name, which is made at the first call.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	if h := l.hosts[name]; h != nil {
		return h
	}
	h := &Host{lab: l, Name: name, Addr: "127.0.0.1", Dir: filepath.Join(l.dir, name)}
	for _, dir := range []string{"", "log", "tmp", "config", "share", "state", "run"} {
		path := filepath.Join(h.Dir, dir)
		if err := os.Mkdir(path, 0o700); err != nil {
			l.t.Fatal(err)
		}
		l.own(path)
	}
	if l.net != nil {
		if err := l.net.attach(h); err != nil {
			l.t.Fatalf("attach host %s: %v", name, err)
		}
	}
	l.hosts[name] = h
	return h
}

// own gives path to the user that programs run as.
func (l *Lab) own(path string) {
	l.t.Helper()
	if l.cred == nil {
		return
	}
	if err := os.Lchown(path, l.cred.uid, l.cred.gid); err != nil {
		l.t.Fatal(err)
	}
}

// Dial connects from the laboratory's network, as a client on a host of its own
// would: fit for [pgconn.Config.DialFunc]. Addresses are literal.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return l.dialFrom(ctx, "client", network, address)
}

func (l *Lab) dialFrom(ctx context.Context, host, network, address string) (net.Conn, error) {
	if l.net == nil {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return l.net.dial(ctx, host, network, address)
}

// remove tears the laboratory down at the end of its test.
func (l *Lab) remove() {
	if l.t.Failed() && os.Getenv("AUTOCTL_TEST_KEEP") != "" {
		l.saveLogs(os.Getenv("AUTOCTL_TEST_KEEP"))
	}
	l.once.Do(l.tearDown)
}

// saveLogs copies the laboratory's logs to the directory to.
func (l *Lab) saveLogs(to string) {
	dest := filepath.Join(to, strings.ReplaceAll(l.t.Name(), "/", "_"))
	for name, h := range l.hosts {
		if err := os.CopyFS(filepath.Join(dest, name), os.DirFS(filepath.Join(h.Dir, "log"))); err != nil && !errors.Is(err, os.ErrExist) {
			l.t.Logf("keep the logs of %s: %v", name, err)
		}
	}
	l.t.Logf("logs kept in %s", dest)
}

// tearDown ends every process of the laboratory and removes what it made.
// Errors are reported and do not stop it.
func (l *Lab) tearDown() {
	l.ending.Lock()
	l.ended = true
	l.ending.Unlock()
	for _, h := range l.hosts {
		if err := h.killAll(); err != nil {
			l.t.Errorf("tear down %s: %v", h.Name, err)
		}
	}
	if l.net != nil {
		if err := l.net.remove(); err != nil {
			l.t.Errorf("tear down the network: %v", err)
		}
	}
	if err := pgserver.FreeSharedMemory(l.dir); err != nil {
		l.t.Errorf("tear down: %v", err)
	}
	if err := unmountBelow(l.dir); err != nil {
		l.t.Errorf("tear down: %v", err)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.t.Errorf("tear down: %v", err)
	}
	for _, f := range l.cleanup {
		f()
	}
}

// errEnded says that the laboratory is being torn down.
var errEnded = errors.New("the laboratory has ended")

// start starts a program of a host, unless the laboratory is being torn down:
// those who break things may still be at it when the test is interrupted.
func (l *Lab) start(cmd *exec.Cmd) error {
	l.ending.RLock()
	defer l.ending.RUnlock()
	if l.ended {
		return errEnded
	}
	return cmd.Start()
}

// run executes a program of the system, as ourselves.
func run(name string, args ...string) error { return runInput("", name, args...) }

func runInput(input, name string, args ...string) error {
	cmd := exec.Command(program(name), args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// program finds a program also where an ordinary PATH does not look.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path
		}
	}
	return name
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
