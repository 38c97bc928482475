package source

import (
	"context"
	"sync"
	"time"
)

// shared runs at most one call at a time for many callers and remembers the
// last result. A caller leaves when its own context ends; the call is
// cancelled when all who waited for it have left, and not before: its time is
// that of the most patient caller.
type shared[T any] struct {
	now func() time.Time

	mu      sync.Mutex
	last    *sharedCall[T]
	current *sharedCall[T]
}

type sharedCall[T any] struct {
	begun   time.Time
	done    chan struct{} // closed when value and err are set
	value   T
	err     error
	waiting int
	cancel  context.CancelFunc
}

// do returns the result of a call that was begun at since or later, running
// one if need be. The error is ctx's when ctx ends first.
func (s *shared[T]) do(ctx context.Context, since time.Time, run func(context.Context) (T, error)) (T, error) {
	var none T
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		s.mu.Lock()
		if s.last != nil && !s.last.begun.Before(since) {
			defer s.mu.Unlock()
			return s.last.value, s.last.err
		}
		call := s.current
		tooOld := call != nil && call.begun.Before(since)
		if call == nil {
			call = s.start(ctx, run)
		}
		if !tooOld {
			call.waiting++
		}
		s.mu.Unlock()

		select {
		case <-call.done:
			if !tooOld {
				return call.value, call.err
			}
		case <-ctx.Done():
			if !tooOld {
				s.leave(call)
			}
			return none, ctx.Err()
		}
	}
}

// start begins a call; s.mu is held.
func (s *shared[T]) start(ctx context.Context, run func(context.Context) (T, error)) *sharedCall[T] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	call := &sharedCall[T]{begun: s.now(), done: make(chan struct{}), cancel: cancel}
	s.current = call
	go func() {
		call.value, call.err = run(ctx)
		cancel()
		s.mu.Lock()
		if s.current == call { // otherwise all have left
			s.current, s.last = nil, call
		}
		s.mu.Unlock()
		close(call.done)
	}()
	return call
}

func (s *shared[T]) leave(call *sharedCall[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.waiting--
	if call.waiting == 0 {
		call.cancel()
		if s.current == call {
			s.current = nil
		}
	}
}
