package soak

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// options say what a run does.
type options struct {
	duration time.Duration
	seed     uint64
	// nodes is how many there are, numberSync how many standbys must hold a commit,
	// async how many of the last nodes do not count for that.
	nodes, numberSync, async int
	// settings are those of the formation that differ from the defaults, as NAME=value.
	settings []string
	// dir is where the report goes.
	dir string
	// only names the kinds of faults to choose from; empty for all.
	only []string
}

// optionsFrom reads the options from environment variables; asked is false where
// AUTOCTL_SOAK does not ask for a run.
func optionsFrom(getenv func(string) string) (o options, asked bool, err error) {
	text := getenv("AUTOCTL_SOAK")
	if text == "" {
		return o, false, nil
	}
	var errs []error
	number := func(name string, otherwise int) int {
		value := getenv("AUTOCTL_SOAK_" + name)
		if value == "" {
			return otherwise
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("AUTOCTL_SOAK_%s=%q is no number", name, value))
		}
		return n
	}
	if o.duration, err = time.ParseDuration(text); err != nil {
		errs = append(errs, fmt.Errorf("AUTOCTL_SOAK: %w", err))
	}
	o.seed = uint64(number("SEED", int(rand.Int32N(1_000_000))))
	o.nodes, o.numberSync, o.async = number("NODES", 3), number("SYNC", 0), number("ASYNC", 0)
	o.settings = strings.Fields(getenv("AUTOCTL_SOAK_SETTINGS"))
	o.only = strings.Fields(getenv("AUTOCTL_SOAK_FAULTS"))
	if o.nodes < 2 || o.nodes > 9 {
		errs = append(errs, fmt.Errorf("%d nodes: 2 to 9 are possible", o.nodes))
	}
	if o.async+max(1, o.numberSync) >= o.nodes {
		errs = append(errs, fmt.Errorf("of %d nodes %d do not count: too few are left to hold a commit", o.nodes, o.async))
	}
	for _, name := range o.only {
		if !known(name) {
			errs = append(errs, fmt.Errorf("AUTOCTL_SOAK_FAULTS: there is no fault %q", name))
		}
	}
	if o.dir = getenv("AUTOCTL_SOAK_DIR"); o.dir == "" {
		o.dir = filepath.Join(os.TempDir(), "autoctl-soak")
	}
	o.dir = filepath.Join(o.dir, fmt.Sprintf("seed%d-%dnodes-n%d", o.seed, o.nodes, o.numberSync))
	return o, true, errors.Join(errs...)
}

func known(fault string) bool {
	for _, k := range kinds {
		if k.name == fault {
			return true
		}
	}
	return false
}

// configuration describes the group in a few words.
func (o options) configuration() string {
	s := fmt.Sprintf("%d nodes, number_sync_standbys %d", o.nodes, o.numberSync)
	if o.async > 0 {
		s += fmt.Sprintf(", %d without quorum", o.async)
	}
	if len(o.settings) > 0 {
		s += ", " + strings.Join(o.settings, " ")
	}
	return s
}
