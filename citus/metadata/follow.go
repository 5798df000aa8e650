package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/autoctl/autoctl/citus"
)

// Survey reads every metadata primary and compares it with the topology. It changes nothing.
func (c *Client) Survey(ctx context.Context, t citus.Topology) Report {
	return reportOf(each(ctx, t, func(ctx context.Context, g citus.Group) (Node, error) {
		s, n := c.look(ctx, t, t, g)
		if s != nil {
			s.close(ctx)
		}
		return n, nil
	}))
}

// Push writes the groups' places on every metadata primary that can be reached, each by itself and all at once. It registers and removes nobody, and needs no
// coordinator. A server whose rows have changed then resolves the prepared transactions that it began.
func (c *Client) Push(ctx context.Context, t citus.Topology) Report {
	return c.visit(t).push(ctx, t)
}

// Keep is [Client.Push] for the primary of one group alone. The report has one entry, or none when the topology has no such primary.
func (c *Client) Keep(ctx context.Context, t citus.Topology, group int) Report {
	g := t.Group(group)
	if g == nil || g.Dropped || g.Primary.IsZero() {
		return Report{}
	}
	return Report{Nodes: []Node{c.visit(t).follow(ctx, t, *g)}}
}

func reportOf(answers []answer[Node]) Report {
	r := Report{Nodes: make([]Node, 0, len(answers))}
	for _, a := range answers {
		r.Nodes = append(r.Nodes, a.value)
	}
	return r
}

// look opens a session with a group's primary and compares what it knows with the part of the topology that is asked for. The session is nil when it could not be read.
func (c *Client) look(ctx context.Context, t, part citus.Topology, g citus.Group) (*session, Node) {
	n := Node{Group: g.Number, At: g.Primary, Recovered: -1}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*c.Timings.complete().Connect, errors.New("the server does not answer"))
	defer cancel()
	s, a, err := c.open(ctx, t, g, sessionName)
	if err == nil {
		if a, err = s.read(ctx, a); err != nil {
			s.close(ctx)
			err = fmt.Errorf("look at group %d at %s: %w", g.Number, g.Primary, explain(ctx, err))
		}
	}
	if err != nil {
		n.Problem = err.Error()
		return nil, n
	}
	n.Actual = &a
	n.Left = citus.Decide(part, a, g.Number).Left
	return s, n
}

// follow makes one server follow part of the topology, as far as addresses go.
func (v *visit) follow(ctx context.Context, part citus.Topology, g citus.Group) Node {
	s, n := v.client.look(ctx, v.t, part, g)
	if s == nil {
		return n
	}
	defer s.close(ctx)
	if batches := citus.Decide(part, *n.Actual, g.Number).Batches; len(batches) > 0 {
		v.make(ctx, part, s, &n, batches)
	}
	if n.moved() {
		n.Recovered = v.client.resolve(ctx, s)
	}
	return n
}

// make makes the changes of one server, and notes what came of them.
func (v *visit) make(ctx context.Context, part citus.Topology, s *session, n *Node, batches [][]citus.Step) {
	ctx, cancel := context.WithTimeoutCause(ctx, v.client.Timings.complete().Change, errors.New("the server does not answer"))
	defer cancel()
	before := *n.Actual
	errs := []error{s.schema(ctx)}
	for _, steps := range batches {
		if errs[0] != nil {
			break
		}
		err := v.introduce(ctx, s.group, steps)
		if err == nil {
			var ended []Ended
			ended, err = v.client.change(ctx, v.t, s, steps)
			n.Ended = append(n.Ended, ended...)
		}
		if err == nil {
			n.Done = append(n.Done, steps...)
			v.endOrphans(ctx, s, before, steps)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		n.Problem = fmt.Errorf("change group %d at %s: %w", n.Group, n.At, explain(ctx, err)).Error()
	}
	if again, err := s.read(ctx, *n.Actual); err == nil {
		n.Actual, n.Left = &again, citus.Decide(part, again, n.Group).Left
	}
}

// lockPatience is for how long an address waits for the locks of its group's shards.
const lockPatience = 750 * time.Millisecond

// change makes the steps in one transaction, and again for as long as the context allows while locks stand in the way. Whoever holds one for longer is ended. There are some
// who are not: a session that holds the writes of a group that is being moved, too, as all such share the locks of the reference tables, and one that waits for a standby; nor
// can one be that tells a host which hangs to cancel its query, for which libpq waits without end. The locks only let
// statements that are under way finish at the old address first; where that is not to be had the row is written without them, as everybody else's statements wait for it.
func (c *Client) change(ctx context.Context, t citus.Topology, s *session, steps []citus.Step) (all []Ended, err error) {
	p := patience{all: changePatience, since: time.Now(), held: new(time.Time), superseded: superseded(t, -1),
		reason: fmt.Sprintf("group %d has moved, and it holds up the new address", steps[0].Group)}
	defer func() { s.plain = false }()
	for {
		lock := c.Timings.complete().Lock
		if left := lockPatience - time.Since(p.since); left > 0 {
			lock = min(lock, left)
		} else {
			s.plain = true
		}
		ended, err := c.guard(ctx, t, s, p, func(ctx context.Context) error {
			if err := s.limit(ctx, lock, c.Timings.complete().Change); err != nil {
				return err
			}
			return s.transact(ctx, steps)
		})
		all = append(all, ended...)
		if err == nil || !passing(err) || s.conn.IsClosed() || pause(ctx, betweenTry) != nil {
			return all, err
		}
	}
}
