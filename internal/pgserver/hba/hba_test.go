package hba

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var peers = []Rule{
	{Type: Local, Databases: []string{All}, Users: []string{"autoctl"}, Method: "peer", Options: []Option{{"map", "autoctl"}}},
	{Type: HostSSL, Databases: []string{Replication, "postgres"}, Users: []string{"autoctl_replicator", "+dba"}, Address: "198.18.0.1", Method: "scram-sha-256"},
	{Type: Host, Databases: []string{"my db"}, Users: []string{`o"b`}, Address: "2001:db8::/32", Method: "ldap", Options: []Option{{"ldapserver", "a b"}}},
	{Type: Host, Databases: []string{"sameuser", "a,b"}, Users: []string{All}, Address: "node1.example", Method: "reject"},
}

func TestRender(t *testing.T) {
	got, err := Block{Rules: peers}.Render()
	want := Begin + `
local all autoctl peer map=autoctl
hostssl replication,postgres autoctl_replicator,+dba 198.18.0.1/32 scram-sha-256
host "my db" "o""b" 2001:db8::/32 ldap "ldapserver=a b"
host "sameuser","a,b" all node1.example reject
` + End + "\n"
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRenderRefuses(t *testing.T) {
	ok := Rule{Type: Host, Databases: []string{All}, Users: []string{All}, Address: "::1", Method: "trust"}
	if _, err := ok.Render(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Rule){
		"type":             func(r *Rule) { r.Type = "tcp" },
		"no user":          func(r *Rule) { r.Users = nil },
		"no address":       func(r *Rule) { r.Address = "" },
		"local address":    func(r *Rule) { r.Type = Local },
		"address":          func(r *Rule) { r.Address = "1.2.3.4 trust" },
		"zone":             func(r *Rule) { r.Address = "fe80::1%eth0" },
		"method":           func(r *Rule) { r.Method = "trust\nhost" },
		"newline in user":  func(r *Rule) { r.Users = []string{"a\nhost all all all trust"} },
		"newline in value": func(r *Rule) { r.Options = []Option{{"map", "a\nb"}} },
		"option name":      func(r *Rule) { r.Options = []Option{{"a b", "c"}} },
	} {
		r := ok
		spoil(&r)
		if line, err := r.Render(); !errors.Is(err, ErrRule) {
			t.Errorf("%s: %q %v", name, line, err)
		}
	}
}

func TestGateComesFirst(t *testing.T) {
	b := Block{Gate: &Gate{Admit: peers[:1]}, Rules: peers}
	file, err := b.Apply([]byte("host all all all trust\n"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(file), "\n")
	want := []string{Begin, "local all autoctl peer map=autoctl", "local all all reject", "host all all all reject"}
	if diff := cmp.Diff(want, lines[:4]); diff != "" {
		t.Error(diff)
	}
	if !Gated(file) {
		t.Error("gate not seen")
	}
	open, err := Block{Rules: peers}.Apply(file)
	if err != nil || Gated(open) {
		t.Errorf("gate still there: %v\n%s", err, open)
	}
	if Gated([]byte("host all all all reject\n")) {
		t.Error("a user's own reject taken for the gate")
	}
}

func TestApplyKeepsTheRest(t *testing.T) {
	rest := "# comment\r\nhost all all all \\\n  trust\n\nlocal all all peer"
	for name, in := range map[string]string{
		"none":     rest,
		"at top":   Begin + "\nold\n" + End + "\n" + rest,
		"in midst": "# comment\r\n" + Begin + "  \nold\n" + End + "\nhost all all all \\\n  trust\n\nlocal all all peer",
		"two":      Begin + "\n" + End + "\n" + rest[:len(rest)-len("local all all peer")] + Begin + "\nx\n" + End + "\nlocal all all peer",
	} {
		out, err := Block{Rules: peers}.Apply([]byte(in))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		block, _ := Block{Rules: peers}.Render()
		if diff := cmp.Diff(string(block)+rest, string(out)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestUnterminatedBlockIsRefused(t *testing.T) {
	if _, err := (Block{}).Apply([]byte(Begin + "\nhost all all all reject\n")); !errors.Is(err, ErrUnterminated) {
		t.Error(err)
	}
}

func TestWriteKeepsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pg_hba.conf")
	if err := os.WriteFile(path, []byte("local all all peer\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if changed, err := (Block{Rules: peers}).Write(path); changed != want || err != nil {
			t.Error(changed, err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Error(st.Mode(), err)
	}
}

func TestTokenize(t *testing.T) {
	file := "local a,b  c\t\"d e\"# x\n\n#c\nhost \"all\" x\"y z\" \\\n 1.2.3.4/32 \"a\"\"b\" , m"
	var got [][]Field
	var raw strings.Builder
	for _, l := range Tokenize([]byte(file)) {
		raw.WriteString(l.Raw)
		if len(l.Fields) > 0 {
			got = append(got, l.Fields)
		}
	}
	want := [][]Field{
		{{{"local", false}}, {{"a", false}, {"b", false}}, {{"c", false}}, {{"d e", true}}},
		{{{"host", false}}, {{"all", true}}, {{"xy z", false}}, {{"1.2.3.4/32", false}}, {{`a"b`, true}}, {{"m", false}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if raw.String() != file {
		t.Errorf("raw lines are not the file: %q", raw.String())
	}
}

// A name that was quoted comes back as one token, whatever is in it.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"all", `a"b`, "a,b", "#", " ", "x y", `\`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "\n\r\x00") {
			t.Skip("a name in pg_hba.conf is one line")
		}
		lines := Tokenize([]byte("local all " + quote(name) + " trust"))
		if len(lines) != 1 || len(lines[0].Fields) != 4 {
			t.Fatalf("%q: %v", name, lines)
		}
		f := lines[0].Fields[2]
		if len(f) != 1 || f[0].Text != name {
			t.Errorf("%q became %v", name, f)
		}
		if keywords[strings.ToLower(name)] && !f[0].Quoted {
			t.Errorf("%q would be a keyword", name)
		}
	})
}

func FuzzTokenize(f *testing.F) {
	f.Add([]byte("local all all trust\\\n\n\"a\n# BEGIN autoctl\nx\n# END autoctl\nhost"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var raw strings.Builder
		for _, l := range Tokenize(file) {
			raw.WriteString(l.Raw)
		}
		if raw.String() != string(file) {
			t.Fatalf("%q became %q", file, raw.String())
		}
		out, err := Block{Rules: peers}.Apply(file)
		if err != nil {
			return
		}
		again, err := Block{Rules: peers}.Apply(out)
		if err != nil || string(again) != string(out) {
			t.Fatalf("not idempotent: %q then %q (%v)", out, again, err)
		}
	})
}
