package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// Node is the PostgreSQL of this host. Make it with [New] and [Node.Close] it at the end.
type Node struct {
	current atomic.Pointer[Config] // replaced as a whole; see Reconfigure
	memory  Memory

	recoveries atomic.Int32 // that have failed in a row

	changed chan struct{}

	// session is the one persistent connection; sessionMu serialises its use.
	sessionMu sync.Mutex
	session   *pgx.Conn

	// data is the newest look at the data directory, with what it was taken for.
	dataMu sync.Mutex
	data   dataLook

	addresses addresses

	mu       sync.Mutex // guards what follows
	proc     *pgserver.Process
	starting bool
	// planned and fallen hold from a start until the server is up or has ended: that it follows a stop that was asked for, or a crash (H2).
	planned, fallen atomic.Bool
	awaits          atomic.Bool // the executor's goal waits for the end of the upstream's log
	life            life
	starts          starts
	sight           sight
	seen            map[fsm.NodeID]standbySeen
	upstream        upstreamSeen
	commitAt        time.Time // of the newest local commit; zero when none was seen
	statusAt        time.Time // of the newest Status
	drain           noticed   // since when the server has been down under a goal that drains
	watched         noticed   // by watchServer
	checked         fsm.Stamp // the goal for which a checkpoint ended
	configured      fsm.Stamp // the goal for which files were last written
	activity        *fsm.Activity
	asked           asked
	asking          *questions // nil while there are none
	settling        *settling
	include         fileStamp // postgresql.conf as it was when our include was last seen in it
	source          source
	limits          fsm.Limits // what the files ask for
	weakCommits     []string   // as of the newest commit of watchStorage

	background sync.WaitGroup
	closing    context.Context //nolint:containedctx // ends the goroutines that outlive a call; see Close
	close      context.CancelFunc
}

// New returns a node and begins to watch its server, adopting one that runs. A password is copied into a file of libpq's form in the state directory.
func New(cfg Config, memory Memory) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure node: %w", err)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	n := &Node{memory: memory, changed: make(chan struct{}, 1), seen: map[fsm.NodeID]standbySeen{}}
	n.current.Store(&cfg)
	if err := n.writePassfile(); err != nil {
		return nil, err
	}
	n.closing, n.close = context.WithCancel(context.Background())
	n.lookFirst()
	n.spawn(n.watchServer)
	n.spawn(n.watchUpstream)
	n.spawn(n.watchStorage)
	n.spawn(n.keepHouse)
	return n, nil
}

// lookFirst looks at the data, and at the server that runs already, so that nobody is told that there are none, or that it starts.
func (n *Node) lookFirst() {
	ctx, cancel := context.WithTimeout(n.closing, queryTimeout)
	defer cancel()
	runs := n.process() != nil
	_, _ = n.inspect(ctx, runs) // what cannot be read is told by those who must act on it
	if runs {
		n.lookKnocking(ctx, 0)
	}
}

// config returns the present configuration; nobody changes what it points to.
func (n *Node) config() *Config { return n.current.Load() }

// Reconfigure takes another configuration of the same data directory. It becomes effective as far as a reload can make it with the next look at
// the files; a changed port or socket directory needs a restart of the server.
func (n *Node) Reconfigure(cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configure node: %w", err)
	}
	before := n.config()
	if cfg.DataDir != before.DataDir || cfg.StateDir != before.StateDir {
		return fmt.Errorf("configure node: the data directory cannot change")
	}
	n.current.Store(&cfg)
	if err := n.writePassfile(); err != nil {
		return err
	}
	n.mu.Lock()
	n.life.roles, n.life.vetted = false, false // the password may be another
	n.mu.Unlock()
	n.signal()
	return nil
}

// Close leaves the server alone and ends everything of ours.
func (n *Node) Close() error {
	n.close()
	n.background.Wait()
	n.dropSession(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return nil
	}
	return n.proc.Close()
}

// Changed signals that something material changed by itself; several changes before somebody looks are one.
func (n *Node) Changed() <-chan struct{} { return n.changed }

func (n *Node) signal() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// spawn runs f until Close; f must end with its context.
func (n *Node) spawn(f func(context.Context)) {
	n.background.Go(func() { f(n.closing) })
}

// every calls f at once and then every pace(), until ctx ends.
func every(ctx context.Context, pace func() time.Duration, f func(context.Context)) {
	for ctx.Err() == nil {
		began := time.Now()
		f(ctx)
		t := time.NewTimer(max(time.Millisecond, pace()-time.Since(began)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (n *Node) settings() fsm.Settings {
	s := n.memory.Get().Goal.Settings
	if s.HeartbeatMS <= 0 {
		return fsm.DefaultSettings()
	}
	return s
}

func (n *Node) heartbeat() time.Duration { return ms(n.settings().HeartbeatMS) }

func ms(v int64) time.Duration { return time.Duration(v) * time.Millisecond }

// errStopped says that there is no server to talk to.
var errStopped = errors.New("the server does not run")
