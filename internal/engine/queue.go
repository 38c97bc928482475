package engine

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
)

// urgency orders causes: what a user asked for before drift, before new
// commits, before periodic work.
func urgency(c app.Cause) int {
	switch c {
	case app.CauseRequest:
		return 0
	case app.CauseDrift:
		return 1
	case app.CauseSpec:
		return 2
	case app.CauseRevision, app.CauseDepends:
		return 3
	case app.CauseHealth:
		return 4
	}
	return 5
}

// queue holds the apps of one cluster that are due to run. An app is in it at
// most once and never runs twice at a time: what comes up while it runs is
// remembered, and the most urgent cause wins.
type queue struct {
	mu    sync.Mutex
	items map[app.ID]*item
	heap  itemHeap
	wake  chan struct{} // has room for one: something is due earlier than before
	seq   uint64
}

type item struct {
	id      app.ID
	cause   app.Cause
	due     time.Time
	seq     uint64
	at      int  // place in the heap, -1 if not waiting
	running bool // popped, and not done yet
	again   bool // came up while running
}

func newQueue() *queue {
	return &queue{items: map[app.ID]*item{}, wake: make(chan struct{}, 1)}
}

// add makes id due at a time. If it is waiting already, the earlier time and
// the more urgent cause are kept.
func (q *queue) add(id app.ID, cause app.Cause, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, known := q.items[id]
	if !known {
		it = &item{id: id, at: -1}
		q.items[id] = it
	}
	waiting := it.at >= 0 || it.again
	if !waiting || urgency(cause) < urgency(it.cause) {
		it.cause = cause
	}
	if !waiting || due.Before(it.due) {
		it.due = due
	}
	switch {
	case it.running:
		it.again = true
	case it.at >= 0:
		heap.Fix(&q.heap, it.at)
	default:
		q.push(it)
	}
	q.signal()
}

func (q *queue) push(it *item) {
	q.seq++
	it.seq = q.seq
	heap.Push(&q.heap, it)
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next waits for the most urgent app that is due. The caller must call done.
func (q *queue) next(ctx context.Context) (app.ID, app.Cause, error) {
	for {
		it, wait := q.pop()
		if it != nil {
			return it.id, it.cause, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return app.ID{}, "", ctx.Err()
		case <-q.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pop takes the most urgent item that is due, or says how long to wait.
func (q *queue) pop() (*item, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	const longest = time.Hour
	if len(q.heap) == 0 {
		return nil, longest
	}
	now := time.Now()
	if wait := q.heap[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	// The heap is ordered by time; among what is due, urgency decides.
	best := q.heap[0]
	for _, it := range q.heap {
		if !it.due.After(now) && (urgency(it.cause) < urgency(best.cause) ||
			urgency(it.cause) == urgency(best.cause) && it.seq < best.seq) {
			best = it
		}
	}
	heap.Remove(&q.heap, best.at)
	best.running = true
	return best, 0
}

// done says that the app has run; it waits again if something came up.
func (q *queue) done(id app.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		return
	}
	it.running = false
	if it.again {
		it.again = false
		q.push(it)
		q.signal()
	}
}

// forget drops an app that does not run any more.
func (q *queue) forget(id app.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		return
	}
	it.again = false
	if it.at >= 0 {
		heap.Remove(&q.heap, it.at)
	}
	if !it.running {
		delete(q.items, id)
	}
}

// itemHeap is a container/heap by due time.
type itemHeap []*item

func (h itemHeap) Len() int           { return len(h) }
func (h itemHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.at = len(*h)
	*h = append(*h, it)
}
func (h *itemHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	it.at = -1
	*h = old[:len(old)-1]
	return it
}
