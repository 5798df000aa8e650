package explore

import "fmt"

var (
	hangs = [4]string{"not at all", "its postmaster", "all of it", "waiting for its disk"}
	ways  = [4]string{"with the file beside it", "without the file beside it", "with the file, without reports", "without the file and reports"}
)

// String tells the event in words.
func (e event) String() string {
	end := func(n int8) string {
		if n < 0 {
			return "the monitor"
		}
		return name(int(n))
	}
	a, b := end(e.a), end(e.b)
	texts := [evKinds]string{
		evObey: "keeper %[1]s takes its goal", evStep: "node %[1]s does its next step", evReport: "keeper %[1]s reports",
		evReceive: "standby %[1]s receives", evReply: "standby %[1]s confirms what it has flushed",
		evSilence: "the monitor has not heard of %[1]s for long", evLost: "server %[1]s takes standby %[2]s for lost",
		evTimer: "a timer ends on %[1]s", evPatience: "the monitor's timers end", evReturn: "host %[1]s comes back",
		evHeal: "the link between %[1]s and %[2]s is whole", evLate: "the delayed report of %[1]s arrives",
		evCommit: "a client commits on %[1]s", evKill: "server %[1]s crashes", evOff: "host %[1]s goes off",
		evKeeper: "keeper %[1]s restarts", evCut: "the link between %[1]s and %[2]s is cut", evMonitor: "the monitor restarts",
		evDelay: "a report of %[1]s is delayed", evMid: "host %[1]s goes off in the middle of work on its data",
		evDisk: "node %[1]s loses its data directory", evSlow: "the monitor wrongly takes %[1]s for silent",
		evFailover: "operator: failover", evPromote: "operator: promotion of %[1]s",
		evMaintain: "operator: maintenance of %[1]s, failover allowed", evBack: "operator: %[1]s returns from maintenance",
		evStale: "keeper %[1]s is told its previous goal once more",
		evThaw:  "host %[1]s goes on", evFreeze: "host %[1]s is frozen",
		evQuorum: "operator: the other replication quorum for %[1]s", evPriority: "operator: candidate priority of %[1]s to 0 or back",
		evNumber: "operator: number_sync_standbys as many as stand before %[1]s", evDrop: "operator: drop %[1]s",
		evHandOver: "keeper %[1]s asks to be relieved", evForce: "operator: failover, data loss allowed",
		evRebuild: "operator: rebuild %[1]s", evStrike: "operator: drop %[1]s by force", evAdd: "operator: create %[1]s again, or hand it over",
		evPause: "operator: pause, or resume", evBackup: "the monitor's memory is saved",
		evWake: "keeper %[1]s goes on", evGoOn: "server %[1]s goes on", evRoom: "the disk of %[1]s takes the state file again",
		evArrive: "the delayed goal of %[1]s arrives", evCutOne: "nothing gets from %[1]s to %[2]s any more", evDoze: "keeper %[1]s is frozen",
		evHang: "server %[1]s hangs, " + hangs[e.b&3], evStarve: "%[1]s, just rewound, needs log that its upstream removes", evFull: "the disk of %[1]s refuses the state file",
		evHold: "the goal of %[1]s is delayed", evRestore: "the monitor is restored from its backup, " + ways[e.b&3],
		evReplace: "the monitor is lost, and a new one takes its place",
	}
	return fmt.Sprintf(texts[e.kind]+"%[3]s", a, b, "")
}
