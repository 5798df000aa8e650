package monitor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/autoctl/autoctl/fsm"
)

// Server runs one monitor. Use it for one Run.
type Server struct {
	c     Config
	life  string    // names this run of the process, whose clock instants belong to
	start time.Time // origin of that clock
	views *views
	queue *queue
	proof *ledger // of the present session
}

// New prepares a server for a monitor that [Create] made.
func New(c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("check the monitor's options: %w", err)
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("name this run: %w", err)
	}
	s := &Server{c: c, life: hex.EncodeToString(id), start: time.Now()}
	s.views = newViews(s.now)
	s.queue = newQueue()
	return s, nil
}

// now reads the server's monotonic clock.
func (s *Server) now() fsm.Instant { return fsm.Instant(time.Since(s.start)) }

// Run runs the monitor until ctx ends: its PostgreSQL, which is started again when it dies, and the decisions. It then stops
// PostgreSQL, unless the cause is [ErrLeaveRunning]. A *[RefusedError] or [ErrLocked] says that it cannot run here.
func (s *Server) Run(ctx context.Context) error {
	if err := checkPlace(ctx, s.c); err != nil {
		return s.orStopped(ctx, err)
	}
	unlock, err := lock(s.c)
	if err != nil {
		return err
	}
	defer unlock()
	if err := ensureCluster(ctx, s.c); err != nil {
		return s.orStopped(ctx, err)
	}
	return s.keepServing(ctx)
}

// orStopped returns err, or nil when it only says that Run was told to end.
func (s *Server) orStopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	s.c.Log.Debug().Err(err).Msg("told to end while starting")
	return nil
}

// workers is how many groups are decided at the same time.
const workers = 4

// session prepares the database and decides until ctx ends or a part of it fails. All ages restart with it: what was heard before
// may have been lost with the server.
func (s *Server) session(ctx context.Context) error {
	l, err := prepareDatabase(ctx, s.c)
	if err != nil {
		return err
	}
	defer l.Close()
	s.proof = l
	s.views.restart()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.listen(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.prune(ctx) })
	for range workers {
		g.Go(func() error { return s.work(ctx) })
	}
	return g.Wait()
}
