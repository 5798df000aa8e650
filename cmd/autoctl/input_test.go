package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/tlscert"
	"github.com/autoctl/autoctl/keeper"
)

// TestBadInput: a clear error, an exit code of its own class, and nothing changed.
func TestBadInput(t *testing.T) {
	const uri = "postgres://autoctl_node@127.0.0.1:1/autoctl"
	tests := []struct {
		name string
		args string
		code class
		says string // part of what is printed
	}{
		{"unknown command", "shw", classUsage, `did you mean "autoctl show"?`},
		{"unknown subcommand", "perform failver", classUsage, `did you mean "autoctl perform failover"?`},
		{"unknown subcommand with options of its own", "show stat --monitor " + uri, classUsage, `did you mean "autoctl show state"?`},
		{"unknown option", "show state --monitr x", classUsage, "did you mean --monitor?"},
		{"surplus argument", "show state now", classUsage, "usage: autoctl show state"},
		{"output format", "version --output yaml", classUsage, "--output json"},
		{"no target", "show state", classUsage, "give --monitor"},
		{"no data directory", "status", classUsage, "give --pgdata"},
		{"never created", "run --pgdata /nowhere/at/all", classConfig, "autoctl create postgres"},
		{"unreachable monitor", "show state --monitor " + uri, classUnreachable, "connection refused"},
		{"unresolvable monitor", "show state --monitor postgres://autoctl_node@no-such-host.invalid/autoctl", classUnreachable, "no-such-host.invalid"},
		{"password in the URI", "show state --monitor postgres://autoctl_node:swordfish@127.0.0.1/autoctl", classUsage, ".pgpass"},
		{"password as a parameter", "show state --monitor postgres://autoctl_node@127.0.0.1/autoctl?password=swordfish", classUsage, ".pgpass"},
		{"password parameter misspelt", "show state --monitor postgres://autoctl_node@127.0.0.1/autoctl?passwrd=swordfish", classUsage, ".pgpass"},
		{"parameter misspelt", "show state --monitor postgres://autoctl_node@127.0.0.1/autoctl?sslmod=swordfish", classUsage, "did you mean sslmode?"},
		{"no parameter", "show state --monitor postgres://autoctl_node@127.0.0.1/autoctl?swordfish", classUsage, "has a parameter that is none"},
		{"password in a malformed URI", "show state --monitor postgres://autoctl_node:swordfish@127.0.0.1:port/autoctl", classUsage, "no valid URI"},
		{"no URI", "show state --monitor monitor.example.com", classUsage, "postgres://autoctl_node@host:port/autoctl"},
		{"keyword form", "show state --monitor host=127.0.0.1", classUsage, "no connection URI"},
		{"formation name", "show state --formation a/b --monitor " + uri, classUsage, "--formation"},
		{"group", "show state --group -2 --monitor " + uri, classUsage, "--group"},
		{"node name with a control character", "perform promotion --name a\nb --monitor " + uri, classUsage, "control characters"},
		{"node name too long", "perform promotion --monitor " + uri + " --name " + strings.Repeat("é", 64), classUsage, "at most 63"},
		{"priority", "set node candidate-priority 101 --name a --monitor " + uri, classUsage, "between 0 and 100"},
		{"priority, no number", "set node candidate-priority high --name a --monitor " + uri, classUsage, "whole number"},
		{"quorum", "set node replication-quorum maybe --name a --monitor " + uri, classUsage, "true or false"},
		{"number of standbys", "set formation number-sync-standbys -- -1", classUsage, "between 0 and 100"},
		{"number of standbys that looks like an option", "set formation number-sync-standbys -1 --monitor " + uri, classUsage, "is -1: must be between 0 and 100"},
		{"priority that looks like an option", "set node candidate-priority --name a -20", classUsage, "is -20: must be between 0 and 100"},
		{"option after --", "set node candidate-priority -- -1 --name a", classUsage, "options come before it"},
		{"option beside a number", "set node candidate-priority -x 1", classUsage, "unknown shorthand flag"},
		{"unknown timing", "set formation settings node_lost_afer=3s --monitor " + uri, classUsage, "did you mean node_lost_after?"},
		{"timing without a value", "set formation settings node_lost_after --monitor " + uri, classUsage, "NAME=VALUE"},
		{"timing that is none", "set formation settings node_lost_after=soon --monitor " + uri, classUsage, "duration"},
		{"wait", "perform failover --wait soon --monitor " + uri, classUsage, "--wait"},
		{"wait, a fraction", "perform failover --wait 0.2 --monitor " + uri, classUsage, `--wait is "0.2": must be a whole number`},
		{"number of demo nodes, a word", "demo --nodes x", classUsage, `--nodes is "x": must be a whole number`},
		{"count of events, beyond numbers", "show events -n 99999999999999999999 --monitor " + uri, classUsage, "--count is"},
		{"section for a key", "config set postgresq 5433 --pgdata DIR/n", classUsage, "did you mean the section postgresql?"},
		{"count of events", "show events --count 0 --monitor " + uri, classUsage, "--count"},
		{"number of demo nodes", "demo --nodes 1", classUsage, "between 2 and 9"},
		{"formation without a name", "create formation --monitor " + uri, classUsage, "--formation is missing"},
		{"kind of formation", "create formation --formation x --kind mongo --monitor " + uri, classUsage, "--kind pgsql or --kind citus"},
		{"coordinator in a group", "create coordinator --pgdata DIR/n --auth trust --no-ssl --group 2 --monitor " + uri, classUsage, "group 0"},
		{"worker in group 0", "create worker --pgdata DIR/n --auth trust --no-ssl --group 0 --monitor " + uri, classUsage, "create coordinator"},
		{"monitor missing", "create postgres --pgdata DIR/n --auth trust --no-ssl", classUsage, "--monitor is missing"},
		{"contradictory TLS", "create monitor --pgdata DIR/m --auth trust --no-ssl --ssl-self-signed", classUsage, "ssl-self-signed"},
		{"authentication", "create monitor --pgdata DIR/m --no-ssl --auth md5", classUsage, "--auth"},
		{"port", "create monitor --pgdata DIR/m --no-ssl --auth trust --pgport 70000", classUsage, "--pgport"},
		{"hostname", "create monitor --pgdata DIR/m --no-ssl --auth trust --hostname bad_host!", classUsage, "--hostname"},
		{"backup rate", "create postgres --pgdata DIR/n --no-ssl --auth trust --maximum-backup-rate 1T --monitor " + uri, classUsage, "--maximum-backup-rate"},
		{"metadata", "set node metadata --name a --monitor " + uri, classUsage, "nothing to change"},
		{"ssl without a choice", "enable ssl --pgdata DIR/n", classUsage, "no certificate is chosen"},
		{"destroy elsewhere", "drop node --name a --destroy --monitor " + uri, classUsage, "this machine only"},
		{"unknown key", "config set postgresql.prt 5433 --pgdata DIR/n", classUsage, "did you mean postgresql.port?"},
		{"key of another section", "config set ssl.port 5433 --pgdata DIR/n", classUsage, "did you mean postgresql.port?"},
		{"fixed key", "config set node.formation x --pgdata DIR/n", classRefused, "cannot be changed"},
		{"rule format", "inspect fsm --format dot", classUsage, "mermaid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			home := clean(t)
			args := strings.Split(strings.ReplaceAll(tt.args, "DIR", home), " ")
			r := autoctl(t, args...)
			if r.code != tt.code.code {
				t.Errorf("exit %d, want %d (%s)\n%s", r.code, tt.code.code, tt.code.name, r.err)
			}
			if !strings.Contains(r.err, tt.says) {
				t.Errorf("does not say %q:\n%s", tt.says, r.err)
			}
			if r.out != "" {
				t.Errorf("standard output is not empty:\n%s", r.out)
			}
			if strings.Contains(r.err, "swordfish") {
				t.Errorf("the password is printed:\n%s", r.err)
			}
			nothingIn(t, home)
		})
	}
}

