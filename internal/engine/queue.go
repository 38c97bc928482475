package engine

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
)

// urgency orders causes: what a user asked for before drift, before new
// commits, before what time brings.
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
	case app.CauseBookkeeping:
		return 6
	}
	return 5
}

// queue holds the apps of one cluster that are due to run. An app is in it at
// most once and never runs twice at a time: what comes up while it runs is
// remembered, and the most urgent cause wins. What is due is taken by urgency,
// then in the order of coming; what is not due yet waits by time.
type queue struct {
	mu    sync.Mutex
	items map[app.ID]*item
	ready itemHeap
	later itemHeap
	wake  chan struct{} // has room for one: something has come
	seq   uint64
}

type item struct {
	id      app.ID
	cause   app.Cause
	due     time.Time
	seq     uint64
	in      *itemHeap       // nil if not waiting
	at      int             // place in it
	running bool            // popped, and not done yet
	again   bool            // came up while running
	gone    bool            // forgotten while running
	idle    []chan struct{} // closed when it has run
}

func newQueue() *queue {
	return &queue{items: map[app.ID]*item{}, wake: make(chan struct{}, 1),
		ready: itemHeap{less: func(a, b *item) bool {
			if ua, ub := urgency(a.cause), urgency(b.cause); ua != ub {
				return ua < ub
			}
			return a.seq < b.seq
		}},
		later: itemHeap{less: func(a, b *item) bool { return a.due.Before(b.due) }},
	}
}

// add makes id due at a time. If it is waiting already, the earlier time is
// kept with its cause, and of two that are due the more urgent cause.
func (q *queue) add(id app.ID, cause app.Cause, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it, known := q.items[id]
	if !known {
		it = &item{id: id}
		q.items[id] = it
	}
	it.gone = false
	waiting, now := it.in != nil || it.again, time.Now()
	switch {
	case !waiting, it.due.After(now) && due.Before(it.due):
		it.cause, it.due = cause, due
	case due.After(now): // by then it has run
		return
	case urgency(cause) < urgency(it.cause):
		it.cause = cause
	}
	if it.running {
		it.again = true
		return
	}
	q.place(it)
}

// place puts an item where it belongs now.
func (q *queue) place(it *item) {
	if it.in != nil {
		heap.Remove(it.in, it.at)
	} else {
		q.seq++
		it.seq = q.seq
	}
	it.in = &q.later
	if !it.due.After(time.Now()) {
		it.in = &q.ready
	}
	heap.Push(it.in, it)
	q.signal()
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
	now := time.Now()
	for len(q.later.items) > 0 && !q.later.items[0].due.After(now) {
		it := heap.Pop(&q.later).(*item)
		it.in = &q.ready
		heap.Push(&q.ready, it)
	}
	if len(q.ready.items) > 0 {
		it := heap.Pop(&q.ready).(*item)
		it.in, it.running = nil, true
		return it, 0
	}
	if len(q.later.items) > 0 {
		return nil, q.later.items[0].due.Sub(now)
	}
	return nil, longest
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
	for _, idle := range it.idle {
		close(idle)
	}
	it.idle = nil
	if it.gone {
		delete(q.items, id)
		return
	}
	if it.again {
		it.again = false
		q.place(it)
	}
}

// forget drops an app. One that runs is forgotten when it is done.
func (q *queue) forget(id app.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.items[id]
	if it == nil {
		return
	}
	it.again, it.gone = false, it.running
	if it.in != nil {
		heap.Remove(it.in, it.at)
		it.in = nil
	}
	if !it.running {
		delete(q.items, id)
	}
}

// idle is closed as soon as the app does not run.
func (q *queue) idle(id app.ID) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle := make(chan struct{})
	if it := q.items[id]; it != nil && it.running {
		it.idle = append(it.idle, idle)
	} else {
		close(idle)
	}
	return idle
}

// itemHeap is a container/heap whose items know their place.
type itemHeap struct {
	items []*item
	less  func(a, b *item) bool
}

func (h itemHeap) Len() int           { return len(h.items) }
func (h itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].at, h.items[j].at = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.at = len(h.items)
	h.items = append(h.items, it)
}
func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	it := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return it
}
