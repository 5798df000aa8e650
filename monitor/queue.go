package monitor

import (
	"context"
	"sync"
	"time"
)

// groupKey names a group.
type groupKey struct {
	Formation string `json:"formation"`
	Number    int    `json:"group"`
}

// queue says which groups want a decision. A group is with one worker at a time; what asks for it meanwhile asks once more after.
type queue struct {
	mu      sync.Mutex
	entries map[groupKey]*entry
	ready   []groupKey
	news    chan struct{} // one token: there may be something ready
}

type entry struct {
	queued, running, again bool
	timer                  *time.Timer // the group's next deadline
}

func newQueue() *queue {
	return &queue{entries: map[groupKey]*entry{}, news: make(chan struct{}, 1)}
}

// Wake asks for a decision as soon as a worker is free.
func (q *queue) Wake(k groupKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[k]
	if e == nil {
		e = &entry{}
		q.entries[k] = e
	}
	switch {
	case e.running:
		e.again = true
	case !e.queued:
		q.push(k, e)
	}
}

func (q *queue) push(k groupKey, e *entry) {
	e.queued = true
	q.ready = append(q.ready, k)
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// Next waits for a group; the worker gives it back with Done. It returns false when ctx ends.
func (q *queue) Next(ctx context.Context) (groupKey, bool) {
	for {
		if k, ok := q.take(); ok {
			return k, true
		}
		select {
		case <-q.news:
		case <-ctx.Done():
			return groupKey{}, false
		}
	}
}

func (q *queue) take() (groupKey, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return groupKey{}, false
	}
	k := q.ready[0]
	q.ready = q.ready[1:]
	e := q.entries[k]
	e.queued, e.running = false, true
	if len(q.ready) > 0 {
		select {
		case q.news <- struct{}{}: // for the next worker
		default:
		}
	}
	return k, true
}

// Done gives a group back. After wake, when that is not negative, the group is asked for again; it replaces the former deadline.
func (q *queue) Done(k groupKey, wake time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.entries[k]
	e.running = false
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	if e.again {
		e.again = false
		q.push(k, e)
	} else if wake >= 0 {
		e.timer = time.AfterFunc(wake, func() { q.Wake(k) })
	}
}

// Forget drops what is known of a group that is gone; its worker calls it instead of Done.
func (q *queue) Forget(k groupKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.entries[k]; e != nil && e.timer != nil {
		e.timer.Stop()
	}
	delete(q.entries, k)
}
