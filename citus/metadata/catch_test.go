package metadata_test

import (
	"testing"
	"time"

	"github.com/autoctl/autoctl/citus"
)

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

// TestCatchForTwo: who holds a group's writes is not ended for another that may be elected, and is for its own next life; once one is elected, what the other holds is ended.
func TestCatchForTwo(t *testing.T) {
	l := newFormation(t, 1)
	first, second := l.other(), citus.Address{Host: "127.0.0.2", Port: l.servers[1].Port}
	pid := func() string {
		return l.servers[0].Query("select coalesce(max(pid), 0) from pg_stat_activity join pg_locks using (pid) where application_name like 'autoctl_hold%' and locktype = 'advisory' and granted")
	}
	one := l.client.Catch(within(t), l.wish(1, &citus.Hold{ID: "one", To: first}), 1)
	defer one.Release(within(t))
	l.await("it holds", func() bool { return l.holds(0) == "1" })
	before := pid()
	began := time.Now()
	two := l.client.Catch(within(t), l.wish(1, &citus.Hold{ID: "two", To: second}), 1)
	defer two.Release(within(t))
	l.await("the other gives up", func() bool { return len(two.Missing()) == 1 })
	if after := pid(); after != before || time.Since(began) < time.Second/2 {
		t.Errorf("process %s held the writes, and for another %s does after %v", before, after, time.Since(began))
	}
	again := l.client.Catch(within(t), l.wish(1, &citus.Hold{ID: "again", To: first}), 1)
	defer again.Release(within(t))
	l.await("its own next life holds", func() bool { now := pid(); return now != before && now != "0" })
	top := l.wish(1, nil)
	if n := l.client.Outlive(within(t), top, 1); n != 0 {
		t.Errorf("ended %d holds before anybody was elected", n)
	}
	if n := l.client.Outlive(within(t), l.move(1, first), 1); n != 0 {
		t.Errorf("ended %d holds of who was elected", n)
	}
	if n := l.client.Outlive(within(t), l.move(1, address(l.servers[1])), 1); n != 1 {
		t.Errorf("ended %d holds of who was not elected", n)
	}
	l.await("nobody holds", func() bool { return l.holds(0) == "0" })
}
