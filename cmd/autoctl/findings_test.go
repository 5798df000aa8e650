package main

import (
	"strings"
	"testing"

	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

// TestH27_ExitCodes: a command that could not reach the monitor, or was refused before it asked, never ends as if it had done what it was told to.
func TestH27_ExitCodes(t *testing.T) {
	clean(t)
	const nobody = " --monitor postgres://autoctl_node@127.0.0.1:1/autoctl?sslmode=disable"
	for _, command := range []string{
		"perform failover", "perform switchover", "perform promotion --name a", "enable maintenance --name a", "disable maintenance --name a",
		"drop node --name a", "drop formation --formation x", "set node candidate-priority 1 --name a", "set node replication-quorum true --name a",
		"set formation number-sync-standbys 1", "set formation settings node_lost_after=4s", "show state", "show events", "show uri", "explain",
		"create formation --formation x",
	} {
		r := autoctl(t, strings.Fields(command+nobody)...)
		if r.code != classUnreachable.code || r.err == "" {
			t.Errorf("%s: exit %d, says %q", command, r.code, r.err)
		}
	}
	seen := map[int]string{}
	for _, c := range classes() {
		if c.code == 0 || seen[c.code] != "" {
			t.Errorf("class %s has the code %d, as %q has", c.name, c.code, seen[c.code])
		}
		seen[c.code] = c.name
	}
}

// TestS15_WeakCommits: a session that asks for less than "on" is outside the promise that nothing acknowledged is lost; config check names the roles and
// databases of which that is so.
func TestS15_WeakCommits(t *testing.T) {
	pgtest.AsServerUser(t)
	s := pgtest.NewStarted(t, nil)
	s.Exec("create role hasty")
	s.Exec("create database shop")
	t.Setenv("PGUSER", s.Query("select current_user")) // the command is run as the user to whom the server belongs
	l := &loaded{}
	l.Role, l.PostgreSQL.SocketDirectory, l.PostgreSQL.Port = roleKeeper, s.SocketDir, s.Port
	if got := l.weakCommits(t.Context()); len(got) != 0 {
		t.Errorf("of a server on which nobody asked for less: %q", got)
	}
	s.Exec("alter role hasty set synchronous_commit = off")
	s.Exec("alter database shop set synchronous_commit = remote_write")
	s.Exec("alter role hasty in database shop set synchronous_commit = remote_apply")
	got := strings.Join(l.weakCommits(t.Context()), "\n")
	for _, want := range []string{"role hasty: synchronous_commit=off", "database shop: synchronous_commit=remote_write", "may lose them"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not named: %q", want, got)
		}
	}
	if strings.Contains(got, "remote_apply") {
		t.Errorf("what is stronger than on is named: %q", got)
	}
}