func nothingIn(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was created", e.Name())
	}
}

// TestBadInput_NoMonitor: something listens and does not speak PostgreSQL's protocol.
func TestBadInput_NoMonitor(t *testing.T) {
	clean(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n"))
			c.Close()
		}
	}()
	r := autoctl(t, "show", "state", "--monitor", "postgres://autoctl_node@"+l.Addr().String()+"/autoctl?sslmode=disable", "--output", "json")
	if r.code != classUnreachable.code {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	var doc errorJSON
	if err := json.Unmarshal([]byte(r.err), &doc); err != nil || doc.Error.Class != "monitor_unreachable" || doc.Error.Attempt != "show state" {
		t.Errorf("error document %q: %v", r.err, err)
	}
}

// TestBadInput_UntrustedMonitor: a certificate that the URI does not trust is a matter of the monitor's address, not of the password.
func TestBadInput_UntrustedMonitor(t *testing.T) {
	home := clean(t)
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8) // SSLRequest
			if _, err := io.ReadFull(c, request); err == nil {
				c.Write([]byte("S"))
				_ = tls.Server(c, &tls.Config{Certificates: web.TLS.Certificates}).Handshake() // the client breaks it off
			}
			c.Close()
		}
	}()
	another, err := tlscert.SelfSigned(home, []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := autoctl(t, "show", "state", "--monitor", "postgres://autoctl_node@"+l.Addr().String()+"/autoctl?sslmode=verify-full&sslrootcert="+another.Cert)
	if r.code != classUnreachable.code || !strings.Contains(r.err, "sslrootcert") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// TestNearest: who is far from every name meant none of them.
func TestNearest(t *testing.T) {
	names := []string{"node1", "node2", "candidate-priority", "watch"}
	for name, want := range map[string]string{"nope": "", "nod1": "node1", "wathc": "watch", "candidat-prority": "candidate-priority", "node": "node1", "x": "", "": ""} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestStatusDocument: the system identifier is digits in a string there, as everywhere.
func TestStatusDocument(t *testing.T) {
	raw, err := json.Marshal(statusJSON{Keeper: forPeople(keeper.ServiceStatus{PID: 1, Report: fsm.Report{Node: 2, SystemID: 1 << 63}})})
	if err != nil || !strings.Contains(string(raw), `"system_id":"9223372036854775808"`) || !strings.Contains(string(raw), `"node":2`) || strings.Count(string(raw), `"report"`) != 1 {
		t.Errorf("%s, %v", raw, err)
	}
}

// TestRootIsRefused: says as whom to run, with the command to type.
func TestRootIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be refused")
	}
	home := clean(t)
	for _, args := range [][]string{
		{"demo"},
		{"create", "monitor", "--pgdata", filepath.Join(home, "m"), "--no-ssl", "--auth", "trust"},
		{"create", "postgres", "--pgdata", filepath.Join(home, "n"), "--no-ssl", "--auth", "trust", "--monitor", "postgres://autoctl_node@127.0.0.1:1/autoctl"},
	} {
		r := autoctl(t, args...)
		if r.code != classPrecondition.code || !strings.Contains(r.err, "run as: runuser -u ") {
			t.Errorf("%v: exit %d: %s", args, r.code, r.err)
		}
		nothingIn(t, home)
	}
}

// TestNames: what is allowed is kept as it is; the rest is named.
func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"node1": true, "my node": true, `o'brien "x"`: true, "nœud-é": true, "节点": true, strings.Repeat("é", 63): true,
		"": false, " a": false, "a\tb": false, "a\x7f": false, "a\u202eb": false, strings.Repeat("x", 64): false, "\xff": false,
	} {
		if err := nodeName(name); (err == nil) != ok {
			t.Errorf("nodeName(%q) = %v", name, err)
		}
	}
	for host, ok := range map[string]bool{
		"a": true, "a.example.com": true, "192.0.2.1": true, "2001:db8::1": true, "under_score": true,
		"": false, "a b": false, "ä.example.com": false, "a..b": false, "-a": false, "a'": false,
	} {
		if err := hostName(host); (err == nil) != ok {
			t.Errorf("hostName(%q) = %v", host, err)
		}
	}
}
