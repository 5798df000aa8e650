package fsm

// Wanted returns what our files must say for goal on a node in the situation f. Whoever does not serve is closed (S8): standby.signal, and a
// synchronous set that cannot be satisfied, so that a stray start is read-only and a stray promotion blocks. The answer never depends on what
// the facts say about the files being written, only on the gate that stands.
func Wanted(goal Goal, f Facts) Files {
	goal = f.Memory.Effective(goal)
	files := Files{Standby: true, Peers: goal.Peers, Fellows: goal.Fellows, Database: goal.Database, Databases: goal.Databases, Settings: goal.Settings}
	switch {
	case goal.State.Serves(), goal.State == StateStopReplication:
		files.Configuration = goal.Configuration
		files.Standby = !writable(goal, f)
		files.Gate = gated(goal, f)
	case goal.State.Drains():
		// While it still serves nothing changes under its clients; once down it is closed like any other.
		if f.Server.readWrite() {
			files.Standby = false
			files.Gate = f.Files.Gate
			files.Configuration = goal.Configuration
			if files.Configuration == nil && f.Memory.Serving != nil {
				files.Configuration = f.Memory.Serving.Configuration
			}
		}
	case goal.State.Follows(), goal.State == StatePreparePromotion, awaitsEnd(goal, f):
		files.Upstream, files.Limits = goal.Upstream, goal.Limits
	}
	return files
}

// writable reports whether the server of a serving goal must come up, or stay, read-write: it is on the timeline of its reign. Before that it
// runs with standby.signal until pg_promote has made that timeline; a promotion that a crash cut short must not end in a read-write
// server on the old timeline (S3).
func writable(goal Goal, f Facts) bool {
	if f.Server.readWrite() {
		return true
	}
	return goal.Timeline == 0 || f.timeline() == goal.Timeline || f.Data.Kind == DataAbsent
}

// gated reports whether the crash gate must stand (S16): from before the start, or before the promotion, under k ≥ 1, until the gate is opened by a
// step of its own. A server that already serves without a gate gets none, nor does one whose promotion shows clients nothing that k members lack.
func gated(goal Goal, f Facts) bool {
	if goal.State == StateStopReplication {
		return true
	}
	if f.Server.readWrite() {
		return f.Files.Gate
	}
	if goal.Confirmed && f.Server.Guarded && f.Server.Status == ServerRunning && f.Server.Recovery && f.timeline() != goal.Timeline {
		return false
	}
	return goal.Configuration != nil && goal.Configuration.K > 0
}

// readWrite reports whether the server runs outside recovery, or may: one that is hung or starting is not known to be harmless, but only a running
// one is known to serve.
func (s ServerFacts) readWrite() bool {
	return s.Status == ServerRunning && !s.Recovery
}

// down reports whether there is no server process.
func (s ServerFacts) down() bool {
	return s.Status == ServerAbsent || s.Status == ServerStopped || s.Status == ServerCrashed
}

// timeline returns the timeline that the node's log ends on.
func (f Facts) timeline() Timeline {
	if f.Server.Status == ServerRunning && f.Server.Timeline != 0 {
		return f.Server.Timeline
	}
	return f.Data.Timeline
}

// end returns the best known end of the node's log: exact while a server runs or after a clean stop, a lower bound otherwise.
func (f Facts) end() LSN {
	return max(f.Data.Checkpoint, f.Memory.Drained, f.Server.Position.LSN)
}
