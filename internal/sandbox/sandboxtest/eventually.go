package sandboxtest

import (
	"context"
	"testing"
	"time"
)

// Patience is how long Eventually tries: far longer than anything takes that
// works.
const Patience = 30 * time.Second

// Eventually calls check until it returns nil, and fails the test with its
// last error if that does not happen within Patience. It is for the edge of
// tests, where there is nothing to watch.
func Eventually(t testing.TB, check func(ctx context.Context) error) {
	t.Helper()
	EventuallyWithin(t, Patience, check)
}

// EventuallyWithin is Eventually with a patience of its own.
func EventuallyWithin(t testing.TB, patience time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if last == nil || ctx.Err() == nil {
			last = err // and not that this wait is over
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still after %s: %v", patience, last)
		case <-again.C:
		}
	}
}
