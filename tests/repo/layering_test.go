package repo

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/autoctl/autoctl"

// goPackage is what "go list -json" tells of a package.
type goPackage struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// path is the package's place in the module: "" for the module's root.
func (p goPackage) path() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// within reports whether the package is dir or below it.
func (p goPackage) within(dir string) bool {
	return p.path() == dir || strings.HasPrefix(p.path(), dir+"/")
}

// ours returns the packages of the module, with all they depend on.
func ours(t *testing.T) (mine []goPackage, standard map[string]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = top
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	standard = map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		standard[p.ImportPath] = p.Standard
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			mine = append(mine, p)
		}
	}
	if len(mine) < 3 {
		t.Fatalf("go list found %d packages of %s", len(mine), module)
	}
	return mine, standard
}

// TestDecisionsArePure: fsm imports nothing but the standard library, so that a
// decision can depend on its arguments only. Its subpackages may import fsm;
// those that only serve tests are named *test.
func TestDecisionsArePure(t *testing.T) {
	mine, standard := ours(t)
	impure := []string{"os", "os/exec", "net", "net/http", "log", "log/slog", "database/sql", "math/rand", "math/rand/v2", "syscall"}
	for _, p := range mine {
		if !p.within("fsm") || strings.HasSuffix(p.ImportPath, "test") {
			continue
		}
		for _, imp := range p.Imports {
			if !standard[imp] && imp != module+"/fsm" {
				t.Errorf("%s imports %s: only the standard library is allowed", p.ImportPath, imp)
			}
			if p.path() == "fsm" && slices.Contains(impure, imp) {
				t.Errorf("%s imports %s: decisions do no I/O and draw no lots", p.ImportPath, imp)
			}
		}
	}
}

// TestLayering: dependencies point inward. What is forbidden is forbidden
// however indirect.
func TestLayering(t *testing.T) {
	forbidden := []struct{ from, to, why string }{
		{"keeper", "monitor", "a keeper knows the monitor's client side only, which lives in internal/"},
		{"keeper", "cmd", "commands are the outermost layer"},
		{"monitor", "keeper", "the monitor sees keepers through their reports"},
		{"monitor", "cmd", "commands are the outermost layer"},
		{"citus", "monitor", "rules are called, they call nobody"},
		{"citus", "keeper", "rules are called, they call nobody"},
		{"internal", "monitor", "what is shared does not know who shares it"},
		{"internal", "keeper", "what is shared does not know who shares it"},
		{"internal", "cmd", "commands are the outermost layer"},
		{"cmd", "tests", "the tests use the binary, not the other way round"},
	}
	mine, _ := ours(t)
	for _, p := range mine {
		for _, f := range forbidden {
			if !p.within(f.from) {
				continue
			}
			for _, dep := range p.Deps {
				if (goPackage{ImportPath: dep}).within(f.to) && strings.HasPrefix(dep, module) {
					t.Errorf("%s depends on %s: %s", p.ImportPath, dep, f.why)
				}
			}
		}
	}
}

// TestLibrariesInTheirPlace: viper only where configuration is decoded, and no
// global logger anywhere, tests included.
func TestLibrariesInTheirPlace(t *testing.T) {
	mine, _ := ours(t)
	for _, p := range mine {
		for _, imp := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			switch imp {
			case "github.com/spf13/viper":
				if p.path() != "cmd/autoctl" {
					t.Errorf("%s imports viper: configuration is decoded in cmd/autoctl only", p.ImportPath)
				}
			case "github.com/rs/zerolog/log":
				t.Errorf("%s imports zerolog's global logger: loggers are handed in", p.ImportPath)
			case "github.com/stretchr/testify", "github.com/stretchr/testify/assert", "github.com/stretchr/testify/require":
				t.Errorf("%s imports %s: tests use the standard library and go-cmp", p.ImportPath, imp)
			}
		}
	}
}
