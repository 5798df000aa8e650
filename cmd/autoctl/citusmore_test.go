package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/citus"
	"github.com/autoctl/autoctl/citus/metadata"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

// TestReplicaOptions: what is given of a read replica is checked before anybody is asked.
func TestReplicaOptions(t *testing.T) {
	home := clean(t)
	for _, c := range []struct {
		role string
		args []string
		want string
	}{
		{"worker", []string{"--citus-secondary"}, "without --citus-cluster"},
		{"coordinator", []string{"--citus-cluster", "reports"}, "without --citus-secondary"},
		{"worker", []string{"--citus-secondary", "--citus-cluster", "default"}, "cluster of the primaries"},
		{"worker", []string{"--citus-secondary", "--citus-cluster", "reports", "--proxyport", "6432"}, "which never serves"},
		{"worker", []string{"--proxyport", "70000"}, "between 0 and 65535"},
		{"coordinator", []string{"--proxyport", "6432"}, "unknown flag"},
		{"postgres", []string{"--citus-secondary"}, "unknown flag"},
	} {
		args := append([]string{"create", c.role, "--pgdata", filepath.Join(home, "data"), "--monitor", "postgres://autoctl_node@127.0.0.1:1/autoctl", "--no-ssl", "--auth", "trust"}, c.args...)
		r := autoctl(t, args...)
		if r.code != classUsage.code || !strings.Contains(r.err, c.want) {
			t.Errorf("create %s %v: exit %d: %s", c.role, c.args, r.code, r.err)
		}
	}
}

// TestReplicaURIs: a read replica is in a URI of its cluster, and in none of the others.
func TestReplicaURIs(t *testing.T) {
	g := monitorapi.GroupState{Nodes: []monitorapi.NodeState{
		{NodeID: 1, Host: "coord", Port: 5432, Reported: "primary", Assigned: "primary"}, {NodeID: 2, Host: "near", Port: 5432, Cluster: "reports"},
		{NodeID: 3, Host: "far", Port: 5433, Cluster: "backups"},
	}}
	f := monitorapi.FormationState{Name: "default", Database: "app", Groups: []monitorapi.GroupState{g}}
	write, read, err := groupURIs(f.Database, g, uriOptions{sslMode: "require"})
	if err != nil || strings.Contains(write+read, "near") || strings.Contains(write+read, "far") || !strings.Contains(write, "coord:5432/app") {
		t.Errorf("%s\n%s\n%v", write, read, err)
	}
	rows, err := replicaURIs(f, g, uriOptions{sslMode: "require"})
	if err != nil || len(rows) != 2 || rows[0].Cluster != "backups" || !strings.Contains(rows[0].URI, "//far:5433/app") || rows[1].Cluster != "reports" || !strings.Contains(rows[1].URI, "//near:5432/app") {
		t.Errorf("%+v %v", rows, err)
	}
}

// TestCitusDatabasesOutput: show citus prints a table for each database, and a database is ready when no node lacks anything in it.
func TestCitusDatabasesOutput(t *testing.T) {
	at := citus.Address{Host: "c", Port: 5432}
	row := citus.Row{ID: 1, Address: at, Role: citus.RolePrimary, Active: true, HasMetadata: true}
	fine := metadata.Node{At: at, Actual: &citus.Actual{Rows: []citus.Row{row}}}
	st := keeper.CitusStatus{
		Formation: "default", Database: "app", Groups: []citus.Group{{Primary: at, Serving: true}}, Nodes: []metadata.Node{fine},
		Databases: []keeper.CitusDatabase{
			{Database: "ready", Nodes: []metadata.Node{fine}},
			{Database: "gone", Nodes: []metadata.Node{{At: at, Problem: `there is no database "gone"`}}},
			{Database: "late", Nodes: []metadata.Node{{At: at, Actual: &citus.Actual{}, Left: []citus.Difference{{Kind: citus.DifferMissing, Reason: "it is registered"}}}}},
		},
	}
	var b strings.Builder
	writeCitus(&b, st)
	for _, want := range []string{"Database app:\n", "\nDatabase ready:\n", "\nDatabase gone:\n", `group 0 at c:5432: there is no database "gone"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	for name, want := range map[string]string{"ready": "", "gone": "no database", "late": "it is registered", "unheard of": "not heard of it"} {
		err := lacks(st, name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("database %s lacks %v, want %q", name, err, want)
		}
	}
	if err := activated(st); err == nil {
		t.Error("activate is content although a database is missing")
	}
}
