package keeper

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/autoctl/autoctl/internal/pgserver"
)

// need is a parameter, whether a value will do, and what it becomes otherwise.
type need struct {
	name string
	ok   func(value string) bool
	want string
}

// needs are parameters without which a cluster cannot replicate as ours do.
var needs = []need{
	{"wal_level", func(v string) bool { return v == "replica" || v == "logical" }, "replica"},
	{"hot_standby", isOn, "on"},
	{"fsync", isOn, "on"},
	{"full_page_writes", isOn, "on"},
	{"max_wal_senders", atLeast(10), "10"}, // PostgreSQL's default
	{"max_replication_slots", atLeast(10), "10"},
	{"synchronous_commit", func(v string) bool { return v == "on" || v == "remote_apply" }, "on"},
}

func isOn(v string) bool { return v == "on" }

func atLeast(n int) func(string) bool {
	return func(v string) bool {
		got, err := strconv.Atoi(v)
		return err == nil && got >= n
	}
}

// lacking says in words what an existing cluster lacks for replication, and what
// will be done about it: for people, before anything is changed.
func (s survey) lacking(ctx context.Context, cfg Config) ([]string, error) {
	configFile := ""
	if !s.inside {
		configFile = s.config
	}
	var notes []string
	wanted := append(slices.Clone(needs), need{"listen_addresses", func(v string) bool { return v == cfg.Listen }, cfg.Listen},
		need{"port", func(v string) bool { return v == strconv.Itoa(cfg.Port) }, strconv.Itoa(cfg.Port)})
	for _, n := range wanted {
		v, err := pgserver.OfflineSetting(ctx, s.binaries, s.data.Path, configFile, n.name)
		if err != nil {
			return nil, refuse(CodeDamaged, err, "correct the configuration file", "read configuration %s: %v", s.config, err)
		}
		if !n.ok(v) {
			notes = append(notes, fmt.Sprintf("%s is %s and becomes %s", n.name, v, n.want))
		}
	}
	if !s.data.Control.Checksums && !s.data.Control.WALLogHints {
		notes = append(notes, "neither data checksums nor wal_log_hints are on, so that pg_rewind could not be used: wal_log_hints becomes on")
	}
	if len(notes) > 0 && s.running != nil {
		notes = append(notes, "some of this takes effect with a restart of PostgreSQL, which autoctl run does once")
	}
	if !s.inside {
		notes = append(notes, fmt.Sprintf("autoctl run copies the configuration from %s into the data directory, and restarts PostgreSQL on it", s.config))
	}
	return notes, nil
}
