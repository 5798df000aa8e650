package local

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/fsm"
)

// TestKeep_Late: a look that was held up does not replace what somebody else saw since (S7).
func TestKeep_Late(t *testing.T) {
	n := &Node{changed: make(chan struct{}, 1), seen: map[fsm.NodeID]standbySeen{}}
	at := time.Now()
	n.keep(sight{at: at, status: fsm.ServerRunning, recovery: true, position: 20})
	n.keep(sight{at: at.Add(-time.Second), status: fsm.ServerRunning, recovery: true, position: 10, final: true})
	if s := n.newest(); s.position != 20 || s.final {
		t.Errorf("the newest sight is %+v", s)
	}
}

// TestPlain: the environment decides nothing about a session with the local server: a standby is not refused for not being a primary.
func TestPlain(t *testing.T) {
	t.Setenv("PGTARGETSESSIONATTRS", "primary")
	t.Setenv("PGSSLMODE", "verify-full")
	config, err := pgx.ParseConfig(plain)
	if err != nil || config.ValidateConnect != nil || config.TLSConfig != nil {
		t.Errorf("%v, a check %t, TLS %t", err, config.ValidateConnect != nil, config.TLSConfig != nil)
	}
}
