package local

import (
	"time"

	"github.com/autoctl/autoctl/internal/pgserver"
)

// recovery is how the recovery of a server that admits nobody yet gets on, and when that was looked at.
type recovery struct {
	at     time.Time
	replay pgserver.Replay
}

// recoveryPace is how often that is looked at: each look reads the names of the host's processes.
const recoveryPace = 250 * time.Millisecond

// lookRecovery looks, unless somebody just has.
func (n *Node) lookRecovery(p *pgserver.Process) recovery {
	n.mu.Lock()
	last := n.sight.recovers
	recent := last.at.After(n.life.since) && time.Since(last.at) < recoveryPace
	n.mu.Unlock()
	if recent {
		return last
	}
	r := recovery{at: time.Now()}
	var err error
	if r.replay, err = p.Replay(); err != nil { // it counts as at work
		n.config().Log.Debug().Err(err).Msg("recovery looked at in vain")
	}
	n.config().Log.Debug().Str("reading", r.replay.Reading).Bool("asleep", r.replay.Asleep).Stringer("received", r.replay.Received).Msg("recovery")
	return r
}

// stuck returns since when a recovery, seen again as now, has got nowhere; since is what was known before, zero for moving.
func (r recovery) stuck(since time.Time, now *recovery) time.Time {
	if now.replay.Moved(r.replay) {
		return time.Time{}
	}
	now.replay.Received = max(now.replay.Received, r.replay.Received)
	if since.IsZero() {
		return now.at
	}
	return since
}
