package metadata

import (
	"context"
	"sync"

	"github.com/autoctl/autoctl/citus"
)

// answer is what one server's turn gave.
type answer[V any] struct {
	group citus.Group
	value V
	err   error
}

// each speaks with the primary of every group that has one, all at once, and returns the answers in the topology's order. Each has deadlines of its own, so
// that a server which hangs delays the return and nobody else's turn.
func each[V any](ctx context.Context, t citus.Topology, f func(context.Context, citus.Group) (V, error)) []answer[V] {
	answers := make([]answer[V], 0, len(t.Groups))
	for _, g := range t.Groups {
		if !g.Dropped && !g.Primary.IsZero() {
			answers = append(answers, answer[V]{group: g})
		}
	}
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i].value, answers[i].err = f(ctx, answers[i].group) })
	}
	wg.Wait()
	return answers
}
