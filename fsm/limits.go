package fsm

// Limits are the settings that a standby must match or exceed, or it stops replaying (PostgreSQL's documentation, Hot Standby). They are raised on standbys
// first: a primary's keeper reports what its files ask for, the standbys are told, and the primary itself has them at its next start.
type Limits struct {
	Connections int `json:"max_connections,omitempty"`
	Workers     int `json:"max_worker_processes,omitempty"`
	Senders     int `json:"max_wal_senders,omitempty"`
	Prepared    int `json:"max_prepared_transactions,omitempty"`
	Locks       int `json:"max_locks_per_transaction,omitempty"`
}

// ByName returns places for the limits, by PostgreSQL's names.
func (l *Limits) ByName() map[string]*int {
	return map[string]*int{
		"max_connections": &l.Connections, "max_worker_processes": &l.Workers, "max_wal_senders": &l.Senders,
		"max_prepared_transactions": &l.Prepared, "max_locks_per_transaction": &l.Locks,
	}
}
