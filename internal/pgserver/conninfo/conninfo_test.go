package conninfo

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

func TestRender(t *testing.T) {
	tests := []struct {
		p    Params
		want string
	}{
		{Params{"port": "5432", "host": "h", "application_name": "autoctl a", "user": "u"}, `host=h port=5432 user=u application_name='autoctl a'`},
		{Params{"host": "", "user": `o'b\`}, `user='o\'b\\'`},
		{Params{"tcp_user_timeout": "1", "sslmode": "prefer"}, "sslmode=prefer tcp_user_timeout=1"},
		{Params{}, ""},
	}
	for _, tc := range tests {
		got, err := tc.p.Render()
		if err != nil || got != tc.want {
			t.Errorf("%v: %q %v, want %q", map[string]string(tc.p), got, err, tc.want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, tc := range []struct {
		p    Params
		want error
	}{
		{Params{"password": "s3cret"}, ErrPassword},
		{Params{"Host": "h"}, ErrKeyword},
		{Params{"a b": "h"}, ErrKeyword},
		{Params{"host": "a\x00b"}, ErrNUL},
	} {
		_, err := tc.p.Render()
		if !errors.Is(err, tc.want) || strings.Contains(fmt.Sprint(err), "s3cret") {
			t.Errorf("%v: %v, want %v", map[string]string(tc.p), err, tc.want)
		}
	}
}

// Whatever the values are, pgconn reads back what was rendered.
func TestRenderRoundTrip(t *testing.T) {
	value := rapid.StringOfN(rapid.RuneFrom(append([]rune(` '"\=,/:@?&%+#äß`), 'a', 'Z', '0', '\t', '\n', 0xA0)), 0, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		user, db, app := value.Draw(t, "user"), value.Draw(t, "db"), value.Draw(t, "app")
		text, err := Params{"host": "h", "user": user + "u", "dbname": db + "d", "application_name": app + "a"}.Render()
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgconn.ParseConfig(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got := []string{c.User, c.Database, c.RuntimeParams["application_name"]}
		if diff := cmp.Diff([]string{user + "u", db + "d", app + "a"}, got); diff != "" {
			t.Fatalf("%q: %s", text, diff)
		}
	})
}

func TestURI(t *testing.T) {
	hosts := []Host{{"db1.example", 5432}, {"2001:db8::1", 5433}, {"/var/run/pg", 5434}}
	got, err := URI(hosts, "app user", "my db", map[string]string{"target_session_attrs": ReadWrite, "sslmode": ""})
	want := "postgres://app%20user@db1.example:5432,[2001:db8::1]:5433,%2Fvar%2Frun%2Fpg:5434/my%20db?target_session_attrs=read-write"
	if err != nil || got != want {
		t.Errorf("%s %v", got, err)
	}
	c, err := pgconn.ParseConfig("postgres://app%20user@db1.example:5432,[2001:db8::1]:5433/my%20db?target_session_attrs=read-write")
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "app user" || c.Database != "my db" || c.Host != "db1.example" {
		t.Errorf("read back %s %s %s", c.User, c.Database, c.Host)
	}
}

func TestURIRoundTrip(t *testing.T) {
	value := rapid.StringOfN(rapid.RuneFrom([]rune(` '"\=,/:@?&%+#äaZ0`)), 1, 20, -1)
	rapid.Check(t, func(t *rapid.T) {
		user, db, app := value.Draw(t, "user"), value.Draw(t, "db"), value.Draw(t, "app")
		text, err := URI([]Host{{"a", 1}, {"b", 2}}, user, db, map[string]string{"application_name": app, "sslmode": "disable"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := pgconn.ParseConfig(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got := []string{c.User, c.Database, c.RuntimeParams["application_name"], c.Fallbacks[0].Host}
		if diff := cmp.Diff([]string{user, db, app, "b"}, got); diff != "" {
			t.Fatalf("%q: %s", text, diff)
		}
	})
}
