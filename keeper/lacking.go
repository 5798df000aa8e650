package keeper

import (
	"context"
	"fmt"
	"strconv"

	"github.com/autoctl/autoctl/internal/pgserver"
)

// needs are parameters without which a cluster cannot replicate as ours do, and
// whether a value will do.
var needs = []struct {
	name string
	ok   func(value string) bool
	want string
}{
	{"wal_level", func(v string) bool { return v == "replica" || v == "logical" }, "replica"},
	{"hot_standby", isOn, "on"},
	{"fsync", isOn, "on"},
	{"full_page_writes", isOn, "on"},
	{"max_wal_senders", atLeast(4), "at least 4"},
	{"max_replication_slots", atLeast(4), "at least 4"},
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
func (s survey) lacking(ctx context.Context) ([]string, error) {
	configFile := ""
	if !s.inside {
		configFile = s.config
	}
	var notes []string
	for _, n := range needs {
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
		notes = append(notes, fmt.Sprintf("the configuration is copied from %s into the data directory, and PostgreSQL restarted on it", s.config))
	}
	return notes, nil
}
