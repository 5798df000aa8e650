package metadata_test

import "testing"

// TestCatchUnnamed: nothing is held of a group that the topology does not name, and a group is held without a wish, too.
func TestCatchUnnamed(t *testing.T) {
	l := newFormation(t, 1)
	held := l.client.Catch(within(t), l.top.Only(0), 1)
	if !held.Over() {
		t.Error("a group that is not named is held")
	}
	if r := held.Commit(within(t), l.top); r.Changed() {
		t.Errorf("committed: %s", describe(r))
	}
	held = l.client.Catch(within(t), l.wish(1, nil), 1)
	defer held.Release(within(t))
	l.await("it is held without a wish", func() bool { return l.holds(0) == "1" })
}

// holds counts the sessions that hold the writes of a group on the server of another.
func (l *lab) holds(on int) string {
	l.t.Helper()
	return l.servers[on].Query(`select count(distinct pid) from pg_stat_activity join pg_locks using (pid) where application_name like 'autoctl_hold%' and locktype = 'advisory' and granted`)
}
