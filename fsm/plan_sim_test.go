package fsm

import (
	"fmt"
	"slices"
)

// simNode is a little node in a kind world: comparable, so that walks over it can be checked for cycles. It keeps what files really say, so that a
// step that ought to have written them and has not is seen.
type simNode struct {
	kind                                     DataKind
	clean, signal, diverged, newTimeline     bool
	status                                   ServerStatus
	remains, recovery                        bool
	receiver, blocked, final, ended, guarded bool
	confirmed, checkpointed                  bool
	loaded, gate, following, closed          bool
	busy                                     Busy
	rung, tried                              Rung
	stray, reigned, began                    bool
	settled, slots, resumed, released        bool
	served                                   bool
	drained, overdue                         bool
	copied, room, fresh                      bool
	starved, strayed                         bool // rewound: needs log that nobody has; went over to a history without it
	asked, silent, ready, lost, staleControl bool
	generation                               uint8
}

// The simulated group: the data begins on timeline 1, which this node (1) was ordered to make; timeline 2 forks off at simFork. Node 2 is the upstream.
const (
	simFork    LSN    = 0x5000
	simBefore  LSN    = 0x4000
	simBeyond  LSN    = 0x6000
	simSystem  uint64 = 77
	simSeq     uint64 = 8
	simMinimum uint64 = 3
)

func (n simNode) facts(goal Goal) Facts {
	f := Facts{Slots: n.slots, Fresh: n.fresh}
	f.Memory = n.memory(goal)
	f.Data = n.data()
	f.Copy = CopyFacts{Complete: n.copied, Room: n.room, Needed: 2, Free: 1}
	f.Server = ServerFacts{Status: n.status, Remains: n.remains, Checkpointed: n.checkpointed}
	if n.status == ServerHung {
		f.Server.HungMS = 1 << 30
	}
	if n.status == ServerStarting && n.starved {
		f.Server.StuckMS = 1 << 30
	}
	if n.overdue {
		f.Server.DrainedMS = 1 << 30
	}
	if n.status == ServerRunning {
		f.Server.Recovery = n.recovery
		f.Server.Timeline = f.Data.Timeline
		f.Server.Receiver, f.Server.Blocked, f.Server.Final = n.receiver, n.blocked, n.final && !n.receiver
		f.Server.Guarded = n.guarded
		f.Server.Ended = n.ended && n.recovery && !n.receiver
		f.Server.Streaming = n.streaming()
		f.Server.Confirmed = n.confirmed
		f.Server.Position = Position{Epoch: 1, Timeline: f.Data.Timeline, LSN: f.Data.Checkpoint}
		if n.streaming() {
			f.Server.Position = goal.until()
		}
	}
	if n.asked && n.silent {
		f.Silent = true
	} else if n.asked {
		f.Upstream = n.upstream()
	}
	f.Files = FileFacts{Gate: n.gate}
	if n.following {
		f.Files.Following = 2
	}
	w := Wanted(goal, f)
	f.Files.Written = n.signal == w.Standby && n.gate == w.Gate && n.following == (w.Upstream != nil) && n.closed == (w.Configuration == nil)
	f.Files.Effective = f.Files.Written && n.loaded
	return f
}

func (g Goal) until() Position {
	if g.Upstream == nil {
		return Position{}
	}
	return g.Upstream.Until
}

// streaming says that the log arrives: a standby that follows an upstream whose history contains its own.
func (n simNode) streaming() bool {
	return n.status == ServerRunning && n.recovery && n.receiver && n.following && !n.diverged && !n.lost && n.ready && !n.silent
}

func (n simNode) memory(goal Goal) Memory {
	m := Memory{Node: 1, Goal: goal, Busy: n.busy, Rung: n.rung, Tried: n.tried, Generation: uint64(n.generation), Released: n.released}
	if n.rung != RungStream {
		m.Why = "it was tried"
	}
	if n.stray {
		m.Promotions = append(m.Promotions, Promotion{Epoch: 9, Timeline: 9})
	}
	if n.reigned {
		m.Promotions = append(m.Promotions, Promotion{Epoch: 1, Timeline: 1})
	}
	if n.began {
		m.Promotions = append(m.Promotions, promotionOf(goal))
	}
	if n.strayed {
		m.Rewound = Position{Timeline: 1, LSN: simFork + 1}
		if !n.newTimeline {
			m.Rewound.Timeline = 3
		}
	}
	if n.settled {
		m.Settled = simSeq
	}
	if n.drained {
		m.Drained = simBefore
	}
	if n.served {
		m.Serving = &Goal{State: StatePrimary, Timeline: 1, Configuration: &Configuration{Seq: simSeq, K: 1}}
	}
	if n.resumed {
		m.Resumed = goal.Stamp
	}
	return m
}

func (n simNode) data() DataFacts {
	d := DataFacts{Kind: n.kind}
	if n.kind != DataReady {
		if n.kind == DataForeign {
			d.Text = "another cluster"
		}
		return d
	}
	d.SystemID, d.StandbySignal, d.Clean = simSystem, n.signal, n.clean
	d.Timeline, d.Checkpoint, d.Lineage = 1, simBefore, Lineage{{Timeline: 1}}
	if n.newTimeline {
		d.Timeline, d.Lineage = 2, Lineage{{Timeline: 1}, {Timeline: 2, Begin: simFork}}
	}
	if n.diverged {
		d.Timeline, d.Checkpoint, d.Lineage = 1, simBeyond, Lineage{{Timeline: 1}}
	}
	return d
}

