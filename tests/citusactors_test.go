package tests

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/autoctl/autoctl/tests/bank"
	"github.com/autoctl/autoctl/tests/cluster"
)

// TestCitusActorsDie tells of a planned move of a worker group in which one of those who carry it out dies: the daemon of the node that is to be promoted, before
// it holds the writes and while it promotes; the old primary's daemon; the coordinator's daemon, and the coordinator itself. Each time the clients go on, whatever
// becomes of the move; the group ends with one primary that everybody knows, and no lock is left.
func TestCitusActorsDie(t *testing.T) {
	long(t)
	cluster.NeedsCitus(t)
	c := citusFormation(t, 2)
	b := c.Bank([]int{1, 2}, 0, 2)
	t.Run("the candidate's daemon while it waits for the writes", func(t *testing.T) {
		coordinator, _ := c.Serving(0)
		ctx, cancel := context.WithTimeout(t.Context(), late)
		defer cancel()
		conn, err := coordinator.ConnectCitus(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		nobodys := inGroup(c, "accounts", 1)
		citusActor(t, c, b, func() {
			if _, err := conn.Exec(ctx, "begin; update accounts set touched = 0 where client = 0 and id = "+nobodys); err != nil {
				t.Fatal(err)
			}
		}, func(_, heir *cluster.Node) *cluster.Node {
			awaitHold(c, coordinator)
			heir.KillKeeper()
			_, _ = conn.Exec(ctx, "rollback")
			return heir
		})
	})
	t.Run("the candidate's daemon while it promotes", func(t *testing.T) {
		_, candidate := c.Serving(1)
		reached, release := candidate.HoldPromotion()
		citusActor(t, c, b, func() {}, func(_, heir *cluster.Node) *cluster.Node {
			c.Await(soon, heir.Name+" is halfway", reached)
			heir.KillKeeper()
			release()
			return heir
		})
		candidate.SQL("alter system reset recovery_end_command")
	})
	for _, which := range []string{"the old primary's daemon", "the coordinator's daemon", "the coordinator"} {
		t.Run(which, func(t *testing.T) {
			_, candidate := c.Serving(1)
			reached, release := candidate.HoldPromotion()
			citusActor(t, c, b, func() {}, func(old, heir *cluster.Node) *cluster.Node {
				c.Await(soon, heir.Name+" is halfway", reached)
				defer release()
				coordinator, _ := c.Serving(0)
				switch which {
				case "the coordinator":
					coordinator.KillPostmaster()
					return nil
				case "the coordinator's daemon":
					old = coordinator
				}
				old.KillKeeper()
				return old
			})
			candidate.SQL("alter system reset recovery_end_command")
		})
	}
	c.Audit(b, 0, 1, 2)
}

// citusActor moves group 1 in order while somebody dies, whose daemon is started anew at once, as systemd does it.
func citusActor(t *testing.T, c *cluster.Cluster, b *bank.Bank, begin func(), dies func(old, heir *cluster.Node) *cluster.Node) {
	t.Helper()
	old, heir := c.Serving(1)
	c.Works(b, soon)
	b.Mark()
	begin()
	moved := make(chan string, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*late)
		defer cancel()
		r, err := c.TryCommandOn(ctx, c.Monitor.Host, "perform", "failover", "--group", "1", "--monitor", c.MonitorURI())
		moved <- fmt.Sprintf("exit code %d %s%v", r.Code, r.Stderr, err)
	}()
	if dead := dies(old, heir); dead != nil {
		dead.Restart()
	}
	c.Works(b, late)
	t.Logf("\n%s", b.Since())
	c.AwaitGroups(2*late, 0, 1, 2)
	t.Logf("perform failover: %s", <-moved)
	c.Works(b, soon)
	c.Await(soon, "nothing is held", func(context.Context) error {
		for _, g := range []int{0, 1, 2} {
			p, _ := c.Serving(g)
			rows, err := p.TryCitus("select pid, state, query from pg_stat_activity where application_name like 'autoctl%' and state like 'idle in transaction%' and now() - state_change > interval '1s'")
			if err != nil {
				return err
			}
			if len(rows) > 0 {
				return fmt.Errorf("%s: %v", p.Name, rows)
			}
		}
		return nil
	})
}

// awaitHold waits until somebody tries to hold the writes of a group on a node.
func awaitHold(c *cluster.Cluster, n *cluster.Node) {
	c.Await(soon, "the writes are to be held", func(context.Context) error {
		rows, err := n.TryCitus("select count(*) from pg_stat_activity where application_name like 'autoctl%' and query like '%citus_pause_node%' and pid <> pg_backend_pid()")
		if err == nil && rows[0] == "0" {
			err = errors.New("nobody tries")
		}
		return err
	})
}
