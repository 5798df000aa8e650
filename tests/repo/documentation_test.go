package repo

import (
	"go/ast"
	"go/token"
	"testing"
)

// TestPackageComments: every package has exactly one package comment.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			if _, seen := comments[s.dir]; !seen {
				comments[s.dir] = nil
			}
			if s.file.Doc == nil {
				continue
			}
		}
		if s.file.Doc != nil {
			comments[s.dir] = append(comments[s.dir], s.path)
		} else if _, seen := comments[s.dir]; !seen {
			comments[s.dir] = nil
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s: %d package comments, want one: %v", dir, len(files), files)
		}
	}
}

// TestExportedDocumented: whatever a package exports says what it promises.
func TestExportedDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil {
					t.Errorf("%s: %s is exported and not documented", s.position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				undocumentedSpecs(t, s, d)
			}
		}
	}
}

// undocumentedSpecs reports exported types, constants and variables without a
// comment of their own or, in a block of constants or variables, of the block.
func undocumentedSpecs(t *testing.T, s source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
				t.Errorf("%s: %s is exported and not documented", s.position(spec.Pos()), spec.Name.Name)
			}
		case *ast.ValueSpec:
			if d.Doc != nil || spec.Doc != nil || spec.Comment != nil || d.Tok == token.IMPORT {
				continue
			}
			for _, name := range spec.Names {
				if name.IsExported() {
					t.Errorf("%s: %s is exported and not documented", s.position(name.Pos()), name.Name)
				}
			}
		}
	}
}

// exportedReceiver reports whether d is a function, or a method of an exported
// type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	expr := d.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return true
		}
	}
}
