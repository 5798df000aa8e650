package conf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// maxDepth is how deep PostgreSQL lets files include each other.
const maxDepth = 10

// ErrDepth is returned for files that include each other without an end.
var ErrDepth = errors.New("configuration files include each other too deep")

// Read returns what a configuration file sets with everything that it includes (include, include_if_exists and include_dir, as guc-file.l takes them),
// except for our own include file beside it: the settings of the file's owner. Names are in lower case, and the last setting of a name counts.
func Read(path string) (Params, error) {
	p := Params{}
	if err := p.read(path, filepath.Join(filepath.Dir(path), FileName), 0); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return p, nil
}

func (p Params) read(path, except string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: %w", path, ErrDepth)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, l := range parse(data) {
		target := l.value
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		switch name := strings.ToLower(l.name); {
		case name == "":
		case name == "include_dir":
			err = p.readDir(target, except, depth+1)
		case name == "include" && target != except:
			err = p.read(target, except, depth+1)
		case name == "include_if_exists" && target != except:
			if err = p.read(target, except, depth+1); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		case name != "include" && name != "include_if_exists":
			p[name] = l.value
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readDir reads the files of an included directory: those that end in .conf and do not begin with a dot, in the order of their bytes.
func (p Params) readDir(dir, except string, depth int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".conf") && !strings.HasPrefix(name, ".") && !e.IsDir() {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if err := p.read(filepath.Join(dir, name), except, depth); err != nil {
			return err
		}
	}
	return nil
}
