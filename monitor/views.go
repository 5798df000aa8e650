package monitor

import (
	"sync"
	"time"

	"github.com/autoctl/autoctl/fsm"
)

// views is what this process itself has seen of the nodes, on its own clock: when their heartbeat counters moved and when probes
// succeeded. Nothing of it survives a restart.
type views struct {
	now func() fsm.Instant

	mu       sync.Mutex
	since    fsm.Instant // ages count from here
	settings fsm.Settings
	nodes    map[fsm.NodeID]*view
	// looked says that all nodes were looked at once: one that is new after that has never been heard by a former run.
	looked bool
}

type view struct {
	beats   int64
	heard   fsm.Instant
	probed  fsm.Instant
	refused fsm.Instant // when the newest probe began that surely failed
	up      fsm.Instant // since when its server has been known to run; 0 while it is not
	health  string
	dirty   bool // a probe has not been written yet
	flip    bool // and it changed the node's health
}

// The healths, as show state prints them.
const (
	healthGood    = "good"
	healthBad     = "bad"
	healthUnknown = "unknown"
)

const never fsm.Instant = -1

func newViews(now func() fsm.Instant) *views {
	return &views{now: now, settings: fsm.DefaultSettings(), nodes: map[fsm.NodeID]*view{}}
}

// restart forgets everything and lets all ages begin now.
func (v *views) restart() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since = v.now()
	v.nodes = map[fsm.NodeID]*view{}
	v.looked = false
}

// rest lets all ages begin now, and keeps what was seen: after a time in which this process may have seen nothing.
func (v *views) rest() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since = v.now()
}

func (v *views) node(id fsm.NodeID) *view {
	n := v.nodes[id]
	if n == nil {
		n = &view{heard: never, probed: never, health: healthUnknown, beats: -1}
		if v.looked {
			n.beats = 0
		}
		v.nodes[id] = n
	}
	return n
}

// beat notes a heartbeat counter as it was just read, and reports whether the node is heard after a silence: nothing else tells, as a
// report that says the same as the last one calls for no decision.
//
// The first look after a restart proves nothing about when the report came: one that a former run received must not look fresh.
func (v *views) beat(id fsm.NodeID, beats int64) (back bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.node(id)
	if n.beats >= 0 && n.beats != beats && beats > 0 {
		now := v.now()
		silence := time.Duration(v.settings.NodeLostAfterMS) * time.Millisecond / 2
		back = n.heard == never || now.Sub(n.heard) > silence
		n.heard = now
	}
	n.beats = beats
	return back
}

// probeResult notes a probe that began at a moment, and reports whether the node's health changed by it. One that failed says nothing where another was
// answered since; one that was answered says nothing where another that began later was refused. A failure that is not sure is that of patience.
func (v *views) probeResult(id fsm.NodeID, began fsm.Instant, good, sure bool) (flipped bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.node(id)
	if !good && n.probed > began || good && n.refused > began {
		return false
	}
	health := healthBad
	switch {
	case good:
		health = healthGood
		n.probed = v.now()
	case sure:
		n.refused = began
	}
	flipped = health != n.health
	n.health, n.dirty, n.flip = health, true, n.flip || flipped
	return flipped
}

// fill adds the views to a snapshot.
func (v *views) fill(g *fsm.Group) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g.Since = v.since
	for i := range g.Nodes {
		n := v.node(g.Nodes[i].ID)
		switch r := g.Nodes[i].Report; {
		case r == nil || r.Server.Status != fsm.ServerRunning:
			n.up = 0
		case n.up == 0:
			n.up = v.now()
		}
		g.Nodes[i].Heard, g.Nodes[i].Probed, g.Nodes[i].Up = n.heard, n.probed, n.up
	}
}

// probeRow is what is written of a node's probes.
type probeRow struct {
	Node   fsm.NodeID
	Probed fsm.Instant
	Health string
}

// unwritten returns the probes that have not been written yet, only those that changed a health unless all are wanted, and takes
// them for written.
func (v *views) unwritten(all bool) []probeRow {
	v.mu.Lock()
	defer v.mu.Unlock()
	var rows []probeRow
	for id, n := range v.nodes {
		if n.dirty && (all || n.flip) {
			n.dirty, n.flip = false, false
			rows = append(rows, probeRow{Node: id, Probed: n.probed, Health: n.health})
		}
	}
	return rows
}

// keepOnly ends a look at all nodes: those that are not in ids are gone.
func (v *views) keepOnly(ids map[fsm.NodeID]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looked = true
	for id := range v.nodes {
		if !ids[id] {
			delete(v.nodes, id)
		}
	}
}

func (v *views) timings() fsm.Settings {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.settings
}

func (v *views) setTimings(s fsm.Settings) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settings = s
}

func (v *views) sinceInstant() fsm.Instant {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.since
}
