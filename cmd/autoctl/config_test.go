package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/autoctl/autoctl/internal/tlscert"
)

// written is a configuration file with the given text, and its data directory.
func written(t *testing.T, text string) (path, pgdata string) {
	t.Helper()
	home := clean(t)
	pgdata = filepath.Join(home, "data dir")
	path = configPath(pgdata)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "PGDATA", pgdata)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, pgdata
}

const keeperFile = `# mine
role: keeper
postgresql:
  pgdata: "PGDATA" # where it is
  port: 5433
node:
  name: o'brien "x"
  hostname: 127.0.0.1
monitor:
  uri: postgres://autoctl_node@127.0.0.1:5432/autoctl
ssl:
  source: "off"
auth:
  method: trust
`

// TestLoad_Order: defaults, file, environment, options, in growing strength.
func TestLoad_Order(t *testing.T) {
	path, _ := written(t, keeperFile)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.Int("pgport", 0, "")
	port := func(want int) {
		t.Helper()
		l, err := load(path, flags, false)
		if err != nil {
			t.Fatal(err)
		}
		if l.PostgreSQL.Port != want {
			t.Errorf("port %d, want %d", l.PostgreSQL.Port, want)
		}
	}
	t.Setenv("PGPORT", "7000") // a shell's; it must not move a node that exists
	port(5433)
	t.Setenv("AUTOCTL_PGPORT", "5434")
	port(5434)
	if err := flags.Set("pgport", "5435"); err != nil {
		t.Fatal(err)
	}
	port(5435)
}

func TestLoad_Refuses(t *testing.T) {
	tests := []struct{ name, text, says string }{
		{"unknown key", keeperFile + "log:\n  levl: info\n", `line 16: unknown key "log.levl"`},
		{"unknown section", keeperFile + "logging:\n  level: info\n", `unknown key "logging"`},
		{"key twice", keeperFile + "role: keeper\n", `key "role" is given twice`},
		{"not YAML", "role: [", "read configuration"},
		{"empty", "", "empty or not a mapping"},
		{"a list", "- role\n", "not a mapping"},
		{"port", strings.Replace(keeperFile, "5433", "0", 1), "postgresql.port is 0: must be between 1 and 65535"},
		{"port, a word", strings.Replace(keeperFile, "5433", "many", 1), "whole number"},
		{"role", strings.Replace(keeperFile, "role: keeper", "role: chief", 1), "monitor, keeper"},
		{"password in the URI", strings.Replace(keeperFile, "autoctl_node@", "autoctl_node:swordfish@", 1), ".pgpass"},
		{"binary", "\x00\x01\x02", "read configuration"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, _ := written(t, tt.text)
			_, err := load(path, nil, false)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("load: %v, want %q", err, tt.says)
			}
			if err != nil && strings.Contains(err.Error(), "swordfish") {
				t.Errorf("the password is printed: %v", err)
			}
			if f := classify(err); f.class != classConfig {
				t.Errorf("class %s", f.class.name)
			}
		})
	}
}

