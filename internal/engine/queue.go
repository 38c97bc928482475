package engine

import (
	"container/heap"
	"container/list"
	"context"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
)

// urgencies is how many levels of urgency there are.
const urgencies = 7

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
		return urgencies - 1
	}
	return 5
}

// passedOver is how many times in a row something more urgent is taken before
// what is less urgent has its turn: a tenant whose objects never stop drifting
// slows the commits of others, and does not hold them up.
const passedOver = 32

// queue holds the apps of one cluster that are due to run. An app is in it at
// most once and never runs twice at a time: what comes up while it runs is
// remembered, and the most urgent cause wins. What is due is taken by urgency;
// of the equally urgent, the tenants have turns, each in the order of coming;
// what is not due yet waits by time.
type queue struct {
	mu    sync.Mutex
	items map[app.ID]*item
	ready [urgencies]turns
	later itemHeap
	wake  chan struct{} // has room for one: something has come
}

type item struct {
	id     app.ID
	tenant string
	cause  app.Cause
	due    time.Time

	waits *line         // of the ready, nil if not among them
	place *list.Element // in waits
	at    int           // place among the later, -1 if not among them

	running bool // taken, and not done yet
	again   bool // came up while running
	gone    bool // forgotten while running
}

// turns are the ready items of one urgency: a line for each tenant, and the
// lines that are not empty in the order of their next turn.
type turns struct {
	lines  map[string]*line
	order  list.List // of *line
	passed int       // how often a more urgent one was taken in place of these
}

// line is a tenant's ready items of one urgency.
type line struct {
	tenant string
	of     *turns
	items  list.List // of *item
	turn   *list.Element
}

func newQueue() *queue {
	q := &queue{items: map[app.ID]*item{}, wake: make(chan struct{}, 1)}
	for i := range q.ready {
		q.ready[i].lines = map[string]*line{}
	}
	return q
}

// enrol says whose app id is. One that was never enrolled is nobody's.
func (q *queue) enrol(id app.ID, tenant string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.itemOf(id)
	if it.tenant == tenant {
		return
	}
	it.tenant = tenant
	if it.waits != nil {
		q.leave(it)
		q.join(it)
	}
}

func (q *queue) itemOf(id app.ID) *item {
	it, known := q.items[id]
	if !known {
		it = &item{id: id, at: -1}
		q.items[id] = it
	}
	it.gone = false
	return it
}

// add makes id due at a time. If it is waiting already, the earlier time is
// kept with its cause, and of two that are due the more urgent cause.
func (q *queue) add(id app.ID, cause app.Cause, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	it := q.itemOf(id)
	waiting, now := it.waiting() || it.again, time.Now()
	due = now.Add(due.Sub(now)) // by the monotonic clock: a status gives a time on the wall, and that clock may be put back
	switch {
	case !waiting, it.due.After(now) && due.Before(it.due):
		it.cause, it.due = cause, due
	case due.After(now): // by then it has run
		return
	case urgency(cause) < urgency(it.cause):
		it.cause = cause
	default:
		return
	}
	if it.running {
		it.again = true
		return
	}
	q.join(it)
}

func (it *item) waiting() bool { return it.waits != nil || it.at >= 0 }

// join puts an item where it belongs now.
func (q *queue) join(it *item) {
	q.leave(it)
	if it.due.After(time.Now()) {
		heap.Push(&q.later, it)
	} else {
		q.ready[urgency(it.cause)].add(it)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// leave takes an item out of where it waits.
func (q *queue) leave(it *item) {
	if it.at >= 0 {
		heap.Remove(&q.later, it.at)
	}
	if it.waits != nil {
		it.waits.remove(it)
	}
}

func (t *turns) add(it *item) {
	l := t.lines[it.tenant]
	if l == nil {
		l = &line{tenant: it.tenant, of: t}
		t.lines[it.tenant] = l
		l.turn = t.order.PushBack(l)
	}
	it.waits, it.place = l, l.items.PushBack(it)
}

func (l *line) remove(it *item) {
	l.items.Remove(it.place)
	it.waits, it.place = nil, nil
	if l.items.Len() == 0 {
		l.of.order.Remove(l.turn)
		delete(l.of.lines, l.tenant)
	}
}

// take gives the first of the tenant whose turn it is; the tenant is last then.
func (t *turns) take() *item {
	t.passed = 0
	l := t.order.Front().Value.(*line)
	t.order.MoveToBack(l.turn)
	it := l.items.Front().Value.(*item)
	l.remove(it)
	return it
}

// due waits until something is due.
func (q *queue) due(ctx context.Context) error {
	for {
		wait := q.until()
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-q.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// until is the time until something is due, 0 if something is.
func (q *queue) until() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ripen()
	for i := range q.ready {
		if q.ready[i].order.Len() > 0 {
			return 0
		}
	}
	if len(q.later) > 0 {
		return max(time.Until(q.later[0].due), 1)
	}
	return time.Hour
}

// ripen makes those ready whose time has come.
func (q *queue) ripen() {
	now := time.Now()
	for len(q.later) > 0 && !q.later[0].due.After(now) {
		it := heap.Pop(&q.later).(*item)
		q.ready[urgency(it.cause)].add(it)
	}
}

// take gives the app whose turn it is; ok is false if nothing is due. The
// caller must call done.
func (q *queue) take() (_ app.ID, _ app.Cause, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ripen()
	next := -1
	for i := range q.ready {
		t := &q.ready[i]
		switch {
		case t.order.Len() == 0:
			t.passed = 0
		case next < 0, t.passed >= passedOver && q.ready[next].passed < passedOver:
			next = i
		}
	}
	if next < 0 {
		return app.ID{}, "", false
	}
	for i := next + 1; i < len(q.ready); i++ {
		if t := &q.ready[i]; t.order.Len() > 0 {
			t.passed++
		}
	}
	it := q.ready[next].take()
	it.running = true
	return it.id, it.cause, true
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
	if it.gone {
		delete(q.items, id)
		return
	}
	if it.again {
		it.again = false
		q.join(it)
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
	q.leave(it)
	if !it.running {
		delete(q.items, id)
	}
}

// size is how many apps are due.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for i := range q.ready {
		for _, l := range q.ready[i].lines {
			n += l.items.Len()
		}
	}
	return n
}

// itemHeap is a container/heap of items by time; they know their place.
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
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	last.at = -1
	return last
}
