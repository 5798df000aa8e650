package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/tests/machine"
)

// CitusDatabase is the database of the Citus formations of scenarios.
const CitusDatabase = "citus"

// NeedsCitus skips the test where the extension is not installed for the PostgreSQL that scenarios use.
func NeedsCitus(t testing.TB) {
	t.Helper()
	bin := machine.PostgresBin(t)
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_config"), "--sharedir").Output()
	if err != nil {
		t.Skipf("needs the Citus extension: %s/pg_config does not say where extensions are: %v", bin, err)
	}
	control := filepath.Join(strings.TrimSpace(string(out)), "extension", "citus.control")
	if _, err := os.Stat(control); err != nil {
		t.Skipf("needs the Citus extension, which pg_available_extensions does not list: there is no %s", control)
	}
}

// TLS is the setup of the Citus quick start: TLS with certificates that the nodes make, whoever is on the network is trusted.
func TLS() Setup {
	return Setup{
		Flags:   func(*Node) []string { return []string{"--auth", "trust", "--ssl-self-signed", "--pg-hba-lan"} },
		Options: "sslmode=require",
	}
}

// CreateCitus starts "create coordinator --run" or "create worker --run" on a host where nothing runs.
func (n *Node) CreateCitus(role string, flags ...string) {
	n.c.t.Helper()
	args := n.CreateArgs()
	args[1] = role
	if role == "coordinator" {
		args = append(args, "--dbname", CitusDatabase)
	}
	n.start(append(append(args, "--run"), flags...)...)
}

// ConnectCitus opens a session with the formation's database on the node, from the node's own host.
func (n *Node) ConnectCitus(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=require connect_timeout=2", n.Addr, n.Port, n.User(), CitusDatabase))
	if err != nil {
		return nil, err
	}
	cfg.DialFunc = n.Dial
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	return pgx.ConnectConfig(ctx, cfg)
}

// TryCitus runs a statement in the formation's database and returns its rows, as psql -At prints them.
func (n *Node) TryCitus(sql string, args ...any) ([]string, error) {
	ctx, cancel := context.WithTimeout(n.c.t.Context(), 20*time.Second)
	defer cancel()
	conn, err := n.ConnectCitus(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	return Rows(ctx, conn, sql, args...)
}

// Rows runs a statement and returns its rows, each as text with columns joined by "|".
func Rows(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		var text []string
		for _, v := range values {
			text = append(text, fmt.Sprint(v))
		}
		return strings.Join(text, "|"), err
	})
}

// Citus is TryCitus for what has to succeed.
func (n *Node) Citus(sql string, args ...any) []string {
	n.c.t.Helper()
	rows, err := n.TryCitus(sql, args...)
	if err != nil {
		n.c.t.Fatalf("%s on %s: %v\n%s", sql, n.Name, err, n.c.Picture())
	}
	return rows
}

// GroupOf returns a group of the formation as the monitor sees it; nil while it is not there.
func (c *Cluster) GroupOf(number int) *monitorapi.GroupState {
	c.t.Helper()
	for _, f := range c.State().Formations {
		for i := range f.Groups {
			if f.Groups[i].Group == number {
				return &f.Groups[i]
			}
		}
	}
	return nil
}

// Serving returns the node that serves a group, and one that follows it.
func (c *Cluster) Serving(group int) (primary, standby *Node) {
	c.t.Helper()
	g := c.GroupOf(group)
	if g == nil {
		c.t.Fatalf("there is no group %d\n%s", group, c.Picture())
	}
	for _, n := range g.Nodes {
		switch {
		case n.Reported.Serves() && n.Assigned.Serves():
			primary = c.Node(n.Name)
		case n.Reported == Secondary && n.Assigned == Secondary && n.Cluster == "":
			standby = c.Node(n.Name)
		}
	}
	if primary == nil {
		c.t.Fatalf("nobody serves group %d\n%s", group, c.Picture())
	}
	return primary, standby
}

// AwaitGroups waits until each of the groups has a primary and a secondary, and nothing is in between.
func (c *Cluster) AwaitGroups(within time.Duration, groups ...int) {
	c.t.Helper()
	c.Await(within, fmt.Sprintf("groups %v are whole", groups), func(ctx context.Context) error {
		state, err := c.ask(ctx)
		if err != nil {
			return err
		}
		for _, number := range groups {
			if err := whole(state, number); err != nil {
				return err
			}
		}
		return nil
	})
}

func whole(state monitorapi.State, number int) error {
	for _, f := range state.Formations {
		for _, g := range f.Groups {
			if g.Group != number {
				continue
			}
			primaries, standbys := 0, 0
			for _, n := range g.Nodes {
				switch {
				case n.Cluster != "": // a read replica is nobody's standby
				case n.Reported != n.Assigned:
					return fmt.Errorf("%s is %s, assigned %s", n.Name, n.Reported, n.Assigned)
				case n.Reported == Primary && n.Open:
					primaries++
				case n.Reported == Secondary:
					standbys++
				}
			}
			if primaries != 1 || standbys != 1 || g.Election != nil {
				return fmt.Errorf("group %d has %d primaries and %d secondaries", number, primaries, standbys)
			}
			return nil
		}
	}
	return fmt.Errorf("there is no group %d", number)
}
