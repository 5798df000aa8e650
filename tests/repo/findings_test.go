package repo

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestH17_NobodyIsCancelled: PostgreSQL answers a client whose wait for a standby is cancelled with COMMIT. No program of ours, and no SQL, ever cancels
// a backend, so that the loss of a standby acknowledges nothing.
func TestH17_NobodyIsCancelled(t *testing.T) {
	cancels := regexp.MustCompile(`pg_cancel_backend|\bSIGINT\b.*backend`)
	looked := 0
	walk(t, func(path string) {
		ours := strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".sql") || strings.HasSuffix(path, ".sh")
		if !ours || strings.HasPrefix(path, "tests/") {
			return
		}
		looked++
		content, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		if found := cancels.Find(content); found != nil {
			t.Errorf("%s: %s", path, found)
		}
	})
	if looked < 100 {
		t.Errorf("only %d files were looked at", looked)
	}
}

// maxExcluded is how many findings may do without a test.
const maxExcluded = 5

// TestEvidence: every number of docs/evidence.md names tests that carry it and exist, or the sentence, in another page, that says what excludes it.
func TestEvidence(t *testing.T) {
	names := testNames(t)
	page := read(t, "docs/evidence.md")
	row := regexp.MustCompile(`(?m)^\| \*{0,2}([HS]\d+)\*{0,2} \|(.*)\|([^|]*)\|$`)
	quoted := regexp.MustCompile("`([^`]+)`")
	seen, excluded := map[string]bool{}, 0
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		number, answers := m[1], m[3]
		if seen[number] {
			t.Errorf("%s is there twice", number)
		}
		seen[number] = true
		if link := regexp.MustCompile(`\[[^]]*\]\(([a-z-]+\.md)\)`).FindStringSubmatch(answers); strings.Contains(answers, "excluded") {
			excluded++
			if link == nil || !strings.Contains(read(t, "docs/"+link[1]), number+":") {
				t.Errorf("%s is excluded, and no page says by what", number)
			}
			continue
		}
		carries := regexp.MustCompile(fmt.Sprintf(`(?i)(^|[^a-z0-9])(test)?%s0*%s([^0-9]|$)`, number[:1], number[1:]))
		numbered := false
		for _, q := range quoted.FindAllStringSubmatch(answers, -1) {
			if !names[q[1]] {
				t.Errorf("%s names %s, which does not exist", number, q[1])
			}
			numbered = numbered || carries.MatchString(q[1])
		}
		if !numbered {
			t.Errorf("%s: no test that carries the number: %s", number, answers)
		}
	}
	for kind, last := range map[string]int{"H": 29, "S": 24} {
		for i := 1; i <= last; i++ {
			if n := fmt.Sprintf("%s%d", kind, i); !seen[n] {
				t.Errorf("%s is missing", n)
			}
		}
	}
	if excluded > maxExcluded {
		t.Errorf("%d findings are excluded, %d may be", excluded, maxExcluded)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(top, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// testNames are the names of all tests, of their subtests where those are written out, and the paths of all scripts.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			names[f.Name.Name] = true
			ast.Inspect(f, func(n ast.Node) bool {
				if sub := subtest(n); sub != "" {
					names[f.Name.Name+"/"+sub] = true
				}
				return true
			})
		}
	}
	walk(t, func(path string) {
		if script, ok := strings.CutPrefix(path, "fsm/testdata/"); ok {
			names[script] = true
		}
	})
	return names
}

// subtest returns the name in t.Run("name", …); "" for anything else.
func subtest(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return ""
	}
	if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Run" {
		return ""
	}
	name, ok := call.Args[0].(*ast.BasicLit)
	if !ok {
		return ""
	}
	return strings.Trim(name.Value, `"`)
}
