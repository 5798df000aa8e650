package keeper

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// oldestCitus is the first version that can move a node while its writes are held (citus_pause_node_within_txn).
const oldestCitus = "12.1"

// checkExtension refuses a node of a Citus formation where the extension is not installed for the PostgreSQL that it would run, or is too old. Where the installation
// cannot be asked, the server will say so itself.
func checkExtension(ctx context.Context, cfg Config, b pgserver.Binaries) error {
	if cfg.Kind != fsm.KindCitus {
		return nil
	}
	share, err := pgserver.ShareDir(ctx, b)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	control := filepath.Join(share, "extension", "citus.control")
	content, err := os.ReadFile(control)
	if version := defaultVersion(string(content)); err == nil && version != "" && older(version, oldestCitus) {
		return refuse(CodeSetup, nil, "install version "+oldestCitus+" or newer on every node of the formation",
			"the extension citus is of version %s: %s is the oldest that nodes can be moved with", version, oldestCitus)
	}
	if err == nil || !os.IsNotExist(err) {
		return nil
	}
	return refuse(CodeSetup, nil, "install it on every node of the formation: the package is postgresql-"+strconv.Itoa(b.Version.Major)+"-citus-… of Citus' own repository (https://docs.citusdata.com), or build it with PG_CONFIG="+b.Path("pg_config"),
		"the extension citus is not installed for PostgreSQL %s: there is no %s", b.Version, control)
}

// defaultVersion is what an extension's control file says would be made; "" where it does not say.
func defaultVersion(control string) string {
	for line := range strings.Lines(control) {
		if name, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == "default_version" {
			return strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	return ""
}

// older compares versions such as 11.3-1 and 12.1: major and minor, as far as both are numbers.
func older(version, than string) bool {
	parse := func(text string) (v [2]int) {
		text, _, _ = strings.Cut(text, "-")
		for i, part := range strings.SplitN(text, ".", 3)[:min(2, strings.Count(text, ".")+1)] {
			v[i], _ = strconv.Atoi(part)
		}
		return v
	}
	a, b := parse(version), parse(than)
	return slices.Compare(a[:], b[:]) < 0
}
