package metadata

import (
	"context"
	"time"

	"github.com/autoctl/autoctl/citus"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

// Client speaks to the servers of one formation about one database.
type Client struct {
	// Connect opens a superuser session in the database with the server at an address, within the context. The caller knows credentials, TLS, and that the
	// coordinator may be reached by its socket. Required.
	Connect func(ctx context.Context, group int, at citus.Address, database string) (*pgx.Conn, error)
	Timings Timings
	Log     zerolog.Logger
}

// Timings bound what a client does on one server. Zero fields take the defaults.
type Timings struct {
	Connect time.Duration // opening a session: 2 s
	Change  time.Duration // one transaction that changes addresses: 5 s
	Lock    time.Duration // waiting for one lock in it: 3 s
	Sync    time.Duration // adding, activating or removing a node, with all its metadata: 10 min
	Grace   time.Duration // transactions under way when a hold begins: 5 s (citus.DefaultGrace)
	Hold    time.Duration // from a hold's completion until it ends by itself: 15 s
}

// Node is what is known of one server after a call.
type Node struct {
	Group  int           `json:"group"`
	At     citus.Address `json:"at"`
	Actual *citus.Actual `json:"actual,omitempty"` // nil when nothing could be read
	// Done are the steps made, Left the differences that remain, with their reasons.
	Done []citus.Step       `json:"done,omitempty"`
	Left []citus.Difference `json:"left,omitempty"`
	// Ended are the sessions that were ended because they stood in the way.
	Ended []Ended `json:"ended,omitempty"`
	// Problem is why the server could not be read or changed; empty when it could.
	Problem string `json:"problem,omitempty"`
	// Recovered is how many prepared transactions the server resolved; -1 when it was not asked.
	Recovered int `json:"recovered"`
}

// Report is what a call did and found, one entry a group of the topology, in its order.
type Report struct {
	Nodes []Node `json:"nodes"`
}
