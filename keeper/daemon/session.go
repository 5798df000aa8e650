package daemon

import (
	"context"
	"math/rand/v2"
	"time"
)

// How long the keeper waits before it connects to the monitor again: the first
// wait, and the longest. Each is drawn between half and the whole.
const (
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 3 * time.Second
)

// listening hears the goals that the monitor pushes, over a connection of its
// own whose closing is news for both ends.
func (d *Daemon) listening(ctx context.Context) error {
	pause := firstReconnect
	for ctx.Err() == nil {
		m := d.currentMonitor()
		if m == nil || d.Store.Get().Node == 0 {
			nap(ctx, -1, d.swap)
			continue
		}
		if d.listen(ctx, m) {
			pause = firstReconnect
		}
		nap(ctx, pause/2+rand.N(pause/2+1), d.swap)
		pause = min(pause*2, lastReconnect)
	}
	return nil
}

// listen hears goals until the connection is lost and says whether there was
// one.
func (d *Daemon) listen(ctx context.Context, m Monitor) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	goals, err := m.Goals(ctx, d.Store.Get().Node)
	if err != nil {
		d.Log.Debug().Err(err).Msg("listen for goals")
		return false
	}
	signal(d.kick) // its answer has what was decided before we listened
	for {
		select {
		case goal, ok := <-goals:
			if !ok {
				return true
			}
			if m == d.currentMonitor() {
				d.obey(goal)
			}
		case <-d.swap:
			return true
		case <-ctx.Done():
			return true
		}
	}
}
