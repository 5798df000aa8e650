package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source is one Go file of the module, parsed with its comments.
type source struct {
	path string // relative to the top of the module, with slashes
	dir  string
	test bool
	code []byte
	fset *token.FileSet
	file *ast.File
}

// lines is the number of lines of the file.
func (s source) lines() int { return strings.Count(string(s.code), "\n") }

// position is where p is, as path:line.
func (s source) position(p token.Pos) string {
	at := s.fset.Position(p)
	at.Filename, at.Column = s.path, 0
	return at.String()
}

// top is the root directory of the module, relative to this package.
const top = "../.."

// walk calls visit with every file of the checkout that belongs to the project:
// no version control, nothing built.
func walk(t *testing.T, visit func(path string)) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == ".git" || rel == "bin" || rel == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type().IsRegular() {
			visit(rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources returns all Go files outside testdata.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") || strings.Contains("/"+path, "/testdata/") {
			return
		}
		code, err := os.ReadFile(filepath.Join(top, path))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, code, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{
			path: path,
			dir:  filepath.ToSlash(filepath.Dir(path)),
			test: strings.HasSuffix(path, "_test.go"),
			code: code,
			fset: fset,
			file: file,
		})
	})
	if len(all) < 10 {
		t.Fatalf("found %d Go files from %s: not the top of the module?", len(all), top)
	}
	return all
}
