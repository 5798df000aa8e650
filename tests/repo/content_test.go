package repo

import (
	"bytes"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxLines is how long a Go file may be; tables and scripts live in testdata.
const maxLines = 600

// TestFileSizes: a file has one job.
func TestFileSizes(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.lines(); n >= maxLines && !ast.IsGenerated(s.file) {
			t.Errorf("%s has %d lines, %d are allowed", s.path, n, maxLines-1)
		}
	}
}

// sleepers lists the files that may call time.Sleep, each with its reason:
// everything else awaits an event, or a timer together with a context. Tests
// may, where there is no event to await.
var sleepers = map[string]string{
	"tests/machine/process.go": "nobody is told when a process of somebody else has stopped or ended",
}

// TestNoSleep: nothing in the programs waits for a fixed time (P5).
func TestNoSleep(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "time" {
				return true
			}
			used[s.path] = true
			if sleepers[s.path] == "" {
				t.Errorf("%s: time.Sleep: await an event instead", s.position(n.Pos()))
			}
			return true
		})
	}
	for path := range sleepers {
		if !used[path] {
			t.Errorf("%s no longer sleeps: take it off the list", path)
		}
	}
}

// foreign matches what belongs to one machine or one person, or is unfinished.
var foreign = map[string]*regexp.Regexp{
	"a path of somebody's machine": regexp.MustCompile(`(^|[^\w.}-])/(work|root|Users)/|/home/[a-z]+/`),
	"an unfinished note":           regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`),
	"a package registry's host":    regexp.MustCompile(`proxy` + `\.golang\.org|deb` + `\.debian\.org|registry` + `\.npmjs`),
	"a merge conflict":             regexp.MustCompile(`^(<{7}|>{7}) `),
}

// TestNothingForeign: no file names a path of one machine, a registry, or work
// that was left undone.
func TestNothingForeign(t *testing.T) {
	walk(t, func(path string) {
		content, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(content) || path == "go.sum" {
			return
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			for what, re := range foreign {
				if hit := re.Find(line); hit != nil && !strings.HasSuffix(path, "repo/content_test.go") {
					t.Errorf("%s:%d: %s: %s", path, i+1, what, bytes.TrimSpace(line))
				}
			}
		}
	})
}
