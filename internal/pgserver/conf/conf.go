// Package conf writes PostgreSQL's configuration files: one include file that
// is ours as a whole, one line at the end of postgresql.conf that includes it,
// and postgresql.auto.conf without the parameters that we own.
//
// Precedence, weakest first: postgresql.conf, what it includes (by place, the
// last one wins), postgresql.auto.conf, the postmaster's command line. That is
// why the include line has to be the last setting, and why our parameters are
// stripped from postgresql.auto.conf (S8).
//
// Everything is written by atomic replacement and durable on return.
package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/autoctl/autoctl/internal/pgserver/disk"
)

// FileName is the name of our include file in the data directory.
const FileName = "autoctl.conf"

// Params are settings by name, values unquoted ("200ms", "on", "").
type Params map[string]string

// Render writes an include file, deterministically: a header, then one
// `name = 'value'` a line in order of name.
func (p Params) Render() ([]byte, error) {
	names := make([]string, 0, len(p))
	for name, value := range p {
		if !isName(name) {
			return nil, fmt.Errorf("render setting %q: %w", name, ErrName)
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("render setting %s: %w", name, ErrNUL)
		}
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString(header)
	for _, name := range names {
		fmt.Fprintf(&b, "%s = %s\n", name, Quote(p[name]))
	}
	return []byte(b.String()), nil
}

const header = "# Written by autoctl; changes are lost. Put your own settings into postgresql.conf.\n"

// ErrName is returned for a parameter name that PostgreSQL could not read.
var ErrName = errors.New("not a parameter name")

// ErrNUL is returned for a value with a zero byte.
var ErrNUL = errors.New("value holds a zero byte")

func isName(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r >= 0x80
		if !letter && (i == 0 || r != '.' && r != '$' && (r < '0' || r > '9')) {
			return false
		}
	}
	return s != "" && !strings.HasSuffix(s, ".")
}

// Quote writes a value as guc-file.l reads it: in single quotes, with quotes
// doubled and C escapes.
func Quote(value string) string {
	r := strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	return "'" + r.Replace(value) + "'"
}

// WriteInclude writes our include file into a data directory and says whether
// it changed.
func WriteInclude(dataDir string, p Params) (changed bool, err error) {
	data, err := p.Render()
	if err != nil {
		return false, err
	}
	return disk.WriteFile(filepath.Join(dataDir, FileName), data, 0o600)
}

// ReadInclude reads back our include file; it fails with fs.ErrNotExist when
// there is none.
func ReadInclude(dataDir string) (Params, error) {
	data, err := os.ReadFile(filepath.Join(dataDir, FileName))
	if err != nil {
		return nil, fmt.Errorf("read include file: %w", err)
	}
	p := Params{}
	for _, l := range parse(data) {
		if l.name != "" {
			p[l.name] = l.value
		}
	}
	return p, nil
}

// EnsureInclude makes the inclusion of includePath the last setting of a
// postgresql.conf. Everything else in it stays byte for byte. A relative
// includePath is relative to the directory of the configuration file, as
// PostgreSQL takes it.
//
// It is an `include`, not an `include_if_exists`: a server without our file
// must not start (S8).
//
// A file that somebody else is writing is left alone: [disk.ErrChanged].
func EnsureInclude(configFile, includePath string) (changed bool, err error) {
	data, err := readEdited(configFile)
	if err != nil {
		return false, err
	}
	return disk.ReplaceFile(configFile, data, withInclude(data, includePath), 0o600)
}

// settling is for how long an empty file is taken for one that an editor has just emptied and is about to write.
const settling = 2 * time.Second

// readEdited reads a file that people edit. Many editors empty it first: what is made of an empty file would take the place of theirs.
func readEdited(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if st, err := os.Stat(path); len(data) == 0 && (err != nil || time.Since(st.ModTime()) < settling) {
		return nil, fmt.Errorf("%s is empty: %w", path, disk.ErrChanged)
	}
	return data, nil
}

// RemoveInclude takes our line out again.
func RemoveInclude(configFile, includePath string) (changed bool, err error) {
	data, err := readEdited(configFile)
	if err != nil {
		return false, err
	}
	return disk.ReplaceFile(configFile, data, join(withoutInclude(parse(data), includePath)), 0o600)
}

const includeComment = " # autoctl's settings: must stay last"

func withInclude(data []byte, path string) []byte {
	lines := parse(data)
	last := -1
	for i, l := range lines {
		if l.name != "" || l.bad {
			last = i
		}
	}
	if last >= 0 && isOurInclude(lines[last], path) && !slices.ContainsFunc(lines[:last], func(l line) bool { return isOurInclude(l, path) }) {
		return data
	}
	out := join(withoutInclude(lines, path))
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(out, "include "+Quote(path)+includeComment+"\n"...)
}

func withoutInclude(lines []line, path string) []line {
	return slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return isOurInclude(l, path) })
}

func isOurInclude(l line, path string) bool {
	return (strings.EqualFold(l.name, "include") || strings.EqualFold(l.name, "include_if_exists")) && l.value == path
}

// StripAuto removes the named parameters from a data directory's
// postgresql.auto.conf, keeps the rest byte for byte, and returns the names it
// removed (each once, sorted). What ALTER SYSTEM changes meanwhile is left
// alone: [disk.ErrChanged]. A missing file holds nothing.
func StripAuto(dataDir string, names []string) (removed []string, err error) {
	path := filepath.Join(dataDir, "postgresql.auto.conf")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	kept := slices.DeleteFunc(parse(data), func(l line) bool {
		ours := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, l.name) })
		if ours && !slices.Contains(removed, l.name) {
			removed = append(removed, l.name)
		}
		return ours
	})
	if len(removed) == 0 {
		return nil, nil
	}
	sort.Strings(removed)
	_, err = disk.ReplaceFile(path, data, join(kept), 0o600)
	return removed, err
}

// ReadAuto returns the parameters that a data directory's postgresql.auto.conf
// sets. A missing file sets none.
func ReadAuto(dataDir string) (Params, error) {
	data, err := os.ReadFile(filepath.Join(dataDir, "postgresql.auto.conf"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	p := Params{}
	for _, l := range parse(data) {
		if l.name != "" {
			p[strings.ToLower(l.name)] = l.value
		}
	}
	return p, nil
}