// TestWriteConfig: what is written is read back the same, and nobody else can read it.
func TestWriteConfig(t *testing.T) {
	path, _ := written(t, keeperFile)
	before, err := load(path, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeConfig(path, before); err != nil {
		t.Fatal(err)
	}
	after, err := load(path, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.values, after.values); diff != "" {
		t.Error(diff)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestConfigSet keeps comments and everything else, and leaves the file alone when the outcome would be wrong.
func TestConfigSet(t *testing.T) {
	path, pgdata := written(t, keeperFile)
	if r := autoctl(t, "config", "set", "log.level", "debug", "--pgdata", pgdata); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if r := autoctl(t, "config", "set", "postgresql.port", "5440", "--pgdata", pgdata); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"# mine", "# where it is", "port: 5440", "level: debug"} {
		if !strings.Contains(string(content), part) {
			t.Errorf("%q is missing in:\n%s", part, content)
		}
	}
	if r := autoctl(t, "config", "get", "postgresql.port", "--pgdata", pgdata, "--output", "json"); !strings.Contains(r.out, `"value": 5440`) {
		t.Errorf("config get: %s%s", r.out, r.err)
	}
	for _, wrong := range [][]string{{"ssl.mode", "verify-full"}, {"auth.method", "cert"}, {"postgresql.port", "0"}} {
		r := autoctl(t, append(append([]string{"config", "set"}, wrong...), "--pgdata", pgdata)...)
		if r.code != classConfig.code && r.code != classUsage.code {
			t.Errorf("config set %v: exit %d: %s", wrong, r.code, r.err)
		}
	}
	if again, _ := os.ReadFile(path); string(again) != string(content) {
		t.Errorf("a refused value changed the file:\n%s", again)
	}
}

// TestConfigSet_Certificates: a path that PostgreSQL would not start with is refused, whatever the source of the certificate.
func TestConfigSet_Certificates(t *testing.T) {
	for _, source := range []string{sslOff, sslSelfSigned} {
		path, pgdata := written(t, strings.Replace(keeperFile, `source: "off"`, "source: \""+source+`"`, 1))
		if source == sslSelfSigned {
			cert, key := filepath.Join(filepath.Dir(path), "server.crt"), filepath.Join(filepath.Dir(path), "server.key")
			if err := changeConfig(path, map[string]string{"ssl.cert_file": cert, "ssl.key_file": key}); err != nil {
				t.Fatal(err)
			}
		}
		for name, says := range map[string]string{"ssl.cert_file": "autoctl enable ssl", "ssl.key_file": "autoctl enable ssl", "ssl.ca_file": "check certificate", "ssl.crl_file": "check revocation list"} {
			if source == sslOff && says != "autoctl enable ssl" {
				continue // without TLS nobody reads them
			}
			r := autoctl(t, "config", "set", name, "/nonexistent", "--pgdata", pgdata)
			if r.code != classConfig.code || !strings.Contains(r.err, says) {
				t.Errorf("%s, %s: exit %d: %s", source, name, r.code, r.err)
			}
		}
	}
}

// TestConfigSet_Machine: what this machine contradicts is refused when it is set, checked or read again.
func TestConfigSet_Machine(t *testing.T) {
	for _, wrong := range []struct {
		name, value, says string
		code              class
	}{
		{"auth.password_file", "/nonexistent", "hint: write the password into it", classConfig},
		{"node.hostname", "no-such-host.invalid", "does not resolve", classPrecondition},
	} {
		path, pgdata := written(t, keeperFile)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r := autoctl(t, "config", "set", wrong.name, wrong.value, "--pgdata", pgdata)
		if r.code != wrong.code.code || !strings.Contains(r.err, wrong.says) {
			t.Errorf("config set %s: exit %d: %s", wrong.name, r.code, r.err)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("a refused value changed the file:\n%s", after)
		}
		section, option, _ := strings.Cut(wrong.name, ".")
		edited := strings.NewReplacer("  hostname: 127.0.0.1\n", "").Replace(string(before))
		edited = strings.Replace(edited, section+":\n", section+":\n  "+option+": "+wrong.value+"\n", 1)
		if err := os.WriteFile(path, []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := autoctl(t, "config", "check", "--pgdata", pgdata); r.code != wrong.code.code || !strings.Contains(r.err, wrong.says) {
			t.Errorf("config check of %s: exit %d: %s", wrong.name, r.code, r.err)
		}
		_, err = reloaded(t.Context(), pgdata)
		if err == nil || classify(controlError(err)).class != wrong.code || classify(controlError(err)).hint == "" {
			t.Errorf("reload of %s: %v", wrong.name, err)
		}
	}
}

// TestSays: what a change of the configuration amounts to.
func TestSays(t *testing.T) {
	_, pgdata := written(t, strings.Replace(keeperFile, "uri: postgres://autoctl_node@127.0.0.1:5432/autoctl", `uri: ""`, 1))
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"config set postgresql.port 5440", "next start", 0},
		{"config set postgresql.socket_directory /tmp", "next start", 0},
		{"config set log.level debug", `"autoctl reload"`, 0},
		{"disable monitor", "without a monitor already", classNothing.code},
		{"enable ssl --ssl-self-signed", "TLS is on, with the certificate in " + configDir(pgdata) + "/server.crt; no daemon runs", 0},
		{"disable ssl", "TLS is off; no daemon runs", 0},
	} {
		if r := autoctl(t, append(strings.Fields(c.args), "--pgdata", pgdata)...); r.code != c.code || !strings.Contains(r.out+r.err, c.says) {
			t.Errorf("%s: exit %d: %s%s", c.args, r.code, r.out, r.err)
		}
	}
}

// TestDropMonitor_Later: what a dropped monitor left is deleted when that is asked for, once, and nothing else is.
func TestDropMonitor_Later(t *testing.T) {
	path, pgdata := written(t, strings.Replace(keeperFile[:strings.Index(keeperFile, "node:")], "role: keeper", "role: monitor", 1))
	if err := os.MkdirAll(filepath.Join(pgdata, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	drop := func(want int, flags ...string) {
		t.Helper()
		if r := autoctl(t, append([]string{"drop", "monitor", "--pgdata", pgdata}, flags...)...); r.code != want {
			t.Errorf("drop monitor %v: exit %d: %s%s", flags, r.code, r.out, r.err)
		}
	}
	drop(0)
	for file, there := range map[string]bool{path: false, pgdata: true} {
		if _, err := os.Lstat(file); (err == nil) != there {
			t.Errorf("%s: %v", file, err)
		}
	}
	drop(classConfig.code)
	drop(0, "--destroy")
	if _, err := os.Lstat(pgdata); err == nil {
		t.Error("the data are still there")
	}
	if err := os.MkdirAll(pgdata, 0o700); err != nil { // somebody else's
		t.Fatal(err)
	}
	drop(classConfig.code, "--destroy")
	if _, err := os.Lstat(pgdata); err != nil {
		t.Error("another directory was deleted")
	}
}

// TestCheck_AnotherHost: with an authority of one's own, clients verify the host by default: a certificate for another one is refused.
func TestCheck_AnotherHost(t *testing.T) {
	for mode, refused := range map[string]bool{"": true, "verify-full": true, "verify-ca": false, "require": false} {
		_, pgdata := written(t, keeperFile)
		f, err := tlscert.SelfSigned(t.TempDir(), []string{"other.example.com"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		l, err := load(configPath(pgdata), nil, false)
		if err != nil {
			t.Fatal(err)
		}
		l.SSL.Source, l.SSL.Mode, l.SSL.CAFile, l.SSL.CertFile, l.SSL.KeyFile = sslFiles, mode, f.Cert, f.Cert, f.Key
		if err := l.check(); errors.Is(err, tlscert.ErrHost) != refused {
			t.Errorf("sslmode %q: %v", mode, err)
		}
		l.Node.Hostname = "" // to be found
		if err := l.checkAsFound(t.Context()); errors.Is(err, tlscert.ErrHost) != refused {
			t.Errorf("sslmode %q, host found: %v", mode, err)
		}
	}
}

// TestResolved: a data directory has one name, before and after it is made, and however it is reached.
func TestResolved(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "real", "a", "data")
	for range 2 {
		if got, err := absolutePath(filepath.Join(dir, "link", "a", "data") + "/"); err != nil || got != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		if err := os.MkdirAll(want, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollowed: one data directory is one node: a link to one that was created is that one, and a link that was itself given to create keeps its name.
func TestFollowed(t *testing.T) {
	path, pgdata := written(t, keeperFile)
	link := pgdata + ".link"
	for _, err := range []error{os.Mkdir(pgdata, 0o700), os.Symlink(pgdata, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(want string) {
		t.Helper()
		if got, err := absolutePath(link); err != nil || got != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	is(resolved(pgdata))
	if err := os.MkdirAll(filepath.Dir(configPath(link)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, configPath(link)); err != nil {
		t.Fatal(err)
	}
	is(resolved(link))
}
