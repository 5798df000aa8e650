package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ErrNoShareDir says that an installation did not tell where its shared files are.
var ErrNoShareDir = errors.New("initdb does not name the directory of shared files")

// ShareDir returns the directory of an installation that holds, in extension/, the extensions that can be created.
func ShareDir(ctx context.Context, b Binaries) (string, error) {
	cmd := exec.CommandContext(ctx, b.Path("initdb"), "--show", "-D", os.DevNull)
	cmd.Env = cleanEnv(os.Environ())
	out, err := cmd.CombinedOutput() // it writes to standard error
	if err != nil {
		return "", fmt.Errorf("ask initdb for its directories: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "share_path="); ok {
			return dir, nil
		}
	}
	return "", ErrNoShareDir
}
