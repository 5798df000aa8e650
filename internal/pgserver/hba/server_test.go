package hba_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

type parsed struct {
	Type      string
	Databases []string
	Users     []string
	Address   *string
	Method    string
	Error     *string
}

// PostgreSQL reads our lines as we mean them, and splits odd ones as we do.
func TestServerReadsWhatWeWrite(t *testing.T) {
	s := pgtest.NewStarted(t, conf.Params{"autoctl.x": "1"})
	path := filepath.Join(s.DataDir, "pg_hba.conf")
	odd := `local a,b  "c d" trust # x
host "all" x"y z" \
 127.0.0.0/8 trust
local """q""" "a,b",c trust
`
	if err := os.WriteFile(path, []byte(odd+"local all all trust\nhost all all all trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	block := hba.Block{
		Gate: &hba.Gate{Admit: []hba.Rule{{Type: hba.Local, Databases: []string{hba.All}, Users: []string{"postgres"}, Method: "trust"}}},
		Rules: []hba.Rule{
			{Type: hba.Host, Databases: []string{hba.Replication}, Users: []string{"r", "+dba"}, Address: "198.18.0.1", Method: "scram-sha-256"},
			{Type: hba.Host, Databases: []string{"sameuser", "a,b", `o"b`}, Users: []string{"x y", "#"}, Address: "2001:db8::/32", Method: "ident", Options: []hba.Option{{Name: "map", Value: "my map"}}},
			{Type: hba.Host, Databases: []string{"d"}, Users: []string{hba.All}, Address: "node1.example", Method: "reject"},
		},
	}
	if _, err := block.Write(path); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Connect().Query(t.Context(), "select type, database, user_name, address, auth_method, error from pg_hba_file_rules order by line_number")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[parsed])
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"all"}
	want := []parsed{
		{"local", all, []string{"postgres"}, nil, "trust", nil},
		{"local", all, all, nil, "reject", nil},
		{"host", all, all, new("all"), "reject", nil},
		{"host", []string{"replication"}, []string{"r", "+dba"}, new("198.18.0.1"), "scram-sha-256", nil},
		{"host", []string{"sameuser", "a,b", `o"b`}, []string{"x y", "#"}, new("2001:db8::"), "ident", nil},
		{"host", []string{"d"}, all, new("node1.example"), "reject", nil},
	}
	if diff := cmp.Diff(want, got[:len(want)]); diff != "" {
		t.Error(diff)
	}
	for _, r := range got {
		if r.Error != nil {
			t.Errorf("%v: %s", r, *r.Error)
		}
	}
	compareOdd(t, odd, got[len(want):])
}

// compareOdd compares our tokenizer's databases and users with PostgreSQL's.
func compareOdd(t *testing.T, odd string, rules []parsed) {
	t.Helper()
	words := func(f hba.Field) (list []string) {
		for _, tok := range f {
			list = append(list, tok.Text)
		}
		return list
	}
	i := 0
	for _, l := range hba.Tokenize([]byte(odd)) {
		if len(l.Fields) == 0 {
			continue
		}
		if !slices.Equal(words(l.Fields[1]), rules[i].Databases) || !slices.Equal(words(l.Fields[2]), rules[i].Users) {
			t.Errorf("%q: we read %v, PostgreSQL %v", l.Raw, l.Fields, rules[i])
		}
		i++
	}
}
