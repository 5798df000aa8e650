package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/autoctl/autoctl/fsm"
	"github.com/autoctl/autoctl/internal/monitorapi"
	"github.com/autoctl/autoctl/keeper"
)

func (a *app) createCoordinator() *cobra.Command {
	return a.createNode(nodeKind{
		use: "coordinator", short: "Create a coordinator of a Citus formation and register it with the monitor", kind: fsm.KindCitus,
		long: `Create a coordinator of a Citus formation: group 0 of the formation, which is made if it is
not there yet. The first coordinator creates the formation's database, with the extension, and
registers the workers in it as they come; the second one is its standby.

With --citus-secondary and --citus-cluster it is a read replica instead: it follows the
coordinator, is never promoted, and its queries read from the read replicas of that cluster.

Nodes of a Citus formation may be created in any order, and all at once.`,
		example: "  autoctl create coordinator --pgdata /var/lib/autoctl/node --ssl-self-signed --auth trust --dbname citus \\\n" +
			"      --monitor 'postgres://autoctl_node@monitor/autoctl?sslmode=require' --run",
		settle: func(l *loaded) error {
			if l.Node.Group > 0 {
				return fail(classUsage, "leave --group out, or use autoctl create worker", "--group is %d: a coordinator is in group 0", l.Node.Group)
			}
			l.Node.Group = 0
			return nil
		},
	})
}

func (a *app) createWorker() *cobra.Command {
	return a.createNode(nodeKind{
		use: "worker", short: "Create a worker of a Citus formation and register it with the monitor", kind: fsm.KindCitus,
		long: `Create a worker of a Citus formation. Without --group the monitor fills a group to two nodes
and then opens the next one. The first worker of a group becomes its primary and is registered
with the coordinator; the others are its standbys.

With --citus-secondary and --citus-cluster it is a read replica of its group instead: it follows
the primary, is never promoted, and Citus knows it as a secondary of that cluster.

A worker that comes before the coordinator waits for it. Nodes may be created in any order, and
all at once.`,
		example: "  autoctl create worker --pgdata /var/lib/autoctl/node --ssl-self-signed --auth trust \\\n" +
			"      --monitor 'postgres://autoctl_node@monitor/autoctl?sslmode=require' --run",
		settle: func(l *loaded) error {
			if l.Node.Group == 0 {
				return fail(classUsage, "give --group 1 or more, or leave it out; autoctl create coordinator makes a coordinator", "--group is 0: that is the coordinators' group")
			}
			return nil
		},
	})
}

// settleKind notes what kind of node is created; a directory keeps the kind that it has.
func (l *loaded) settleKind(k nodeKind) error {
	if _, err := os.Stat(configPath(l.PostgreSQL.PGData)); err == nil && l.Node.Kind != string(k.kind) {
		return fail(classPrecondition, "choose another --pgdata", "%s belongs to a node of a formation of kind %s", l.PostgreSQL.PGData, l.Node.Kind)
	}
	l.Node.Kind = string(k.kind)
	l.set("node.kind", l.Node.Kind)
	if err := l.settleReplica(); err != nil || k.settle == nil {
		return err
	}
	return k.settle(l)
}

// settleReplica checks what was given of a read replica, which is no candidate and holds up no commit.
func (l *loaded) settleReplica() error {
	switch {
	case !l.Node.CitusSecondary && l.Node.CitusCluster == "":
		return nil
	case !l.Node.CitusSecondary:
		return fail(classUsage, "give both for a read replica, or neither", "--citus-cluster is given without --citus-secondary")
	case l.Node.CitusCluster == "":
		return fail(classUsage, "give the same name to the read replicas of all groups, the coordinator's included", "--citus-secondary is given without --citus-cluster")
	case l.Node.ProxyPort != 0:
		return fail(classUsage, "give it to the nodes that may serve", "--proxyport is given to a read replica, which never serves")
	}
	l.Node.CandidatePriority, l.Node.ReplicationQuorum = 0, false
	l.set("node.candidate_priority", "0")
	l.set("node.replication_quorum", "false")
	return nil
}

// registerPatiently registers the node. With --run a worker waits for a formation that its coordinator has not made yet, as it waits for a monitor that is
// just starting.
func (a *app) registerPatiently(ctx context.Context, l *loaded, client *monitorapi.Client, said func(string), wait bool) (keeper.Created, error) {
	told := false
	for {
		made, err := keeper.Create(ctx, l.keeperConfig(), client, said)
		if err == nil || !wait || l.Node.Kind != string(fsm.KindCitus) || l.Node.Group == 0 && !l.Node.CitusSecondary || monitorapi.CodeOf(err) != monitorapi.CodeUnknown {
			return made, err
		}
		if m, memErr := memory(l.PostgreSQL.PGData); memErr == nil && m.Node != 0 {
			return made, err // it is the node that is not known, not the formation
		}
		if !told {
			if l.Node.CitusSecondary {
				a.say("%v: waiting for it.", err)
			} else {
				a.say("Formation %s has no coordinator yet: waiting for it.", l.Node.Formation)
			}
			told = true
		}
		select {
		case <-ctx.Done():
			return made, err
		case <-time.After(500 * time.Millisecond):
		}
	}
}
