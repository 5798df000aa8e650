package fsm

import (
	"errors"
	"fmt"
	"time"
)

// Settings are the timings of a group, in milliseconds. All are configurable on the monitor and checked together by Validate.
type Settings struct {
	HeartbeatMS            int64 `json:"heartbeat_ms"`
	NodeLostAfterMS        int64 `json:"node_lost_after_ms"`
	ProbeIntervalMS        int64 `json:"probe_interval_ms"`
	ProbeTimeoutMS         int64 `json:"probe_timeout_ms"`
	ReplicationStallMS     int64 `json:"replication_stall_after_ms"`
	NodeUnreachableAfterMS int64 `json:"node_unreachable_after_ms"`
	OperatorWaitMS         int64 `json:"operator_wait_ms"`
	WALRetrieveRetryMS     int64 `json:"wal_retrieve_retry_interval_ms"`
	WALReceiverStatusMS    int64 `json:"wal_receiver_status_interval_ms"`
	WALReceiverTimeoutMS   int64 `json:"wal_receiver_timeout_ms"`
	WALSenderTimeoutMS     int64 `json:"wal_sender_timeout_ms"`
	// StorageHungAfterMS is the age of the last finished local commit from which storage counts as hung (S18).
	StorageHungAfterMS int64 `json:"storage_hung_after_ms"`
	// ElectionPatienceMS is how long an election waits for one more voter once the votes cover, and fast_forward for its source.
	ElectionPatienceMS int64 `json:"election_patience_ms"`
	// DrainDeadlineMS is how long a drained primary waits for a newer goal before it starts again (S21).
	DrainDeadlineMS int64 `json:"drain_deadline_ms"`
	// GatePatienceMS is how long a restarted primary keeps clients out while its standbys have not confirmed its end of WAL.
	GatePatienceMS int64 `json:"gate_patience_ms"`
	// RejoinHoldMS is the first hold-off of a member that comes and goes; it doubles with each return, up to 32 times.
	RejoinHoldMS int64 `json:"rejoin_hold_ms"`
	// FailoverLimit is how many unplanned failovers a group may have within FailoverWindowMS; after that, restart in place.
	FailoverLimit    int64 `json:"failover_limit"`
	FailoverWindowMS int64 `json:"failover_window_ms"`
	// CatchupBytes is how near, in bytes, a standby must be to become a member.
	CatchupBytes int64 `json:"catchup_bytes"`
	// CitusGraceMS is for how long a transaction may hold up a planned hand-over of a Citus group before it is ended.
	CitusGraceMS int64 `json:"citus_grace_ms"`
	// CitusStandbys is 1 where the standbys of Citus groups are registered as Citus secondaries, for queries that ask for them; otherwise 0.
	CitusStandbys int64 `json:"citus_standbys"`
}

// DefaultSettings returns the defaults of design section 11.
func DefaultSettings() Settings {
	return Settings{
		HeartbeatMS: 500, NodeLostAfterMS: 3000, ProbeIntervalMS: 500, ProbeTimeoutMS: 1000,
		ReplicationStallMS: 5000, NodeUnreachableAfterMS: 20000, OperatorWaitMS: 60000,
		WALRetrieveRetryMS: 200, WALReceiverStatusMS: 1000, WALReceiverTimeoutMS: 5000, WALSenderTimeoutMS: 10000,
		StorageHungAfterMS: 15000, ElectionPatienceMS: 100, DrainDeadlineMS: 10000, GatePatienceMS: 30000,
		RejoinHoldMS: 1000, FailoverLimit: 6, FailoverWindowMS: 120000, CatchupBytes: 16 << 20, CitusGraceMS: 5000,
	}
}

// Validate checks all settings together and returns every complaint joined.
func (s Settings) Validate() error {
	var errs []error
	bad := func(cond bool, format string, args ...any) {
		if cond {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(s.HeartbeatMS < 50 || s.HeartbeatMS > 60000, "heartbeat is %d ms: must be between 50 and 60000", s.HeartbeatMS)
	bad(s.ProbeIntervalMS < 50, "probe_interval is %d ms: must be at least 50", s.ProbeIntervalMS)
	bad(s.ProbeTimeoutMS < 50, "probe_timeout is %d ms: must be at least 50", s.ProbeTimeoutMS)
	bad(s.NodeLostAfterMS < 2*s.HeartbeatMS, "node_lost_after (%d ms) must be at least twice heartbeat (%d ms)", s.NodeLostAfterMS, s.HeartbeatMS)
	bad(s.NodeLostAfterMS < s.ProbeTimeoutMS, "node_lost_after (%d ms) must not be below probe_timeout (%d ms)", s.NodeLostAfterMS, s.ProbeTimeoutMS)
	bad(s.NodeLostAfterMS < s.ProbeIntervalMS, "node_lost_after (%d ms) must not be below probe_interval (%d ms)", s.NodeLostAfterMS, s.ProbeIntervalMS)
	bad(s.NodeUnreachableAfterMS < s.NodeLostAfterMS, "node_unreachable_after (%d ms) must not be below node_lost_after (%d ms)", s.NodeUnreachableAfterMS, s.NodeLostAfterMS)
	bad(s.ReplicationStallMS < s.WALReceiverStatusMS, "replication_stall_after (%d ms) must not be below wal_receiver_status_interval (%d ms)", s.ReplicationStallMS, s.WALReceiverStatusMS)
	bad(s.WALReceiverTimeoutMS < 2*s.WALReceiverStatusMS, "wal_receiver_timeout (%d ms) must be at least twice wal_receiver_status_interval (%d ms)", s.WALReceiverTimeoutMS, s.WALReceiverStatusMS)
	bad(s.WALSenderTimeoutMS < 2*s.WALReceiverStatusMS, "wal_sender_timeout (%d ms) must be at least twice wal_receiver_status_interval (%d ms)", s.WALSenderTimeoutMS, s.WALReceiverStatusMS)
	bad(s.WALRetrieveRetryMS < 10, "wal_retrieve_retry_interval is %d ms: must be at least 10", s.WALRetrieveRetryMS)
	bad(s.WALReceiverStatusMS < 1000, "wal_receiver_status_interval is %d ms: PostgreSQL counts it in whole seconds", s.WALReceiverStatusMS)
	bad(s.StorageHungAfterMS < s.HeartbeatMS, "storage_hung_after (%d ms) must not be below heartbeat (%d ms)", s.StorageHungAfterMS, s.HeartbeatMS)
	bad(s.OperatorWaitMS < 0 || s.ElectionPatienceMS < 0 || s.GatePatienceMS < 0 || s.RejoinHoldMS < 0, "no setting may be negative")
	bad(s.DrainDeadlineMS < 1000, "drain_deadline is %d ms: must be at least 1000", s.DrainDeadlineMS)
	bad(s.FailoverLimit < 1 || s.FailoverWindowMS < 1000, "failover_limit must be at least 1 and failover_window at least 1000 ms")
	bad(s.CatchupBytes < 1, "catchup_bytes must be positive")
	bad(s.CitusGraceMS < 100 || s.CitusGraceMS > 3600000, "citus_grace is %d ms: must be between 100 and 3600000", s.CitusGraceMS)
	bad(s.CitusStandbys < 0 || s.CitusStandbys > 1, "citus_standbys is %d: must be 0 or 1", s.CitusStandbys)
	return errors.Join(errs...)
}

func ms(v int64) time.Duration { return time.Duration(v) * time.Millisecond }
