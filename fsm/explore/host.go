package explore

import (
	"github.com/autoctl/autoctl/fsm"
)

// maxNodes is the largest group that a world holds.
const maxNodes = 5

// systemID is the group's system identifier.
const systemID = 42

// files is what the node's configuration files say, as far as PostgreSQL's behaviour depends on it.
type files struct {
	standby, gate bool
	up            int8   // index of the upstream, -1 for none
	k             int8   // -1 for the set that cannot be satisfied
	members       uint16 // bit by id
}

func filesOf(f fsm.Files) files {
	out := files{standby: f.Standby, gate: f.Gate, up: -1, k: -1}
	if f.Upstream != nil {
		out.up = int8(at(f.Upstream.Node))
	}
	if c := f.Configuration; c != nil {
		out.k = int8(c.K)
		for _, m := range c.Members {
			out.members |= bit(m.Node)
		}
	}
	return out
}

// force is what the processes of a running server may take for the synchronous set: after a reload any mixture of the old
// and the new one (S1, S2), the least k with any subset of all members. k is closed while no set that can be met is among them.
type force struct {
	k       int8
	members uint16
}

const closed = 127

func (f force) add(x files) force {
	if x.k >= 0 {
		f.k = min(f.k, x.k)
		f.members |= x.members
	}
	return f
}

// host is one node: its disk, its server and its keeper.
type host struct {
	// On disk.
	mem     *fsm.Memory // never changed in place
	log     wal
	copied  wal // the staging copy
	files   files
	before  files        // the files before the last configure, for staleConf
	disk    *fsm.Memory  // the memory when the node was last at rest in service, for forgetful
	control fsm.Timeline // of the latest checkpoint
	clean   bool         // shut down cleanly
	starved bool         // it was rewound, and cannot serve without log that nobody has any more
	ruled   bool         // it last ran read-write: recovering it writes to its log
	// The host and the server.
	down    bool // the host is off
	frozen  bool // its processes stand still
	dozes   bool // its keeper alone stands still
	left    bool // its keeper has left the group, and ended
	full    bool // the disk takes no state file
	hung    hang // what of the server stands still
	status  fsm.ServerStatus
	runs    bool // out of recovery
	loaded  files
	force   force
	rcv     int8            // upstream that a WAL receiver is connected to, -1 for none
	read    bool            // all local WAL has been read since the start
	own     int             // records before the server came up, or was promoted: no client waits for them
	started bool            // it came up read-write by a start, not by a promotion: no older session is left
	known   [maxNodes]uint8 // records that this server's walsenders know to be flushed
	twin    [maxNodes]uint8 // the same of connections that are left over, for twoNames
	reign   uint64          // the epoch of its promotion where the timeline does not tell, for sameTimeline
	prior   *fsm.Goal       // the goal before the present one, which a message may bring once more
	held    *fsm.Goal       // a goal on its way that a delay has caught
	begun   *fsm.Step       // what the keeper was about to do when it was frozen
	// What the keeper holds in memory only.
	fresh   bool // the monitor has confirmed the goal
	crashes uint8
	checked bool   // a checkpoint asked for by the present goal has ended
	holds   uint64 // [fsm.Report.Held]
	routed  uint64 // [fsm.Report.Routed]
	// Timers that have ended.
	patience, deadline, stuck, weary bool
	lost                             [maxNodes]bool
	silent                           bool // asked the upstream in vain
	// late is a report on its way that a delay has caught.
	late *fsm.Report
}

// hang is what of a server stands still.
type hang uint8

// The kinds: the postmaster alone, so that who is connected goes on; all processes; all that waits for the disk of the data.
const (
	awake hang = iota
	hungPostmaster
	hungServer
	hungStorage
)

// answers reports whether the server lets anybody in.
func (h *host) answers() bool { return h.running() && h.hung != hungPostmaster && h.hung != hungServer }

// works reports whether the server's processes go on at all.
func (h *host) works() bool { return h.running() && h.hung != hungServer }

// goes reports whether the host is on and not frozen.
func (h *host) goes() bool    { return !h.down && !h.frozen }
func (h *host) running() bool { return h.status == fsm.ServerRunning }
func (h *host) serves() bool  { return h.running() && h.runs }

// epoch is the epoch of the timeline as this keeper knows it.
func (h *host) position(records int) fsm.Position {
	part := h.log[:2*records]
	tli := part.timeline()
	return fsm.Position{Epoch: h.mem.Goal.Orders.Epoch(tli), LSN: part.lsn(), Timeline: tli}
}

// knows is how many records of its log the server knows of: a restarted standby finds out by reading (S7).
func (h *host) knows() int {
	if !h.runs && !h.read && h.log.len() > 0 {
		return 1
	}
	return h.log.len()
}

