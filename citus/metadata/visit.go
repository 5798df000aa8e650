package metadata

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// visit is one round of changes on the servers of a topology. It looks once at each server to which others are to be sent.
type visit struct {
	client *Client
	t      citus.Topology

	mu     sync.Mutex
	looked map[int]*look
}

// look is the result of looking at one group's new primary.
type look struct {
	once sync.Once
	err  error
}

func (c *Client) visit(t citus.Topology) *visit {
	return &visit{client: c, t: t, looked: map[int]*look{}}
}

// push makes every server follow part of the topology.
func (v *visit) push(ctx context.Context, part citus.Topology) Report {
	return reportOf(each(ctx, v.t, func(ctx context.Context, g citus.Group) (Node, error) { return v.follow(ctx, part, g), nil }))
}

// proves has a group's new primary looked at, once, and returns what came of it.
func (v *visit) proves(group int, how func() error) error {
	l := v.at(group)
	l.once.Do(func() { l.err = how() })
	return l.err
}

func (v *visit) at(group int) *look {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.looked[group] == nil {
		v.looked[group] = &look{}
	}
	return v.looked[group]
}

// introduce looks at the servers to which the steps will send statements and, through the coordinator's daemon, metadata. Nobody is sent to one that does not prove who
// it is.
func (v *visit) introduce(ctx context.Context, to citus.Group, steps []citus.Step) error {
	for _, step := range steps {
		g := v.t.Group(step.Group)
		if step.Kind != citus.StepMove || g == nil || g.Number == to.Number || step.Address != g.Primary {
			continue
		}
		err := v.proves(g.Number, func() error {
			s, _, err := v.client.open(ctx, v.t, *g, sessionName)
			if err == nil {
				s.close(ctx)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// endOrphans ends the sessions that the former primary of a group had opened on this server as a node that plans queries, once the group has moved away from its host: when that
// host has vanished they would keep their row locks until a keepalive fails. Prepared transactions are not touched: recovery decides on them.
func (v *visit) endOrphans(ctx context.Context, s *session, before citus.Actual, steps []citus.Step) {
	for _, step := range steps {
		g, row := v.t.Group(step.Group), before.Primary(step.Group)
		if step.Kind != citus.StepMove || g == nil || row == nil || row.ID != step.Node || step.Address != g.Primary || g.Number == s.group.Number {
			continue
		}
		former, present := addresses(ctx, row.Host), addresses(ctx, g.Primary.Host)
		if len(former) == 0 || slices.ContainsFunc(former, func(a string) bool { return slices.Contains(present, a) }) {
			continue
		}
		err := s.exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity
			where backend_type = 'client backend' and application_name ~ '^citus_[a-z_]+ gpid=[0-9]+$' and client_addr = any ($2::text[]::inet[])
			and substring(application_name from '[0-9]+$')::numeric >= $1::int * 10000000000::numeric
			and substring(application_name from '[0-9]+$')::numeric < ($1::int + 1) * 10000000000::numeric
			and wait_event is distinct from 'SyncRep'`, int32(row.ID), former)
		if err != nil {
			v.client.Log.Warn().Err(err).Int("group", s.group.Number).Msg("the sessions of a former primary could not be ended")
		}
	}
}

// addresses are the IP addresses of a host, as far as they can be had at once.
func addresses(ctx context.Context, host string) []string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{ip.String()}
	}
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	found, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil
	}
	return found
}
