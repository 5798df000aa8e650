package local

import (
	"slices"
	"strings"
	"testing"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/pgserver/conf"
	"github.com/autoctl/autoctl/internal/pgserver/hba"
)

// TestCitusPreload: Citus refuses to be loaded after another library, and what the user has stays.
func TestCitusPreload(t *testing.T) {
	for user, want := range map[string]string{
		"": "citus", "pg_stat_statements": "citus,pg_stat_statements", "pg_stat_statements, citus": "citus,pg_stat_statements",
		`"auto_explain" , pg_stat_statements`: "citus,auto_explain,pg_stat_statements",
	} {
		if got := preload(user); got != want {
			t.Errorf("preload(%q) = %q, want %q", user, got, want)
		}
	}
}

// TestCitusParams: a node of a Citus formation says how it connects to the others as it was set up itself, and prepared transactions are never left to what Citus
// makes of 0 at the start, which a standby could not know.
func TestCitusParams(t *testing.T) {
	n := &Node{}
	n.current.Store(&Config{Citus: true, Host: "w1.example", TLS: TLS{Mode: "verify-full", CA: "/etc/ca.crt", Cert: "/etc/s.crt", Key: "/etc/s.key"}})
	p := conf.Params{}
	if err := n.citusParams(p, conf.Params{"max_connections": "300", "shared_preload_libraries": "auto_explain", "max_wal_senders": "50"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"shared_preload_libraries": "citus,auto_explain", "wal_level": "logical", "max_prepared_transactions": "600", "max_wal_senders": "50", "citus.local_hostname": "w1.example",
	} {
		if p[name] != want {
			t.Errorf("%s = %q, want %q", name, p[name], want)
		}
	}
	for _, want := range []string{"sslmode=verify-full", "sslrootcert=/etc/ca.crt", "keepalives_idle=5", "tcp_user_timeout=10000"} {
		if !strings.Contains(p["citus.node_conninfo"], want) {
			t.Errorf("citus.node_conninfo = %q lacks %s", p["citus.node_conninfo"], want)
		}
	}
	n.current.Store(&Config{Host: "w1.example"})
	p = conf.Params{}
	if err := n.citusParams(p, nil); err != nil || len(p) != 0 {
		t.Errorf("a node of another formation gets %v (%v)", p, err)
	}
}

// TestCitusFellows: every node of the formation, the node itself included, may come in any role, to the formation's database only.
func TestCitusFellows(t *testing.T) {
	n := &Node{}
	n.current.Store(&Config{Citus: true, Host: "198.18.0.1", Auth: "scram-sha-256"})
	rules := n.fellowRules(fsm.Files{Database: "app", Peers: []fsm.Peer{{Host: "198.18.0.2"}}, Fellows: []fsm.Fellow{{Host: "198.18.0.4"}, {Host: "198.18.0.3"}, {Host: "198.18.0.3"}}})
	var addresses []string
	for _, r := range rules {
		addresses = append(addresses, r.Address)
		if !slices.Equal(r.Databases, []string{"app"}) || !slices.Equal(r.Users, []string{hba.All}) || r.Method != "scram-sha-256" {
			t.Errorf("rule %+v", r)
		}
	}
	if want := []string{"198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.4"}; !slices.Equal(addresses, want) {
		t.Errorf("admitted are %v, want %v", addresses, want)
	}
}
