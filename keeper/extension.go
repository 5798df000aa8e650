package keeper

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver"
)

// checkExtension refuses a node of a Citus formation where the extension is not installed for the PostgreSQL that it would run. Where the installation cannot be
// asked, the server will say so itself.
func checkExtension(ctx context.Context, cfg Config, b pgserver.Binaries) error {
	if cfg.Kind != fsm.KindCitus {
		return nil
	}
	share, err := pgserver.ShareDir(ctx, b)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	control := filepath.Join(share, "extension", "citus.control")
	if _, err := os.Stat(control); err == nil || !os.IsNotExist(err) {
		return nil
	}
	return refuse(CodeSetup, nil, "install it on every node of the formation: the package is postgresql-"+strconv.Itoa(b.Version.Major)+"-citus-… of Citus' own repository (https://docs.citusdata.com), or build it with PG_CONFIG="+b.Path("pg_config"),
		"the extension citus is not installed for PostgreSQL %s: there is no %s", b.Version, control)
}