// facts is what the keeper of node n observes.
func (w *World) facts(n int) fsm.Facts {
	h := &w.hosts[n]
	f := fsm.Facts{Memory: *h.mem, Slots: true, Fresh: h.fresh}
	f.Data = h.dataFacts()
	f.Copy = fsm.CopyFacts{Complete: h.copied != "", Room: true}
	f.Server = fsm.ServerFacts{Status: h.status, Crashes: int(h.crashes), Checkpointed: h.checked}
	switch {
	case h.answers():
		h.serverFacts(&f.Server)
		f.Server.Streaming = w.streaming(n) && h.mem.Goal.Upstream != nil && at(h.mem.Goal.Upstream.Node) == int(h.rcv)
		f.Server.Confirmed = h.serves() && w.confirmed(n)
	case h.running():
		f.Server.Status = fsm.ServerHung
		if h.weary {
			f.Server.HungMS = long
		}
	}
	if h.status != fsm.ServerRunning && h.deadline {
		f.Server.DrainedMS = long
	}
	if h.stuck && !f.Server.Streaming {
		f.Server.StuckMS = long
	}
	f.Files.Gate = h.files.gate
	if h.files.up >= 0 {
		f.Files.Following = w.hosts[h.files.up].mem.Node
	}
	w.upstreamFacts(n, &f)
	want := filesOf(fsm.Wanted(h.mem.Goal, f))
	f.Files.Written = want == h.files
	f.Files.Effective = f.Files.Written && (!h.running() || h.sameLoaded())
	return f
}

func (h *host) sameLoaded() bool {
	l := h.loaded
	l.standby = h.files.standby
	return l == h.files
}

func (h *host) dataFacts() fsm.DataFacts {
	if h.log == "" {
		return fsm.DataFacts{Kind: fsm.DataAbsent}
	}
	// pg_control names the timeline of a promotion even before its first checkpoint (CreateEndOfRecoveryRecord).
	d := fsm.DataFacts{
		Kind: fsm.DataReady, SystemID: systemID, Timeline: h.log.timeline(), Checkpoint: lsnAt(1),
		StandbySignal: h.files.standby, Lineage: h.log.lineage(),
	}
	if h.clean {
		d.Clean, d.Checkpoint = true, h.log.lsn()
	}
	return d
}

func (h *host) serverFacts(s *fsm.ServerFacts) {
	s.Recovery = !h.runs
	s.Timeline = h.log.timeline()
	s.Position = h.position(h.knows())
	s.Receiver = h.rcv >= 0
	s.Final = !h.runs && !s.Receiver && h.read
	s.Ended = !h.runs && !s.Receiver && h.log[:2*h.knows()].ended()
	s.Guarded = !h.runs && h.force.k == closed
}

// upstreamFacts adds what the upstream of the goal says of itself.
func (w *World) upstreamFacts(n int, f *fsm.Facts) {
	up := f.Memory.Goal.Upstream
	if up == nil {
		return
	}
	u := at(up.Node)
	if up.Node == 0 || u >= w.n || !w.linked(n, u) || !w.hosts[u].answers() {
		f.Silent = w.hosts[n].silent
		return
	}
	src := &w.hosts[u]
	f.Upstream = &fsm.UpstreamFacts{
		Node: up.Node, SystemID: systemID, Primary: src.runs, Lineage: src.log.lineage(), ControlTimeline: src.control,
	}
}

// streaming reports whether the WAL receiver of n is connected to a server that could send, and that it could answer.
func (w *World) streaming(n int) bool {
	return w.connected(n) && w.linked(n, int(w.hosts[n].rcv))
}

// connected reports whether the WAL receiver of n has a walsender at the other end, and both go on, whatever comes through between them.
func (w *World) connected(n int) bool {
	h := &w.hosts[n]
	return h.works() && !h.runs && h.rcv >= 0 && h.goes() && w.hosts[h.rcv].works() && w.hosts[h.rcv].goes()
}

// confirmed reports whether the crash gate may be lifted.
func (w *World) confirmed(n int) bool {
	h := &w.hosts[n]
	return h.patience || h.loaded.k == 0 || w.holders(n, h.loaded, h.own) >= int(h.loaded.k) && h.loaded.k > 0
}

// holders counts the members of the set that stream from n and hold its first records.
func (w *World) holders(n int, set files, records int) int {
	count := 0
	for i := range w.n {
		h := &w.hosts[i]
		if i != n && set.members&bit(h.mem.Node) != 0 && w.streaming(i) && int(h.rcv) == n && h.log.len() >= records {
			count++
		}
	}
	return count
}
