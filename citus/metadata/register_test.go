package metadata_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/internal/pgserver/pgtest"
)

const nodes = "select string_agg(format('%s:%s %s', groupid, nodeport, noderole), ', ' order by groupid, nodeid) from pg_dist_node where isactive and hasmetadata"

// From nothing: the coordinator registers itself and the workers, in one call, and every node knows everybody, and since when.
func TestRegister(t *testing.T) {
	l := newLab(t, 2)
	first := l.client.Survey(within(t), l.top)
	if first.Routed(1) || first.Changed() {
		t.Errorf("a survey of unregistered servers: %s", describe(first))
	}
	l.settled(l.client.Reconcile(within(t), l.top))
	want := fmt.Sprintf("0:%d primary, 1:%d primary, 2:%d primary", l.servers[0].Port, l.servers[1].Port, l.servers[2].Port)
	for g, s := range l.servers {
		if got := s.Query(nodes); got != want {
			t.Errorf("group %d knows %s, want %s", g, got, want)
		}
		if got := s.Query("select groupid from pg_dist_local_group"); got != fmt.Sprint(g) {
			t.Errorf("group %d believes to be group %s", g, got)
		}
		if got := s.Query("select string_agg(format('%s:%s@%s.%s', group_id, port, incarnation, epoch), ' ' order by group_id) from autoctl.topology"); strings.Count(got, "@1.1") != 3 {
			t.Errorf("group %d was told %s", g, got)
		}
	}
	again := l.client.Reconcile(within(t), l.top)
	l.settled(again)
	if again.Changed() {
		t.Errorf("a second call changed something: %s", describe(again))
	}
	if got := l.servers[0].Query("select count(*) from pg_dist_object where objid in (select oid from pg_namespace where nspname = 'autoctl')"); got != "0" {
		t.Error("Citus takes our schema for one of its own")
	}
}

// The wrong server at an address is refused before it is told anything (acceptance test 12): another group's, a standby, another system.
func TestWrongServer(t *testing.T) {
	l := newFormation(t, 2)
	before := l.servers[2].Query(nodes)
	wrong := l.move(1, address(l.servers[2]))
	wrong.Groups[2].Primary = citus.Address{Host: "127.0.0.1", Port: 1} // out of the way
	r := l.client.Reconcile(within(t), wrong)
	if r.Routed(1) || !strings.Contains(describe(r), "is not the primary of group 1") {
		t.Errorf("the move to another group's server: %s", describe(r))
	}
	for g, s := range l.servers {
		if got := s.Query(nodes); got != before {
			t.Errorf("group %d knows %s, want %s", g, got, before)
		}
	}
	stranger := server(t, pgtest.BinariesWithCitus(t), 3)
	r = l.client.Reconcile(within(t), l.move(1, address(stranger)))
	if r.Routed(1) || !strings.Contains(describe(r), "system identifier") {
		t.Errorf("the move to another system: %s", describe(r))
	}
	r = l.client.Reconcile(within(t), l.move(1, address(l.standby(1))))
	if r.Routed(1) || !strings.Contains(describe(r), "it is a standby") {
		t.Errorf("the move to a standby: %s", describe(r))
	}
	if got := l.servers[0].Query(nodes); got != before {
		t.Errorf("the coordinator knows %s, want %s", got, before)
	}
}

// A group is removed when nothing lives there, and not before; an older topology does not bring it back.
func TestDrop(t *testing.T) {
	l := newLab(t, 2)
	l.settled(l.client.Reconcile(within(t), l.top))
	l.servers[0].Exec("create table few (id int primary key); select create_distributed_table('few', 'id', shard_count => 2); insert into few select generate_series(1, 50)")
	older := l.top
	dropped := l.move(2, citus.Address{})
	dropped.Group(2).Dropped = true
	r := l.client.Reconcile(within(t), dropped)
	if got := l.servers[0].Query("select count(*) from pg_dist_node where groupid = 2"); got != "1" || !strings.Contains(describe(r), "cannot remove or disable the node") {
		t.Errorf("removed with shards on it: %s rows; %s", got, describe(r))
	}
	l.servers[0].Exec(`select citus_move_shard_placement(shardid, (select nodeid from pg_dist_node where groupid = 2), (select nodeid from pg_dist_node where groupid = 1), 'block_writes')
		from pg_dist_placement where groupid = 2`)
	l.servers[0].Exec("call citus_cleanup_orphaned_resources()")
	r = l.client.Reconcile(within(t), dropped)
	if got := l.servers[0].Query("select count(*) from pg_dist_node where groupid = 2"); got != "0" {
		t.Errorf("not removed: %s", describe(r))
	}
	l.client.Reconcile(within(t), dropped)
	if got := l.servers[1].Query("select coalesce(host, '-') from autoctl.topology where group_id = 2"); got != "-" {
		t.Errorf("a worker remembers %s of the dropped group", got)
	}
	l.client.Reconcile(within(t), older)
	if got := l.servers[0].Query("select count(*) from pg_dist_node where groupid = 2"); got != "0" {
		t.Error("an older topology has brought the group back")
	}
	if got := l.servers[0].Query("select count(*) from few"); got != "50" {
		t.Errorf("%s rows", got)
	}
}

// Standbys that Citus knows of: registered, swapped with the primary in the move, removed.
func TestSecondaries(t *testing.T) {
	l := newFormation(t, 1)
	s := l.standby(1)
	with := l.wish(1, nil)
	with.Group(1).Secondaries = []citus.Secondary{{Address: address(s)}}
	l.settled(l.client.Reconcile(within(t), with))
	if got := l.servers[1].Query("select nodeport from pg_dist_node where noderole = 'secondary'"); got != fmt.Sprint(s.Port) {
		t.Fatalf("the secondary is at %s", got)
	}
	ids := "select string_agg(format('%s %s', nodeid, noderole), ', ' order by nodeid) from pg_dist_node"
	before := l.servers[0].Query(ids)
	s.Exec("select pg_promote()")
	moved := l.move(1, address(s))
	moved.Group(1).Secondaries = []citus.Secondary{{Address: address(l.servers[1])}}
	r := l.client.Push(within(t), moved)
	if !r.Routed(1) {
		t.Fatalf("not routed: %s", describe(r))
	}
	if got := l.servers[0].Query(ids); got != before {
		t.Errorf("node ids were %s and are %s", before, got)
	}
	if got := l.servers[0].Query("select nodeport from pg_dist_node where noderole = 'secondary'"); got != fmt.Sprint(l.servers[1].Port) {
		t.Errorf("the secondary is at %s after the swap", got)
	}
	moved.Group(1).Secondaries = []citus.Secondary{}
	l.await("the secondary is removed", func() bool {
		l.client.Reconcile(within(t), moved)
		return l.servers[0].Query("select count(*) from pg_dist_node where noderole = 'secondary'") == "0"
	})
}
