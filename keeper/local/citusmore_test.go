package local

import (
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
)

// TestCitusReplicaParams: a read replica's queries read from the read replicas of its cluster, those of all other nodes from the primaries, whatever was set by hand.
func TestCitusReplicaParams(t *testing.T) {
	for cluster, want := range map[string][2]string{"": {"never", "default"}, "reports": {"always", "reports"}} {
		n := &Node{}
		n.current.Store(&Config{Citus: true, Cluster: cluster, Host: "w1.example"})
		p := conf.Params{}
		if err := n.citusParams(p, conf.Params{"citus.use_secondary_nodes": "other"}); err != nil {
			t.Fatal(err)
		}
		if got := [2]string{p["citus.use_secondary_nodes"], p["citus.cluster_name"]}; got != want {
			t.Errorf("of a node of cluster %q they are %v, want %v", cluster, got, want)
		}
	}
}

// TestCitusFellows_Databases: the nodes are admitted to every database of the formation, by their certificates where those are asked for; other roles then need one with their
// own name. Names are quoted.
func TestCitusFellows_Databases(t *testing.T) {
	n := &Node{}
	n.current.Store(&Config{Citus: true, Host: "198.18.0.1", Auth: "cert", Superuser: "postgres", Username: "app", TLS: TLS{Mode: "verify-full", Cert: "/etc/s.crt", Key: "/etc/s.key"}})
	rules := n.fellowRules(fsm.Files{Database: "app", Databases: []string{`Odd "name", 'x'`, "shop"}})
	var lines []string
	for _, r := range rules {
		line, err := r.Render()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	want := []string{
		`hostssl app,"Odd ""name"", 'x'",shop autoctl_replicator,postgres,app 198.18.0.1/32 cert map=autoctl`,
		`hostssl app,"Odd ""name"", 'x'",shop all 198.18.0.1/32 cert`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the rules are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}
