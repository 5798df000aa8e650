package keeper

import "github.com/autoctl/autoctl/keeper/daemon"

// StopMode is how a stop that somebody asked for goes; see package daemon.
type StopMode = daemon.StopMode

// The ways to stop, from the gentlest.
const (
	StopKeeper    = daemon.StopKeeper
	StopGraceful  = daemon.StopGraceful
	StopFast      = daemon.StopFast
	StopImmediate = daemon.StopImmediate
)

// ParseStopMode reads the name that commands use.
func ParseStopMode(name string) (StopMode, error) { return daemon.ParseStopMode(name) }

// ErrDropped says that the node left its group; there is nothing to run.
var ErrDropped = daemon.ErrDropped
