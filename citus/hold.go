package citus

import "time"

// DefaultGrace is for how long transactions that are under way may go on when a group's writes are to be held.
const DefaultGrace = 5 * time.Second

// Grace returns for how long transactions under way may go on.
func (h Hold) Grace() time.Duration {
	if h.GraceMS <= 0 {
		return DefaultGrace
	}
	return time.Duration(h.GraceMS) * time.Millisecond
}
