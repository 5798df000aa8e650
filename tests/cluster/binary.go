package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// module is what a build without AUTOCTL_BINARY compiles.
const command = "github.com/autoctl/autoctl/cmd/autoctl"

// installBinary puts autoctl where every user may run it, and returns its path:
// the one named by AUTOCTL_BINARY, or one built now with the race detector.
func installBinary(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "autoctl")
	if built := os.Getenv("AUTOCTL_BINARY"); built != "" {
		content, err := os.ReadFile(built)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if out, err := exec.Command("go", "build", "-race", "-buildvcs=false", "-o", path, command).CombinedOutput(); err != nil {
		t.Fatalf("build autoctl: %v\n%s", err, out)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
