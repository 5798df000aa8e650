package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/commands.md anew")

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

// autoctl runs one command line, with nothing of the developer's environment in its way.
func autoctl(t *testing.T, args ...string) result {
	t.Helper()
	var out, errw bytes.Buffer
	code := execute(t.Context(), args, strings.NewReader(""), &out, &errw)
	return result{code, out.String(), errw.String()}
}

// clean gives the test a home of its own.
func clean(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, name := range []string{"PGDATA", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "AUTOCTL_MONITOR", "AUTOCTL_PGDATA", "AUTOCTL_FORMATION", "AUTOCTL_PASSWORD"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("XDG_DATA_HOME", filepath.Join(home, "state"))
	return home
}

// TestTree: every command has its words and checks its arguments, and none of them panics on --help.
func TestTree(t *testing.T) {
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		if cmd.Short == "" && cmd.HasParent() {
			t.Errorf("%v: no short description", path)
		}
		if cmd.Args == nil && cmd.Name() != "help" {
			t.Errorf("%v: arguments are not checked", path)
		}
		if r := autoctl(t, append(path, "--help")...); r.code != 0 {
			t.Errorf("%v --help: exit %d: %s", path, r.code, r.err)
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(newRoot(&app{out: io.Discard, err: io.Discard}))
}

// TestTree_NoCommandsForLater: what is not built is not offered.
func TestTree_NoCommandsForLater(t *testing.T) {
	for _, name := range []string{"coordinator", "worker"} {
		if r := autoctl(t, "create", name); r.code != classUsage.code {
			t.Errorf("create %s: exit %d", name, r.code)
		}
	}
}

// TestCommandsPage keeps docs/commands.md current.
func TestCommandsPage(t *testing.T) {
	const path = "../../docs/commands.md"
	want := commandsPage()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/commands.md is not current; write it anew with: go test ./cmd/autoctl -run CommandsPage -update\n%s", diff)
	}
}

// commandsPage renders the tree.
func commandsPage() string {
	var b strings.Builder
	b.WriteString("# Commands\n\nThis page is generated from the program. Every command also takes `--output text|json`, `--verbose` (`-v`), `--quiet` (`-q`)\n" +
		"and `--help`. [Settings](settings.md) lists the environment variables, [json.md](json.md) the documents of `--output json`,\n" +
		"[exit-codes.md](exit-codes.md) the exit codes.\n")
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		if cmd.HasParent() && !cmd.HasSubCommands() {
			commandSection(&b, cmd)
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(newRoot(&app{out: io.Discard, err: io.Discard}))
	return b.String()
}

func commandSection(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", strings.TrimPrefix(strings.TrimSuffix(cmd.UseLine(), " [flags]"), "autoctl "))
	text := cmd.Short + "."
	if cmd.Long != "" {
		text = strings.TrimSuffix(strings.TrimSpace(cmd.Long), ".") + "."
	}
	fmt.Fprintf(b, "%s\n", text)
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n    %s\n", strings.ReplaceAll(strings.TrimSpace(cmd.Example), "\n", "\n    "))
	}
	var rows []string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" || f.Hidden {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "`--" + f.Name + "`"
		if kind != "" {
			name = "`--" + f.Name + " " + strings.ToUpper(kind) + "`"
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "-1" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s |\n", name, strings.ReplaceAll(usage, "|", "\\|")))
	})
	if len(rows) == 0 {
		return
	}
	slices.Sort(rows)
	fmt.Fprintf(b, "\n| option | meaning |\n|---|---|\n%s", strings.Join(rows, ""))
}

// TestExitCodesPage: the documented codes are those of the program.
func TestExitCodesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, c := range classes() {
		if seen[c.code] {
			t.Errorf("code %d is used twice", c.code)
		}
		seen[c.code] = true
		row := fmt.Sprintf("| %d | `%s` | %s |", c.code, c.name, c.text)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/exit-codes.md lacks: %s", row)
		}
	}
}

// TestSettingsPage: every key of the configuration file and every timing is documented, and nothing else.
func TestSettingsPage(t *testing.T) {
	content, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, k := range keys() {
		row := fmt.Sprintf("| `%s` | %s | %s | %s |", k.name, flagCell(k), envCell(k), strings.ReplaceAll(k.doc, "|", "\\|"))
		if !strings.Contains(page, row) {
			t.Errorf("docs/settings.md lacks: %s", row)
		}
	}
	for _, s := range settingList() {
		if !strings.Contains(page, "| `"+s.name+"` |") {
			t.Errorf("docs/settings.md lacks the timing %s", s.name)
		}
	}
}

func flagCell(k key) string {
	if k.flag == "" {
		return ""
	}
	return "`--" + k.flag + "`"
}

func envCell(k key) string {
	switch {
	case k.env == "":
		return ""
	case k.ambient != "":
		return "`" + k.env + "`, `" + k.ambient + "`"
	}
	return "`" + k.env + "`"
}
