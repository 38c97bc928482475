package source

import (
	"context"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/source/remote"
)

// batches collects what callers want fetched: while one request is under way,
// the wants that arrive become the next one, together.
type batches struct {
	run func(context.Context, *batch) error

	mu      sync.Mutex
	current *batch
	next    *batch
}

// batch is one request for objects.
type batch struct {
	listing *remote.Listing
	wants   map[plumbing.Hash]string // commit → name of the ref it was found by, or ""
	alone   bool                     // may fail for reasons of its own: not to be joined

	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	waiting int
}

func (b *batch) has(wants map[plumbing.Hash]string) bool {
	for id := range wants {
		if _, ok := b.wants[id]; !ok {
			return false
		}
	}
	return true
}

// fetch returns when wants have been fetched, or ctx has ended. A batch is
// cancelled when all who wait for it have left.
func (q *batches) fetch(ctx context.Context, l *remote.Listing, wants map[plumbing.Hash]string, alone bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		q.mu.Lock()
		b := q.join(ctx, l, wants, alone)
		if b == nil { // an unjoinable batch is queued: wait for the current one
			b = q.current
			q.mu.Unlock()
			select {
			case <-b.done:
			case <-ctx.Done():
			}
			continue
		}
		b.waiting++
		q.mu.Unlock()

		select {
		case <-b.done:
			return b.err
		case <-ctx.Done():
			q.leave(b)
			return ctx.Err()
		}
	}
}

// join finds or makes the batch for wants; q.mu is held. It is nil when the
// next batch is taken by someone who must be alone.
func (q *batches) join(ctx context.Context, l *remote.Listing, wants map[plumbing.Hash]string, alone bool) *batch {
	if b := q.current; b != nil && !alone && !b.alone && b.ctx.Err() == nil && b.has(wants) {
		return b
	}
	if b := q.next; b != nil {
		if alone || b.alone || b.ctx.Err() != nil {
			return nil
		}
		for id, name := range wants {
			b.wants[id] = name
		}
		b.listing = l
		return b
	}
	b := &batch{listing: l, wants: map[plumbing.Hash]string{}, alone: alone, done: make(chan struct{})}
	for id, name := range wants {
		b.wants[id] = name
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if q.current == nil {
		q.begin(b)
	} else {
		q.next = b
	}
	return b
}

// begin runs b; q.mu is held.
func (q *batches) begin(b *batch) {
	q.current = b
	go func() {
		b.err = q.run(b.ctx, b)
		b.cancel()
		q.mu.Lock()
		q.current = nil
		if next := q.next; next != nil {
			q.next = nil
			q.begin(next)
		}
		q.mu.Unlock()
		close(b.done)
	}()
}

func (q *batches) leave(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.waiting--
	if b.waiting == 0 {
		b.cancel()
	}
}
