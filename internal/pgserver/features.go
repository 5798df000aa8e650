package pgserver

// This file holds every difference between PostgreSQL's major versions that
// autoctl acts on; nothing else in the project compares version numbers.

// The major versions that are supported.
const (
	MinMajor = 13
	MaxMajor = 18
)

// Supported says whether autoctl runs servers of this version.
func (v Version) Supported() bool { return v.Major >= MinMajor && v.Major <= MaxMajor }

// RewindConfigFile says that pg_rewind has --config-file, needed where postgresql.conf
// is outside the data directory (15).
func (v Version) RewindConfigFile() bool { return v.Major >= 15 }

// RewindReadsNewTimeline says that pg_rewind looks at the newest timeline of a server
// rather than at that of its last checkpoint, so that it works right after a
// promotion (16). Before, a rejoiner waits for the new primary's first
// checkpoint (S22).
func (v Version) RewindReadsNewTimeline() bool { return v.Major >= 16 }

// ReloadsRestoreCommand says that restore_command changes by reload (14).
func (v Version) ReloadsRestoreCommand() bool { return v.Major >= 14 }

// RecoveryInitSyncMethod says that recovery_init_sync_method exists (14).
func (v Version) RecoveryInitSyncMethod() bool { return v.Major >= 14 }

// PausesOnLowSettings says that a standby whose max_connections and the like fall below
// the primary's pauses replay (14) instead of stopping (13).
func (v Version) PausesOnLowSettings() bool { return v.Major >= 14 }

// IdleSlotTimeout says that idle_replication_slot_timeout exists (18) and must be 0, or
// it invalidates the slots of standbys that are away.
func (v Version) IdleSlotTimeout() bool { return v.Major >= 18 }

// SyncReplicationSlots says that sync_replication_slots and synchronized_standby_slots
// exist (17).
func (v Version) SyncReplicationSlots() bool { return v.Major >= 17 }

// ClientConnectionCheck says that client_connection_check_interval exists (14).
func (v Version) ClientConnectionCheck() bool { return v.Major >= 14 }

// ReceiverFlushedLSN says that pg_stat_wal_receiver has written_lsn and flushed_lsn
// instead of received_lsn (13, that is, always among supported versions).
func (v Version) ReceiverFlushedLSN() bool { return v.Major >= 13 }

// ReadAllData says that roles pg_read_all_data and pg_write_all_data exist (14).
func (v Version) ReadAllData() bool { return v.Major >= 14 }

// CheckpointRole says that pg_checkpoint lets a role without superuser checkpoint (15).
func (v Version) CheckpointRole() bool { return v.Major >= 15 }

// GrantSetOnParameters says that GRANT SET ON PARAMETER exists (15).
func (v Version) GrantSetOnParameters() bool { return v.Major >= 15 }

// BackupStartFunction says that base backups are started with pg_backup_start (15), not
// pg_start_backup.
func (v Version) BackupStartFunction() bool { return v.Major >= 15 }

// HBAIncludes says that pg_hba.conf has include directives and regular expressions for
// users and databases (16).
func (v Version) HBAIncludes() bool { return v.Major >= 16 }

// ChecksumsByDefault says that initdb turns data checksums on unless told otherwise
// (18); before, it has to be asked.
func (v Version) ChecksumsByDefault() bool { return v.Major >= 18 }

// InitDBSet says that initdb has -c name=value (16).
func (v Version) InitDBSet() bool { return v.Major >= 16 }

// SyncFlagRaceFixed says that a starting server knows its synchronous standbys
// before it admits the first commit (fixed in minor releases of April 2025).
// Before it, clients must be kept out until a backend has been seen waiting, or
// a checkpoint has ended, after the start (S2).
func (v Version) SyncFlagRaceFixed() bool {
	fixed := map[int]int{13: 21, 14: 18, 15: 13, 16: 9, 17: 5}
	minor, ok := fixed[v.Major]
	return !ok && v.Major > 17 || ok && v.Minor >= minor
}
