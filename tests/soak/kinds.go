package soak

import (
	"context"
	"time"
)

// target is what a fault is about.
type target int

const (
	onNode target = iota
	onLink
	onMonitor
	onGroup
)

// kind is a sort of fault.
type kind struct {
	name   string
	about  string // for people
	on     target
	weight int
	// claim names what the fault needs for itself, of its node where there is one.
	claim string
	// also are claims on the group, or on another host.
	also        []string
	least, most time.Duration
	// needs says whether the fault is possible on a host; nil for always.
	needs func(n *nemesis, host string) bool
	begin func(context.Context, *nemesis, *injection) (undo, error)
}

func (k *kind) claims(node string) []string {
	var all []string
	if k.claim != "" && node != "" {
		all = append(all, k.claim+" "+node)
	} else if k.claim != "" {
		all = append(all, k.claim)
	}
	return append(all, k.also...)
}

const second = time.Second

// kinds are all sorts of faults. Times are how long each lasts; what lasts no
// time at all is over when it has begun.
var kinds = []*kind{
	{name: "postmaster-killed", about: "SIGKILL to the postmaster alone", on: onNode, weight: 6, claim: "process", begin: killPostmaster},
	{name: "backend-killed", about: "SIGKILL to one child of the postmaster", on: onNode, weight: 4, claim: "process", begin: killBackend},
	{name: "server-stopped", about: "a fast shutdown behind the keeper's back", on: onNode, weight: 2, claim: "process", begin: stopServer},
	{name: "keeper-killed", about: "SIGKILL to the keeper; PostgreSQL goes on", on: onNode, weight: 4, claim: "process", least: second / 2, most: 15 * second, begin: killKeeper},
	{name: "keeper-frozen", about: "SIGSTOP to the keeper", on: onNode, weight: 4, claim: "process", least: second, most: 30 * second, begin: freezeKeeper},
	{name: "postmaster-frozen", about: "SIGSTOP to the postmaster alone", on: onNode, weight: 3, claim: "process", least: second, most: 12 * second, begin: freezePostmaster},
	{name: "server-frozen", about: "SIGSTOP to all of PostgreSQL, not to the keeper", on: onNode, weight: 4, claim: "process", least: second, most: 12 * second, begin: freezeServer},
	{name: "host-frozen", about: "SIGSTOP to everything on the host", on: onNode, weight: 6, claim: "process", least: second, most: 12 * second, begin: freezeHost},
	{name: "host-killed", about: "SIGKILL to everything on the host; it is booted later", on: onNode, weight: 5, claim: "process", least: second / 2, most: 20 * second, begin: killHost},
	{name: "host-cut", about: "no packet from or to the host, clients included", on: onNode, weight: 6, claim: "network", least: second, most: 15 * second, begin: cutHost},
	{name: "link-cut", about: "no packet between two nodes", on: onLink, weight: 5, claim: "", least: second, most: 15 * second, begin: cutLink},
	{name: "link-one-way", about: "no packet from one node to another; the way back is open", on: onLink, weight: 4, least: second, most: 15 * second, begin: cutLinkOneWay},
	{name: "monitor-link-cut", about: "no packet between a node and the monitor", on: onNode, weight: 3, claim: "network monitor", least: second, most: 30 * second, begin: cutMonitorLink},
	{name: "monitor-link-one-way", about: "no packet from a node to the monitor, or back", on: onNode, weight: 2, claim: "network monitor", least: second, most: 30 * second, begin: cutMonitorLinkOneWay},
	{name: "monitor-killed", about: "SIGKILL to everything on the monitor's host", on: onMonitor, weight: 3, claim: "process", least: second / 2, most: 20 * second, begin: killHost},
	{name: "monitor-daemon-killed", about: "SIGKILL to the monitor's daemon; its PostgreSQL goes on", on: onMonitor, weight: 2, claim: "process", least: second / 2, most: 10 * second, begin: killKeeper},
	{name: "monitor-frozen", about: "SIGSTOP to everything on the monitor's host", on: onMonitor, weight: 3, claim: "process", least: second, most: 20 * second, begin: freezeHost},
	{name: "monitor-cut", about: "no packet from or to the monitor", on: onMonitor, weight: 3, claim: "network", least: second, most: 30 * second, begin: cutHost},
	{name: "monitor-postmaster-killed", about: "SIGKILL to the postmaster of the monitor's PostgreSQL", on: onMonitor, weight: 3, claim: "process", begin: killPostmaster},
	{name: "monitor-disk-full", about: "no room for the monitor's PostgreSQL", on: onMonitor, weight: 2, claim: "disk", least: 2 * second, most: 10 * second, begin: fillData},
	{name: "packets-lost", about: "one packet in twenty is lost, everywhere", on: onGroup, weight: 3, also: []string{"loss"}, least: 5 * second, most: 20 * second, begin: losePackets},
	{name: "network-slow", about: "packets are late everywhere, and one in twenty is lost", on: onGroup, weight: 3, also: []string{"network"}, least: 5 * second, most: 20 * second, begin: slowNetwork},
	{name: "disk-full", about: "no room where PGDATA is", on: onNode, weight: 4, claim: "disk", least: 2 * second, most: 12 * second, needs: hasDataVolume, begin: fillData},
	{name: "state-disk-full", about: "no room where the keeper keeps its state", on: onNode, weight: 2, claim: "state", least: 2 * second, most: 15 * second, needs: hasStateVolume, begin: fillState},
	{name: "failover", about: "perform failover", on: onGroup, weight: 4, also: []string{"operator"}, begin: performFailover},
	{name: "promotion", about: "perform promotion of a node", on: onNode, weight: 3, also: []string{"operator"}, begin: performPromotion},
	{name: "maintenance", about: "a node in maintenance for a while", on: onNode, weight: 4, also: []string{"operator"}, least: second, most: 10 * second, begin: maintain},
	{name: "restart", about: "the daemon is stopped with its PostgreSQL, and run again", on: onNode, weight: 4, claim: "process", also: []string{"operator"}, least: second / 2, most: 8 * second, begin: restart},
	{name: "replaced", about: "a node is dropped and destroyed, and made again", on: onNode, weight: 3, claim: "process", also: []string{"operator"}, least: second / 2, most: 5 * second, begin: replace},
	{name: "sync-changed", about: "number_sync_standbys is another for a while", on: onGroup, weight: 3, also: []string{"sync"}, least: 2 * second, most: 12 * second, begin: changeNumberSync},
	{name: "priority-changed", about: "a candidate priority is another for a while", on: onNode, weight: 2, claim: "priority", least: 2 * second, most: 12 * second, begin: changePriority},
	{name: "quorum-changed", about: "a node does not count for commits for a while", on: onNode, weight: 2, claim: "quorum", least: 2 * second, most: 12 * second, begin: changeQuorum},
	{name: "drop-forced", about: "a node that is off is dropped by force, and made again", on: onNode, weight: 2, claim: "process", also: []string{"operator"}, least: second / 2, most: 8 * second, begin: dropByForce},
	{name: "backend-outlives", about: "SIGKILL to the postmaster while one of its children stands still", on: onNode, weight: 2, claim: "process", least: second, most: 5 * second, begin: outlive},
	{name: "cores-busy", about: "other programs want all processors", on: onGroup, weight: 2, also: []string{"processors"}, least: 5 * second, most: 20 * second, begin: keepBusy},
	{name: "clock-changed", about: "the daemon and its PostgreSQL are killed, and begin again with their clock an hour ahead, or back", on: onNode, weight: 2, claim: "process", least: second / 2, most: 5 * second, needs: canFakeTime, begin: changeClock},
	{name: "forked", about: "a standby is promoted behind its keeper's back, and writes", on: onNode, weight: 3, claim: "process", least: second, most: 8 * second, begin: fork},
	{name: "slot-invalidated", about: "a standby is cut off for longer than the primary keeps its log", on: onNode, weight: 2, claim: "network", also: []string{"slots"}, least: second, most: 10 * second, begin: loseSlot},
	{name: "rewind-failed", about: "the primary's host is killed, and its data cannot be rewound", on: onNode, weight: 2, claim: "process", least: second / 2, most: 8 * second, begin: failRewind},
	{name: "copy-killed", about: "a node is dropped and made again, and its copy is killed", on: onNode, weight: 2, claim: "process", also: []string{"operator"}, least: second / 2, most: 5 * second, begin: killCopy},
	{name: "monitor-restored", about: "the monitor's data is what it was at some earlier time", on: onMonitor, weight: 4, claim: "process", also: []string{"operator", "disk monitor"}, least: second / 2, most: 10 * second, begin: restoreMonitor},
	{name: "monitor-replaced", about: "a new monitor, which knows nothing, where the old one was", on: onMonitor, weight: 2, claim: "process", also: []string{"operator", "disk monitor"}, least: second / 2, most: 10 * second, begin: replaceMonitor},
}
