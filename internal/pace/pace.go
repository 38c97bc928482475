// Package pace slows down what is done again and again within a second, watches
// of an API server above all: client-go itself does not wait before it opens
// another watch when it is told that the history has expired, and a broken
// server may say so every time. It must not know what is watched.
package pace

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	first = 50 * time.Millisecond
	most  = 5 * time.Second
)

// Pacer is for one thing that is done by one goroutine. The zero value is ready.
type Pacer struct {
	// Most is the longest pause; 0 means 5 seconds.
	Most time.Duration

	last  time.Time
	delay time.Duration
}

// Wait returns at once if the last time is more than a second ago, and after a
// pause otherwise, twice as long as the one before, or when ctx ends.
func (p *Pacer) Wait(ctx context.Context) {
	if time.Since(p.last) > time.Second+p.delay {
		p.delay = 0
	} else {
		limit := p.Most
		if limit == 0 {
			limit = most
		}
		p.delay = min(max(2*p.delay, first), limit)
		pause := time.NewTimer(p.delay)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	p.last = time.Now()
}

// Watches has the watches of lw wait for p. One reflector uses lw, or one
// informer.
func (p *Pacer) Watches(lw *cache.ListWatch) *cache.ListWatch {
	paced := *lw
	paced.WatchFuncWithContext = func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		p.Wait(ctx)
		return lw.WatchFuncWithContext(ctx, options)
	}
	return &paced
}