func (n simNode) upstream() *UpstreamFacts {
	u := &UpstreamFacts{Node: 2, SystemID: simSystem, LostSlot: n.lost, Primary: n.ready, Lineage: Lineage{{Timeline: 1}}, ControlTimeline: 1}
	if n.ready {
		u.Lineage, u.ControlTimeline = Lineage{{Timeline: 1}, {Timeline: 2, Begin: simFork}}, 2
	}
	if n.staleControl {
		u.ControlTimeline = 1
	}
	return u
}

// waitOn lets the kind world move while the plan waits; false when nothing is left that could move.
func (n simNode) waitOn(first Step) (simNode, bool) {
	switch {
	case first.Ask && !n.asked:
		n.asked = true
	case n.status == ServerStarting && !n.starved:
		n.status, n.recovery, n.loaded = ServerRunning, n.signal, true
		n.receiver, n.final = n.following, false
	case n.status == ServerRunning && n.recovery && !n.receiver && n.following && !n.diverged && !n.lost && n.ready && !n.silent:
		n.receiver, n.newTimeline = true, true
	case n.status == ServerRunning && n.recovery && !n.receiver && !n.final:
		n.final = true
	case !n.ready && !n.silent && n.asked:
		n.ready, n.staleControl = true, true
	case n.staleControl:
		n.staleControl = false
	default:
		return n, false
	}
	return n, true
}

// do carries out one step, or says what about it is impossible or forbidden.
func (n simNode) do(goal Goal, s Step) (simNode, error) {
	down := Facts{Server: ServerFacts{Status: n.status}}.Server.down()
	alive := []StepKind{StepStopFast, StepStopNow, StepCheckpoint, StepEndReceiver, StepAwaitEnd, StepEndBlockers, StepPromote, StepSettle, StepOpenGate, StepSlots}
	dead := []StepKind{StepStart, StepInitDB, StepRewind, StepRecover, StepSwap, StepCopy}
	if down && slices.Contains(alive, s.Kind) {
		return n, fmt.Errorf("%s without a server", s.Kind)
	}
	if (!down || n.remains) && slices.Contains(dead, s.Kind) {
		return n, fmt.Errorf("%s with a server", s.Kind)
	}
	switch s.Kind {
	case StepStart, StepConfigure, StepStopFast, StepStopNow, StepEndRemains, StepPromote, StepBeginPromote:
		return n.doServer(s)
	case StepInitDB, StepRewind, StepRecover, StepCopy, StepSwap:
		return n.doData(s)
	case StepCheckpoint:
		n.checkpointed = true
	case StepEndReceiver:
		n.receiver, n.blocked = false, false
	case StepAwaitEnd:
		n.receiver, n.ended = false, true
	case StepEndBlockers:
		n.blocked = false
	case StepSettle:
		n.settled = true
	case StepOpenGate:
		n.gate = false
	case StepSlots:
		n.slots = true
	case StepLadder:
		n.rung = s.Rung
	case StepResume:
		n.resumed = true
	case StepRelease:
		n.released = true
	default:
		return n, fmt.Errorf("unknown step %q under %s", s.Kind, goal.State)
	}
	return n, nil
}

func (n simNode) doServer(s Step) (simNode, error) {
	switch s.Kind {
	case StepConfigure:
		n.signal, n.gate, n.following, n.closed = s.Files.Standby, s.Files.Gate, s.Files.Upstream != nil, s.Files.Configuration == nil
		n.loaded = true // the receiver outlives the reload: the worst case (S12)
	case StepStart:
		if n.signal != s.Files.Standby || n.gate != s.Files.Gate || n.closed != (s.Files.Configuration == nil) {
			return n, fmt.Errorf("start over files that were not written")
		}
		n.status, n.drained, n.overdue = ServerStarting, false, false
	case StepStopFast, StepStopNow:
		n.drained = s.Kind == StepStopFast && n.status == ServerRunning && !n.recovery
		n.clean = s.Kind == StepStopFast
		n.status, n.receiver = ServerStopped, false
	case StepEndRemains:
		n.remains = false
	case StepBeginPromote:
		n.began = true
	case StepPromote:
		if !n.began || n.receiver || n.blocked {
			return n, fmt.Errorf("promote: began %v, receiver %v, blocked %v", n.began, n.receiver, n.blocked)
		}
		n.recovery, n.signal, n.newTimeline, n.diverged = false, false, true, false
	default:
	}
	return n, nil
}

func (n simNode) doData(s Step) (simNode, error) {
	switch s.Kind {
	case StepInitDB:
		n.kind, n.clean, n.signal, n.newTimeline, n.busy, n.closed = DataReady, true, false, false, BusyNone, true
		n.generation, n.diverged = 1, false
	case StepRecover:
		if n.clean = !n.starved; n.starved {
			n.rung = RungCopy
		}
	case StepRewind:
		if !n.clean {
			return n, fmt.Errorf("rewind a directory that was not shut down")
		}
		n.diverged, n.newTimeline, n.busy, n.rung, n.tried = false, true, BusyNone, RungStream, RungRewind
		n.generation++
		n.signal, n.following = false, false
	case StepCopy:
		n.copied, n.lost = true, false
	case StepSwap:
		n.kind, n.clean, n.diverged, n.newTimeline, n.copied = DataReady, true, false, true, false
		n.busy, n.rung, n.tried, n.stray, n.reigned, n.began = BusyNone, RungStream, RungCopy, false, false, false
		n.generation = max(n.generation+1, uint8(simMinimum))
		n.signal, n.following, n.closed = true, false, true
		n.starved, n.strayed = false, false
	default:
	}
	return n, nil
}
