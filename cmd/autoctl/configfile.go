package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"
)

// configMode is the mode of configuration files: they name files with secrets and hosts.
const configMode = 0o600

// writeConfig writes a whole new file: what differs from the defaults as settings, the rest as comments.
func writeConfig(path string, l *loaded) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fail(classPrecondition, "", "make configuration directory: %w", err)
	}
	if err := replaceFile(path, render(l)); err != nil {
		return fail(classPrecondition, "", "write configuration: %w", err)
	}
	return nil
}

// replaceFile replaces a file at once and for good: its content and its name are on disk when it returns.
func replaceFile(path string, content []byte) error {
	if err := renameio.WriteFile(path, content, configMode, renameio.IgnoreUmask()); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// render writes the file's text. Values are YAML scalars as yaml.v3 quotes them.
func render(l *loaded) []byte {
	var b bytes.Buffer
	b.WriteString("# Configuration of autoctl for one data directory. \"autoctl config set\" changes it and checks it;\n" +
		"# so does an editor followed by \"autoctl config check\" and \"autoctl reload\".\n")
	role := l.Role
	for _, s := range sections() {
		prefix, margin := s[0], ""
		if prefix != "" {
			if !sectionHas(prefix, role) {
				continue
			}
			fmt.Fprintf(&b, "\n# %s\n%s:\n", s[1], prefix)
			prefix, margin = prefix+".", "  "
		}
		for _, k := range keys() {
			option, ok := strings.CutPrefix(k.name, prefix)
			if !ok || !k.has(role) || strings.Contains(option, ".") {
				continue
			}
			fmt.Fprintf(&b, "%s# %s\n", margin, k.doc)
			value := l.values[k.name]
			if value == fmt.Sprint(k.def) && k.name != "postgresql.port" {
				fmt.Fprintf(&b, "%s# %s: %s\n", margin, option, scalar(k, value))
				continue
			}
			fmt.Fprintf(&b, "%s%s: %s\n", margin, option, scalar(k, value))
		}
	}
	return b.Bytes()
}

func sectionHas(section, role string) bool {
	for _, k := range keys() {
		if strings.HasPrefix(k.name, section+".") && k.has(role) {
			return true
		}
	}
	return false
}

// scalar renders one value with the type of its key, so that "off" stays a word where a word is meant.
func scalar(k key, text string) string {
	var value any = text
	switch k.def.(type) {
	case int:
		if n, err := strconv.Atoi(text); err == nil {
			value = n
		}
	case bool:
		if v, err := parseBool(text); err == nil {
			value = v
		}
	}
	out, err := yaml.Marshal(value)
	if err != nil {
		return strconv.Quote(text)
	}
	return strings.TrimSpace(string(out))
}

// changeConfig sets keys in the file at path and keeps everything else in it, comments included. The outcome is checked as a
// whole before the file is replaced; what is wrong leaves it as it was.
func changeConfig(path string, values map[string]string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fail(classConfig, "", "read configuration: %w", err)
	}
	if err := checkFile(path, content); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return fail(classConfig, "", "read configuration %s: %w", path, err)
	}
	for _, k := range keys() {
		if value, ok := values[k.name]; ok {
			setNode(doc.Content[0], k, value)
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return fail(classFailed, "", "write configuration %s: %w", path, err)
	}
	if err := checkContent(path, b.Bytes()); err != nil {
		return err
	}
	if err := replaceFile(path, b.Bytes()); err != nil {
		return fail(classPrecondition, "", "write configuration: %w", err)
	}
	return nil
}

// checkContent loads content as if it were the file.
func checkContent(path string, content []byte) error {
	dir, err := os.MkdirTemp("", "autoctl-config")
	if err != nil {
		return fail(classPrecondition, "", "check configuration %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a trial copy in a temporary directory
	trial := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(trial, content, configMode); err != nil {
		return fail(classPrecondition, "", "check configuration %s: %w", path, err)
	}
	l, err := load(trial, nil, false)
	if err != nil {
		return err
	}
	return l.check()
}

// setNode puts a value into the mapping, adding section and option where they are missing.
func setNode(m *yaml.Node, k key, value string) {
	section, option, nested := strings.Cut(k.name, ".")
	if nested {
		m = child(m, section)
	} else {
		option = section
	}
	var node yaml.Node
	_ = yaml.Unmarshal([]byte(scalar(k, value)), &node) // scalar renders valid YAML
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == option {
			node.Content[0].LineComment = m.Content[i+1].LineComment
			m.Content[i+1] = node.Content[0]
			return
		}
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: option}, node.Content[0])
}

// child returns the mapping under name, made where there is none.
func child(m *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != name {
			continue
		}
		if m.Content[i+1].Kind != yaml.MappingNode {
			m.Content[i+1] = &yaml.Node{Kind: yaml.MappingNode}
		}
		return m.Content[i+1]
	}
	section := &yaml.Node{Kind: yaml.MappingNode}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, section)
	return section
}
